//! What the engine does that no order tells: runstates, turns, loans and slots, for who looks at a run.
//!
//! Approach: the engine names what each input has changed. When all that happens at a moment is dealt
//! with, what was named is compared with what was written down last.
//!
//! Terms: a *slot* lasts while the same gangs have their turns. Gangs may join it where CPUs are free,
//! and their members may halt and wake: it ends when a CPU goes from one gang to another, or when a
//! gang that could go on has no turn any more.

use std::mem;

use super::Run;
use crate::engine::Changed;
use crate::sim::record::{Keep, MarkKind, VcpuRef};
use crate::view::Loan;
use crate::{CpuId, Engine, Level, Runstate, Turn, VcpuId};

/// What was written down last.
#[derive(Debug)]
pub(in crate::sim) struct Watch {
    /// Whether anybody wants to know.
    wanted: bool,
    /// What may have changed since then.
    changed: Changed,
    cpus: Vec<SeenCpu>,
    /// By the engine's number.
    vcpus: Vec<Option<Runstate>>,
    /// Slots that have begun.
    slots: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct SeenCpu {
    turn: Option<VcpuRef>,
    loan: Option<Loan>,
    /// The vCPU with a turn of its gang's.
    member: Option<(VcpuRef, VcpuId)>,
    /// The gang whose CPU it is in this slot, halted or not: its first member.
    gang: Option<VcpuRef>,
}

impl Watch {
    pub(super) fn new(cpus: usize, keep: Keep) -> Self {
        Self {
            wanted: keep.is_detailed(),
            changed: Changed::default(),
            cpus: vec![SeenCpu::default(); cpus],
            vcpus: Vec::new(),
            slots: 0,
        }
    }

    /// The engine has dealt with something.
    pub(super) fn note(&mut self, engine: &Engine) {
        if self.wanted {
            let changed = engine.changed();
            self.changed.cpus.extend_from_slice(&changed.cpus);
            self.changed.vcpus.extend_from_slice(&changed.vcpus);
        }
    }

    /// A vCPU is new.
    pub(super) fn arrived(&mut self, vcpu: VcpuId) {
        if self.wanted {
            let len = self.vcpus.len().max(vcpu.index() + 1);
            self.vcpus.resize(len, None);
            // Another one may have had this number.
            self.vcpus[vcpu.index()] = None;
            self.changed.vcpus.push(vcpu);
        }
    }
}

impl Run<'_> {
    /// Writes down what has changed, if that is wanted.
    pub(super) fn observe(&mut self) {
        if !self.watch.wanted {
            return;
        }
        let mut changed = mem::take(&mut self.watch.changed);
        changed.cpus.sort_unstable();
        changed.cpus.dedup();
        self.observe_runstates(&changed.vcpus);
        self.observe_turns(&changed.cpus);
        self.observe_loans(&changed.cpus);
        self.observe_slots(&changed.cpus);
        changed.cpus.clear();
        changed.vcpus.clear();
        // Its memory is used again.
        self.watch.changed = changed;
    }

    fn observe_runstates(&mut self, vcpus: &[VcpuId]) {
        for &vcpu in vcpus {
            let Some(state) = self.engine.view().find_vcpu(vcpu) else {
                continue;
            };
            let state = Some(state.runstate());
            if mem::replace(&mut self.watch.vcpus[vcpu.index()], state) != state {
                let place = self.vcpu(vcpu).place();
                self.recorder.runstate(self.now, place, state);
            }
        }
    }

    fn observe_turns(&mut self, cpus: &[CpuId]) {
        for &cpu in cpus {
            let turn = self.engine.view().cpu(cpu).turn;
            let seen = turn.map(|turn| self.vcpu(turn.vcpu).place());
            if mem::replace(&mut self.watch.cpus[cpu.index()].turn, seen) != seen {
                self.recorder.turn(self.now, cpu, seen);
            }
        }
    }

