//! Switches that have happened.

use super::Engine;
use crate::policy::Event;
use crate::view::{CpuView, LockState};
use crate::{CpuId, Nanos, Runstate, VcpuId};

impl Engine {
    /// A switch has happened: time is charged differently from now on.
    ///
    /// # Panics
    /// If the vCPU is on another CPU too: no actuator may let that happen.
    pub(super) fn occupy(&mut self, cpu: CpuId, occupant: Option<VcpuId>, grace_used_ns: Nanos) {
        let before = self.view.cpus[cpu.index()].occupant;
        if before == occupant {
            return;
        }
        if let Some(vcpu) = before {
            self.account(vcpu);
            let now = self.now;
            let state = self.view.vcpu_mut(vcpu);
            let ran = state.runstate() == Runstate::Running;
            state.on_cpu = None;
            state.left_at = now;
            state.grace_ns += grace_used_ns;
            let (vm, lock) = (state.vm, state.lock);
            self.count_for_cap(vm, ran, false);
            let CpuView { turn, loan, .. } = self.view.cpus[cpu.index()];
            let turn = turn.map(|turn| turn.vcpu);
            // What it has of a loan is no grace, and told when that is over.
            let lent = loan.filter(|loan| loan.to == Some(vcpu));
            let ns = lent.map_or(grace_used_ns, |loan| {
                grace_used_ns.saturating_sub(now - loan.since)
            });
            if ns > 0 && turn != Some(vcpu) {
                self.events.push_front(Event::Borrowed {
                    by: Some(vcpu),
                    from: turn,
                    ns,
                });
            }
            if matches!(lock, LockState::Holding { .. }) && self.policy.wants_lock_hints() {
                self.events.push_back(Event::LockHint { vcpu });
            }
        }
        if let Some(vcpu) = occupant {
            self.account(vcpu);
            let state = self.view.vcpu_mut(vcpu);
            let elsewhere = state.on_cpu.replace(cpu);
            assert_eq!(elsewhere, None, "{vcpu} starts on {cpu} while on another");
            state.last_cpu = Some(cpu);
            let (vm, runs) = (state.vm, state.runstate() == Runstate::Running);
            self.count_for_cap(vm, false, runs);
        }
        self.view.cpus[cpu.index()].occupant = occupant;
    }
}
