//! One KVM vCPU: its state before the first entry, and its exits decoded.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use kvm_bindings::{CpuId, KVM_INTERNAL_ERROR_EMULATION, Msrs, kvm_msr_entry, kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuExit, VcpuFd};
use muster_devices::memory::GuestRam;
use thiserror::Error;

use super::KvmError;
use super::page::RunPage;
use super::stats::{self, StatsError};
use crate::board::Board;

mod standing;

/// Why a vCPU came back from the guest.
#[derive(Debug)]
pub enum Exit<'a> {
    /// `in` or `ins`: `data` holds one or more accesses of `width` bytes, all to `port`.
    PortRead {
        /// The port.
        port: u16,
        /// Bytes per access.
        width: usize,
        /// What the guest is to read.
        data: &'a mut [u8],
    },
    /// `out` or `outs`, likewise.
    PortWrite {
        /// The port.
        port: u16,
        /// Bytes per access.
        width: usize,
        /// What the guest wrote.
        data: &'a [u8],
    },
    /// A load where there is no RAM.
    MmioRead {
        /// Guest-physical address.
        address: u64,
        /// What the guest is to read.
        data: &'a mut [u8],
    },
    /// A store where there is no RAM.
    MmioWrite {
        /// Guest-physical address.
        address: u64,
        /// What the guest wrote.
        data: &'a [u8],
    },
    /// A signal; or the kernel wants to be entered again.
    Interrupted,
    /// The guest's processor shut down after a third fault in a row.
    TripleFault,
    /// KVM cannot go on with this guest.
    Failed(VcpuFailure),
}

/// KVM gave up on a vCPU. The text is for the person who started the guest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VcpuFailure {
    /// The instruction emulator met something it does not know.
    #[error(
        "KVM cannot emulate an instruction of the guest; on a host without hardware virtualization \
         only guests made for it run, see `muster doctor`"
    )]
    Emulation,
    /// Any other internal error: an event or exit that KVM could not handle.
    #[error("KVM met an internal error ({suberror})")]
    Internal {
        /// KVM_INTERNAL_ERROR_*.
        suberror: u32,
    },
    /// The processor refused the guest's state.
    #[error("the processor refused to enter the guest (hardware reason {reason:#x})")]
    Entry {
        /// The hardware's reason code.
        reason: u64,
    },
    /// KVM_RUN itself failed.
    #[error("KVM_RUN failed: {0}")]
    Run(kvm_ioctls::Error),
    /// The host has no timer left for this vCPU.
    #[error("the host has no timer left: raise the limit of pending signals (`ulimit -i`)")]
    NoTimer,
    /// An exit that muster never asks for.
    #[error("KVM returned an exit that muster does not handle: {0}")]
    Unhandled(String),
}

/// A vCPU, owned by the thread that runs it.
#[derive(Debug)]
pub struct Vcpu {
    index: u32,
    fd: VcpuFd,
    page: Arc<RunPage>,
    /// Keeps the memory slots' mappings alive as long as this vCPU may touch them.
    _memory: (GuestRam, Arc<Board>),
}

impl Vcpu {
    pub(super) fn new(
        index: u32,
        fd: VcpuFd,
        memory: (GuestRam, Arc<Board>),
    ) -> Result<Self, KvmError> {
        let page = RunPage::new(&fd).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::ENOMEM);
            KvmError::refused("map a vCPU")(kvm_ioctls::Error::new(errno))
        })?;
        let page = Arc::new(page);
        Ok(Self {
            index,
            fd,
            page,
            _memory: memory,
        })
    }

    /// The vCPU's number and APIC ID.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What it shares with KVM.
    pub(crate) fn page(&self) -> Arc<RunPage> {
        self.page.clone()
    }

    /// Sets what the guest reads with CPUID. Once, before the first run.
    pub fn set_cpuid(&self, cpuid: &CpuId) -> Result<(), KvmError> {
        self.fd
            .set_cpuid2(cpuid)
            .map_err(KvmError::refused("set CPU features"))
    }

    /// Sets model-specific registers; those that this host does not have are left out.
    pub fn set_msrs(&self, mut entries: &[kvm_msr_entry]) -> Result<(), KvmError> {
        let what = "set model-specific registers";
        while !entries.is_empty() {
            let msrs = Msrs::from_entries(entries).expect("a handful of entries fits");
            // KVM stops at the first register that it refuses.
            let set = self.fd.set_msrs(&msrs).map_err(KvmError::refused(what))?;
            if let Some(refused) = entries.get(set) {
                tracing::debug!(
                    index = format_args!("{:#x}", refused.index),
                    "no such MSR here"
                );
            }
            entries = entries.get(set + 1..).unwrap_or_default();
        }
        Ok(())
    }

    /// The system registers as they are now.
    pub fn sregs(&self) -> Result<kvm_sregs, KvmError> {
        self.fd
            .get_sregs()
            .map_err(KvmError::refused("read system registers"))
    }

    /// What KVM counts for it: a descriptor that may be given away.
    pub fn stats(&self) -> Result<OwnedFd, StatsError> {
        stats::descriptor(&self.fd)
    }

    /// The rate of the guest's time stamp counter in kHz, if this host knows.
    pub fn tsc_khz(&self) -> Option<u32> {
        self.fd.get_tsc_khz().ok()
    }

    /// Where the guest is, for messages.
    pub fn instruction_pointer(&self) -> Option<u64> {
        self.fd.get_regs().ok().map(|regs| regs.rip)
    }

    /// Sets where and how the vCPU starts.
    pub fn set_registers(&self, regs: &kvm_regs, sregs: &kvm_sregs) -> Result<(), KvmError> {
        self.fd
            .set_sregs(sregs)
            .map_err(KvmError::refused("set system registers"))?;
        self.fd
            .set_regs(regs)
            .map_err(KvmError::refused("set registers"))
    }

    /// Runs the guest until it needs something.
    pub fn run(&mut self) -> Exit<'_> {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            // EAGAIN: an application processor that got a signal before its start-up IPI.
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Exit::Interrupted;
            }
            Err(error) => return Exit::Failed(VcpuFailure::Run(error)),
        };
        match exit {
            VcpuExit::IoIn(port, data) => Exit::PortRead {
                port,
                width: self.page.io_width(),
                data,
            },
            VcpuExit::IoOut(port, data) => Exit::PortWrite {
                port,
                width: self.page.io_width(),
                data,
            },
            VcpuExit::MmioRead(address, data) => Exit::MmioRead { address, data },
            VcpuExit::MmioWrite(address, data) => Exit::MmioWrite { address, data },
            VcpuExit::Intr | VcpuExit::IrqWindowOpen => Exit::Interrupted,
            VcpuExit::Shutdown => Exit::TripleFault,
            VcpuExit::FailEntry(reason, _) => Exit::Failed(VcpuFailure::Entry { reason }),
            VcpuExit::InternalError => Exit::Failed(match self.page.internal_suberror() {
                KVM_INTERNAL_ERROR_EMULATION => VcpuFailure::Emulation,
                suberror => VcpuFailure::Internal { suberror },
            }),
            other => Exit::Failed(VcpuFailure::Unhandled(format!("{other:?}"))),
        }
    }
}
