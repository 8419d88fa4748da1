//! Where vCPUs may run: CPUs come and go, and hard affinities change.

use super::{Engine, EngineError};
use crate::policy::Event;
use crate::vm::VmSpecError;
use crate::{CpuId, CpuSet, Level, VcpuId, VmId};

impl Engine {
    pub(super) fn set_online(&mut self, cpu: CpuId, online: bool) {
        if self.view.online.contains(cpu) == online {
            return;
        }
        if online {
            self.view.online.insert(cpu);
        } else {
            self.view.online.remove(cpu);
            self.set_loan(cpu, None);
            self.drop_turn(cpu);
            // Whoever is there leaves at once, lock or not.
            self.orders[cpu.index()].grace_ns = 0;
        }
        for vcpu in (0..self.view.vcpus.len() as u32).map(VcpuId) {
            let online = self.view.online;
            if let Some(state) = self.view.vcpus[vcpu.index()].as_mut() {
                state.allowed = state.hard & online;
            }
        }
        self.view.revision += 1;
        self.events.push_back(if online {
            Event::Idle { cpu }
        } else {
            Event::Offline { cpu }
        });
        let vms: Vec<VmId> = self.view.vms().map(|(vm, _)| vm).collect();
        for vm in vms {
            if self.form_units(vm) {
                self.events.push_back(Event::Changed { vm });
            }
        }
    }

    pub(super) fn set_hard_affinity(
        &mut self,
        vcpu: VcpuId,
        cpus: CpuSet,
    ) -> Result<(), EngineError> {
        let allowed = cpus & self.view.online;
        if allowed.is_empty() {
            return Err(EngineError::Vm(VmSpecError::HardAffinity {
                affinity: Box::new(cpus),
                cpus: Box::new(self.view.online),
            }));
        }
        let state = self.view.vcpu_mut(vcpu);
        state.hard = cpus;
        state.allowed = allowed;
        let (vm, turn, loan) = (state.vm, state.turn, state.loan);
        self.view.revision += 1;
        if let Some(cpu) = loan.filter(|&cpu| !allowed.contains(cpu)) {
            self.set_loan(cpu, None);
        }
        if let Some(cpu) = turn.filter(|&cpu| !allowed.contains(cpu)) {
            self.drop_turn(cpu);
            self.events.push_back(Event::Idle { cpu });
        }
        self.form_units(vm);
        self.events.push_back(Event::Changed { vm });
        Ok(())
    }

    /// Takes the turn from a CPU, and from the rest of its gang, which may not run split.
    fn drop_turn(&mut self, cpu: CpuId) {
        let Some(turn) = self.view.cpu(cpu).turn else {
            return;
        };
        self.set_turn(cpu, None);
        if turn.level != Level::Slot {
            return;
        }
        let unit = self.view.vcpu(turn.vcpu).unit;
        for member in self.view.unit(unit).members.clone() {
            if let Some(other) = self.view.vcpu(member).turn
                && self
                    .view
                    .cpu(other)
                    .turn
                    .is_some_and(|turn| turn.level == Level::Slot)
            {
                self.set_turn(other, None);
                self.events.push_back(Event::Idle { cpu: other });
            }
        }
    }
}
