//! KVM: the host's virtual machine monitor interface, checked before it is used.

use std::io;

use kvm_ioctls::{Cap, Kvm};
use thiserror::Error;

mod page;
pub mod stats;
mod vcpu;
mod vm;

pub(crate) use page::RunPage;
pub use vcpu::{Exit, Vcpu, VcpuFailure};
pub use vm::Vm;

/// The only stable version of the API.
pub(crate) const API_VERSION: i32 = 12;

/// What muster cannot do without, with its name for messages.
pub(crate) const REQUIRED: [(Cap, &str); 6] = [
    (Cap::Irqchip, "an in-kernel interrupt controller"),
    (Cap::UserMemory, "user-space memory slots"),
    (Cap::Irqfd, "irqfd"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::ImmediateExit, "immediate exit"),
    (Cap::ExtCpuid, "extended CPUID"),
];

/// KVM cannot be used, or refused an operation.
#[derive(Debug, Error)]
pub enum KvmError {
    /// No such device.
    #[error(
        "/dev/kvm does not exist: this host offers no KVM (load kvm_intel or kvm_amd, or run \
         `muster doctor`)"
    )]
    Missing,
    /// The user may not open it.
    #[error(
        "no permission to open /dev/kvm: join its group with `sudo usermod -aG kvm $USER` and log \
         in again"
    )]
    Forbidden,
    /// Any other failure to open it.
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// Something else answers at /dev/kvm.
    #[error("/dev/kvm speaks API version {0}; muster needs 12")]
    ApiVersion(i32),
    /// A kernel too old, or built without it.
    #[error("this host's KVM lacks {0}: run `muster doctor`")]
    Lacks(&'static str),
    /// More vCPUs than this host's KVM can give one VM.
    #[error("this host's KVM allows {max} vCPUs in a VM; {asked} were asked for")]
    TooManyCpus {
        /// Asked for.
        asked: u32,
        /// Allowed.
        max: usize,
    },
    /// An operation that works on every sound host.
    #[error("KVM refused to {what}")]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// KVM's reason.
        source: kvm_ioctls::Error,
    },
}

impl KvmError {
    /// For `map_err`: KVM refused to do `what`.
    pub(crate) fn refused(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| Self::Refused { what, source }
    }
}

/// Opens /dev/kvm and checks that it can run what muster builds.
pub fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::Missing,
        libc::EACCES | libc::EPERM => KvmError::Forbidden,
        errno => KvmError::Open(io::Error::from_raw_os_error(errno)),
    })?;
    match kvm.get_api_version() {
        API_VERSION => {}
        other => return Err(KvmError::ApiVersion(other)),
    }
    for (cap, what) in REQUIRED {
        if !kvm.check_extension(cap) {
            return Err(KvmError::Lacks(what));
        }
    }
    Ok(kvm)
}