    fn observe_loans(&mut self, cpus: &[CpuId]) {
        for &cpu in cpus {
            let seen = *self.engine.view().cpu(cpu);
            let before = mem::replace(&mut self.watch.cpus[cpu.index()].loan, seen.loan);
            if before == seen.loan {
                continue;
            }
            let Some(loan) = seen.loan else {
                self.recorder.mark(self.now, MarkKind::LoanOver(cpu));
                continue;
            };
            let to = loan.to.map(|vcpu| self.vcpu(vcpu).place());
            let turn = seen.turn.map(|turn| self.vcpu(turn.vcpu).place());
            let until_ns = loan.until;
            let kind = MarkKind::Loan {
                cpu,
                to,
                turn,
                until_ns,
                is_debt: loan.is_debt,
            };
            self.recorder.mark(self.now, kind);
        }
    }

    fn observe_slots(&mut self, cpus: &[CpuId]) {
        let mut begins = false;
        for &cpu in cpus {
            let turn = self.engine.view().cpu(cpu).turn;
            let turn = turn.filter(|turn| turn.level == Level::Slot);
            let before = self.watch.cpus[cpu.index()];
            begins |= before.member.is_some_and(|member| self.must_wait(member));
            let Some(turn) = turn else {
                self.watch.cpus[cpu.index()].member = None;
                continue;
            };
            let (member, gang) = self.member_and_gang(turn);
            begins |= match before.gang.filter(|owner| self.is_present(*owner)) {
                Some(owner) => owner != gang,
                None => !self.a_slot_goes_on(),
            };
            let seen = &mut self.watch.cpus[cpu.index()];
            (seen.member, seen.gang) = (Some(member), Some(gang));
        }
        if begins {
            self.begin_slot();
        }
    }

    /// A vCPU with a turn at [`Level::Slot`], and the first member of its gang.
    fn member_and_gang(&mut self, turn: Turn) -> ((VcpuRef, VcpuId), VcpuRef) {
        let view = self.engine.view();
        let first = view.unit(view.vcpu(turn.vcpu).unit).members[0];
        let member = (self.vcpu(turn.vcpu).place(), turn.vcpu);
        (member, self.vcpu(first).place())
    }

    /// Whether a vCPU that had a turn with its gang could use one, and has none.
    fn must_wait(&self, (place, vcpu): (VcpuRef, VcpuId)) -> bool {
        let view = self.engine.view();
        let turn_of = |cpu| {
            view.cpu(cpu)
                .turn
                .is_some_and(|turn| turn.level == Level::Slot)
        };
        self.is_present(place)
            && view
                .find_vcpu(vcpu)
                .is_some_and(|state| state.runnable() && !state.turn.is_some_and(turn_of))
    }

    fn is_present(&self, vcpu: VcpuRef) -> bool {
        self.vms[vcpu.vm as usize].present
    }

    /// Whether any gang that is still there has CPUs.
    fn a_slot_goes_on(&self) -> bool {
        let mut gangs = self.watch.cpus.iter().filter_map(|seen| seen.gang);
        gangs.any(|gang| self.is_present(gang))
    }

    /// Other gangs have the CPUs from now on, unless none has any.
    fn begin_slot(&mut self) {
        for index in 0..self.cpus.len() {
            let turn = self.engine.view().cpu(CpuId(index as u16)).turn;
            let turn = turn.filter(|turn| turn.level == Level::Slot);
            let seen = turn.map(|turn| self.member_and_gang(turn));
            self.watch.cpus[index].member = seen.map(|(member, _)| member);
            self.watch.cpus[index].gang = seen.map(|(_, gang)| gang);
        }
        if self.a_slot_goes_on() {
            let number = self.watch.slots;
            self.watch.slots += 1;
            self.recorder.mark(self.now, MarkKind::Slot { number });
        }
    }
}

#[cfg(test)]
mod tests;
