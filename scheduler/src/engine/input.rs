//! What happens, and why it could not be dealt with.

use super::{Engine, Violation};
use crate::policy::Event;
use crate::view::LockState;
use crate::vm::VmSpecError;
use crate::{CpuId, CpuSet, Nanos, VcpuId, VmId};

/// What happens to the host and its guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Only time has passed: see [`Engine::next_deadline`].
    Time,
    /// A VM is to go.
    Leave(VmId),
    /// A halted vCPU has been woken.
    Wake(VcpuId),
    /// A vCPU has halted.
    Halt(VcpuId),
    /// A switch has happened.
    Switched {
        /// Where.
        cpu: CpuId,
        /// What is on it now.
        occupant: Option<VcpuId>,
        /// How long the vCPU that has left stayed on because it held a lock: at most the
        /// [grace](crate::Switch::grace_ns) that was ordered.
        grace_used_ns: Nanos,
    },
    /// What is known of a vCPU's locks.
    Lock {
        /// Whose.
        vcpu: VcpuId,
        /// Its state.
        state: LockState,
    },
    /// A CPU can be used again.
    Online(CpuId),
    /// A CPU can be used no more. What is on it will be reported to leave it.
    Offline(CpuId),
    /// A VM's weight is changed.
    Weight(VmId, u32),
    /// A VM's cap is changed.
    Cap(VmId, Option<u32>),
    /// Where a vCPU may run is changed.
    HardAffinity(VcpuId, CpuSet),
}

/// Why an input could not be dealt with as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The policy broke a rule. Its plan was dropped, what was on the CPUs stays.
    #[error("policy {policy} answered {event:?} with an illegal plan: {violation}")]
    IllegalPlan {
        /// Which policy.
        policy: &'static str,
        /// What it was told.
        event: Event,
        /// The rule.
        violation: Violation,
    },
    /// The policy's plans bring about more and more events, and the moment does not end. It was asked
    /// no more.
    #[error("policy {policy} does not settle: each of its plans brings about the next event")]
    Restless {
        /// Which policy.
        policy: &'static str,
    },
    /// The VM can't be taken, or can't be changed so.
    #[error("{0}")]
    Vm(#[from] VmSpecError),
    /// The input names a VM, vCPU or CPU that does not exist.
    #[error("{0} does not exist")]
    Unknown(String),
}

impl Engine {
    /// Whether everything exists that an input names.
    pub(super) fn know(&self, input: &Input) -> Result<(), EngineError> {
        let known = match *input {
            Input::Time => Ok(()),
            Input::Leave(vm) | Input::Weight(vm, _) | Input::Cap(vm, _) => {
                self.view.find_vm(vm).map(drop).ok_or(vm.to_string())
            }
            Input::Wake(vcpu)
            | Input::Halt(vcpu)
            | Input::Lock { vcpu, .. }
            | Input::HardAffinity(vcpu, _) => {
                self.view.find_vcpu(vcpu).map(drop).ok_or(vcpu.to_string())
            }
            Input::Switched { cpu, occupant, .. } => match occupant {
                Some(vcpu) if self.view.find_vcpu(vcpu).is_none() => Err(vcpu.to_string()),
                _ => self.know_cpu(cpu),
            },
            Input::Online(cpu) | Input::Offline(cpu) => self.know_cpu(cpu),
        };
        known.map_err(EngineError::Unknown)
    }

    fn know_cpu(&self, cpu: CpuId) -> Result<(), String> {
        let exists = cpu.index() < self.view.cpus.len();
        if exists { Ok(()) } else { Err(cpu.to_string()) }
    }
}
