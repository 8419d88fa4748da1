//! The page through which a guest tells muster what it does, and muster tells the guest.
//!
//! Problem: a scheduler outside the guest sees vCPUs, not locks. It takes a CPU from a vCPU that holds
//! a spin lock, and lets others spin for it.
//!
//! Approach: at [`ADDRESS`] every guest has a few pages of memory that it shares with the host. A guest
//! that knows nothing of them loses nothing. One that does looks for [`MAGIC`], then keeps a
//! [`VcpuRecord`] per vCPU up to date with plain stores: no exit, no call. The host reads whenever it
//! wants, and believes nothing that could hurt anybody but this guest.
//!
//! Layout: a [`Header`], then the records, [`RECORDS_OFFSET`] after it and [`RECORD_LEN`] apart, by the
//! vCPU's APIC ID. All fields are little-endian, naturally aligned, and accessed whole. This crate is
//! the same for both sides; it needs neither an operating system nor an allocator.
#![no_std]
#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Guest-physical address of the header: in the hole below 4 GiB that devices have.
pub const ADDRESS: u64 = 0xfd00_0000;
/// Length of the whole area in bytes, a multiple of 4 KiB.
pub const LEN: usize = RECORDS_OFFSET + VCPUS_MAX * RECORD_LEN;
/// Where the first record is, from the header.
pub const RECORDS_OFFSET: usize = 4096;
/// From one record to the next.
pub const RECORD_LEN: usize = size_of::<VcpuRecord>();
/// How many records there are, whatever the number of vCPUs.
pub const VCPUS_MAX: usize = 64;

/// "MUSTERPG", read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"MUSTERPG");
/// The version of this layout. A guest that meets another leaves the page alone.
pub const VERSION: u32 = 1;

/// How many counters a vCPU has.
pub const COUNTERS: usize = 16;
/// How many classes its histogram has.
pub const CLASSES: usize = 64;

/// What the host says. The guest could write here, but nobody would read it.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// How many vCPUs the guest has.
    pub vcpus: AtomicU32,
    /// Rate of the guest's time stamp counter in kHz; 0 if the host does not know.
    pub tsc_khz: AtomicU32,
    /// How many vCPUs the guest should use at present (Tucker, Gupta, "Process control and scheduling
    /// issues for multiprogrammed shared-memory multiprocessors", SOSP 1989); 0: as it likes.
    pub cpus_advised: AtomicU32,
}

/// What a vCPU says of itself. Each has whole cache lines of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct VcpuRecord {
    /// How many spin locks it holds (Zahorjan, Lazowska, Eager, "The effect of scheduling discipline
    /// on spin overhead in shared memory parallel systems", TPDS 1991). Raised before the lock is
    /// asked for or right after it is got, lowered once it is free again.
    pub lock_depth: AtomicU32,
    /// Not 0 while it spins for a lock or a message of another vCPU.
    pub waiting: AtomicU32,
    /// What the workload calls a phase; 0 until it has begun.
    pub phase: AtomicU32,
    /// Free.
    pub reserved: [AtomicU32; 13],
    /// What the workload counts. They only grow; the first is its work done.
    pub counters: [AtomicU64; COUNTERS],
    /// How often something took so long: class `n` counts from `2^n` up to twice that, in
    /// nanoseconds. Also these only grow.
    pub histogram: [AtomicU64; CLASSES],
    /// Room to grow.
    pub spare: [AtomicU64; 40],
}

// The layout is an interface: a change must be meant.
const _: () = {
    assert!(size_of::<Header>() == 24 && size_of::<Header>() <= RECORDS_OFFSET);
    assert!(offset_of!(Header, cpus_advised) == 20);
    assert!(RECORD_LEN == 1024);
    assert!(offset_of!(VcpuRecord, counters) == 64);
    assert!(offset_of!(VcpuRecord, histogram) == 192);
    assert!(offset_of!(VcpuRecord, spare) == 704);
    assert!(LEN.is_multiple_of(4096));
};

/// Where the record of a vCPU begins, from the header; `None` if there is none.
pub const fn record_offset(vcpu: u32) -> Option<usize> {
    if (vcpu as usize) < VCPUS_MAX {
        Some(RECORDS_OFFSET + vcpu as usize * RECORD_LEN)
    } else {
        None
    }
}

/// The histogram's class for a length of time.
pub const fn class_of(nanoseconds: u64) -> usize {
    match nanoseconds.checked_ilog2() {
        Some(class) => class as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_number_reads_as_text() {
        assert_eq!(&MAGIC.to_le_bytes(), b"MUSTERPG");
    }

    #[test]
    fn records_follow_each_other_up_to_the_end() {
        assert_eq!(record_offset(0), Some(4096));
        assert_eq!(record_offset(1), Some(5120));
        assert_eq!(record_offset(63), Some(LEN - RECORD_LEN));
        assert_eq!(record_offset(64), None);
    }

    #[test]
    fn classes_are_powers_of_two() {
        assert_eq!(class_of(0), 0);
        assert_eq!(class_of(1), 0);
        assert_eq!(class_of(1023), 9);
        assert_eq!(class_of(1024), 10);
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }
}
