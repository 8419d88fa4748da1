//! The page that KVM and user space share for each vCPU (`struct kvm_run`).
#![expect(
    unsafe_code,
    reason = "borrows the vCPU's file descriptor, which kvm-ioctls gives as a number"
)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU8;

use kvm_bindings::{
    kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_4 as kvm_run_io,
    kvm_run__bindgen_ty_1__bindgen_ty_13 as kvm_run_internal,
};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// A mapping of its own of one vCPU's `kvm_run`. It lives as long as its holder wants, apart from
/// the vCPU's; accesses are volatile, because the kernel and other threads share the page.
#[derive(Debug)]
pub struct RunPage {
    region: MmapRegion<()>,
}

impl RunPage {
    /// Maps the page of `fd`.
    pub fn new(fd: &VcpuFd) -> io::Result<Self> {
        // SAFETY: `fd` is open and stays so during this call.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let file = fd.try_clone_to_owned()?.into();
        MmapRegion::from_file(FileOffset::new(file, 0), size_of::<kvm_run>())
            .map(|region| Self { region })
            .map_err(io::Error::other)
    }

    /// A page that no vCPU reads.
    #[cfg(test)]
    pub fn blank() -> io::Result<Self> {
        MmapRegion::new(size_of::<kvm_run>())
            .map(|region| Self { region })
            .map_err(io::Error::other)
    }

    /// While this is 1, KVM_RUN returns at its next entry, or one that is about to happen, with EINTR.
    pub fn immediate_exit(&self) -> &AtomicU8 {
        self.region
            .get_atomic_ref(offset_of!(kvm_run, immediate_exit))
            .expect("the field lies within the page")
    }

    /// Bytes per access of the port I/O that the vCPU has just exited for. String instructions
    /// transfer several of them in one exit.
    pub fn io_width(&self) -> usize {
        let at = offset_of!(kvm_run, __bindgen_anon_1) + offset_of!(kvm_run_io, size);
        let width: u8 = self
            .region
            .as_volatile_slice()
            .read_obj(at)
            .expect("as above");
        usize::from(width)
    }

    /// KVM's reason after an exit for an internal error.
    pub fn internal_suberror(&self) -> u32 {
        let at = offset_of!(kvm_run, __bindgen_anon_1) + offset_of!(kvm_run_internal, suberror);
        self.region
            .as_volatile_slice()
            .read_obj(at)
            .expect("as above")
    }
}
