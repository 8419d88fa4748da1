//! The page shared with the host, or memory of our own where the host has none.
#![expect(
    unsafe_code,
    reason = "a fixed address, and memory that only atomics touch"
)]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use muster_guest_page::{
    ADDRESS, Header, LEN, MAGIC, RECORD_LEN, RECORDS_OFFSET, VCPUS_MAX, VERSION, VcpuRecord,
};

#[repr(C, align(4096))]
struct Own(UnsafeCell<MaybeUninit<[u8; LEN]>>);

// SAFETY: all access is through the atomics of `Header` and `VcpuRecord`.
unsafe impl Sync for Own {}

static OWN: Own = Own(UnsafeCell::new(MaybeUninit::zeroed()));

/// Where the records are.
#[derive(Clone, Copy)]
pub struct Records {
    base: usize,
    /// Whether the host reads them.
    pub shared: bool,
}

impl Records {
    /// Looks for the host's page.
    pub fn find() -> Self {
        let page = Self {
            base: ADDRESS as usize,
            shared: true,
        };
        // Without a page there this reads as all ones.
        let header = page.header();
        if header.magic.load(Ordering::Relaxed) == MAGIC
            && header.version.load(Ordering::Relaxed) == VERSION
        {
            return page;
        }
        Self {
            base: OWN.0.get() as usize,
            shared: false,
        }
    }

    /// What the host says; all zeros if it says nothing.
    pub fn header(self) -> &'static Header {
        // SAFETY: `base` is the page or our own memory, aligned, there for ever, made of atomics.
        unsafe { &*(self.base as *const Header) }
    }

    /// The record of a vCPU.
    pub fn record(self, vcpu: u32) -> &'static VcpuRecord {
        let index = vcpu as usize;
        assert!(index < VCPUS_MAX, "no vCPU has such a number");
        // SAFETY: as above, and the record is within LEN.
        unsafe { &*((self.base + RECORDS_OFFSET + index * RECORD_LEN) as *const VcpuRecord) }
    }
}
