//! What a vCPU that stands still is about, as KVM tells.

use kvm_bindings::{KVM_MP_STATE_HALTED, Msrs, kvm_msr_entry};
use vm_memory::GuestAddress;

use super::Vcpu;
use crate::guest_locks::{Standing, Stopped};

/// IA32_LSTAR: where SYSCALL goes.
const MSR_LSTAR: u32 = 0xc000_0082;
/// IA32_KERNEL_GS_BASE: what SWAPGS exchanges the base of GS for.
const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

impl Vcpu {
    fn msr(&self, index: u32) -> Option<u64> {
        let asked = kvm_msr_entry {
            index,
            ..Default::default()
        };
        let mut msrs = Msrs::from_entries(&[asked]).expect("one entry fits");
        let read = self.fd.get_msrs(&mut msrs).ok()?;
        msrs.as_slice().get(..read)?.first().map(|msr| msr.data)
    }
}

impl Stopped for Vcpu {
    fn standing(&self) -> Option<Standing> {
        let sregs = self.fd.get_sregs().ok()?;
        let state = self.fd.get_mp_state().ok()?;
        // The stack segment's privilege is the processor's, on both makers' processors.
        let in_user_mode = sregs.ss.dpl == 3;
        let gs = sregs.gs.base;
        // On its way in and out the kernel for a moment still has the other one's.
        let is_kernels = !in_user_mode && gs >> 63 == 1;
        let kernel_gs = match is_kernels {
            true => gs,
            false => self.msr(MSR_KERNEL_GS_BASE)?,
        };
        Some(Standing {
            in_user_mode,
            is_halted: state.mp_state == KVM_MP_STATE_HALTED,
            kernel_gs,
        })
    }

    fn system_call_entry(&self) -> Option<u64> {
        self.msr(MSR_LSTAR)
    }

    fn translate(&self, address: u64) -> Option<GuestAddress> {
        let found = self.fd.translate_gva(address).ok()?;
        (found.valid != 0).then_some(GuestAddress(found.physical_address))
    }
}
