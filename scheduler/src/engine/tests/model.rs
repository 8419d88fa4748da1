//! The rules of plans, told a second time.
//!
//! The model knows no deadlines, journals or events: it holds what is so, and works out a plan's
//! outcome on a copy.

use std::collections::BTreeMap;

use crate::plan::Change;
use crate::vm::CAP_PERIOD;
use crate::{CpuId, CpuSet, Level, MS, Nanos, RunTimes, Runstate, Turn, VcpuId, VmId};

/// What is so of a vCPU.
#[derive(Debug, Clone)]
pub struct Member {
    pub vm: VmId,
    pub allowed: CpuSet,
    pub halted: bool,
    pub stopped: bool,
    pub times: RunTimes,
}

/// What is so of a capped VM.
#[derive(Debug, Clone)]
pub struct Cap {
    pub budget: Nanos,
    pub used: Nanos,
    pub refill_at: Nanos,
}

/// What is so of a host.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub now: Nanos,
    pub online: CpuSet,
    pub gangs: bool,
    pub turns: BTreeMap<CpuId, Turn>,
    pub loans: BTreeMap<CpuId, (Option<VcpuId>, Nanos)>,
    pub occupants: BTreeMap<CpuId, VcpuId>,
    pub vcpus: BTreeMap<VcpuId, Member>,
    pub caps: BTreeMap<VmId, Cap>,
}

impl Model {
    fn throttled(&self, vcpu: VcpuId) -> bool {
        let cap = self.caps.get(&self.vcpus[&vcpu].vm);
        cap.is_some_and(|cap| cap.used >= cap.budget)
    }

    fn permitted(&self, vcpu: VcpuId) -> bool {
        !self.vcpus[&vcpu].stopped && !self.throttled(vcpu)
    }

    pub fn runnable(&self, vcpu: VcpuId) -> bool {
        !self.vcpus[&vcpu].halted && self.permitted(vcpu)
    }

    fn runstate(&self, vcpu: VcpuId) -> Runstate {
        let member = &self.vcpus[&vcpu];
        let on_cpu = self.occupants.values().any(|&other| other == vcpu);
        match (member.halted, on_cpu, member.stopped) {
            (true, ..) => Runstate::Halted,
            (_, true, _) => Runstate::Running,
            (.., true) => Runstate::CoStopped,
            _ => Runstate::Ready,
        }
    }

    /// Time passes in which nothing happens.
    pub fn pass(&mut self, until: Nanos) {
        let passed = until - self.now;
        self.now = until;
        let vcpus: Vec<VcpuId> = self.vcpus.keys().copied().collect();
        for vcpu in vcpus {
            let runstate = self.runstate(vcpu);
            let member = self.vcpus.get_mut(&vcpu).unwrap();
            member.times[runstate] += passed;
            if let Some(cap) = self.caps.get_mut(&member.vm)
                && runstate == Runstate::Running
            {
                cap.used += passed;
            }
        }
        for cap in self.caps.values_mut() {
            if until >= cap.refill_at {
                (cap.used, cap.refill_at) = (0, until + CAP_PERIOD);
            }
        }
        self.loans.retain(|_, (_, end)| *end > until);
        self.end_loans();
    }

    /// A loan ends with the borrower's wish to run.
    pub fn end_loans(&mut self) {
        let idle = |&(to, _): &(Option<VcpuId>, Nanos)| to.is_some_and(|vcpu| !self.runnable(vcpu));
        let ended: Vec<CpuId> = self
            .loans
            .iter()
            .filter(|(_, loan)| idle(loan))
            .map(|(&cpu, _)| cpu)
            .collect();
        for cpu in ended {
            self.loans.remove(&cpu);
        }
    }

    fn turn_of(&self, vcpu: VcpuId) -> Option<CpuId> {
        let mut turns = self.turns.iter();
        turns
            .find(|(_, turn)| turn.vcpu == vcpu)
            .map(|(&cpu, _)| cpu)
    }

    fn may_be(&self, vcpu: VcpuId, cpu: CpuId) -> bool {
        let member = self.vcpus.get(&vcpu);
        member.is_some_and(|member| member.allowed.contains(cpu)) && self.online.contains(cpu)
    }

    pub fn wanted(&self, cpu: CpuId) -> Option<VcpuId> {
        let turn = self.turns.get(&cpu).map(|turn| turn.vcpu);
        let wanted = self.loans.get(&cpu).map_or(turn, |&(to, _)| to);
        wanted.filter(|&vcpu| self.permitted(vcpu))
    }

    /// The host after a plan, if it is legal. Plans name a CPU once, turns before loans.
    pub fn after(&self, changes: &[Change]) -> Option<Self> {
        let mut next = self.clone();
        let now = self.now;
        let mut given = Vec::new();
        for change in changes {
            if let Change::Assign { cpu, turn, .. } = *change {
                next.loans.remove(&cpu);
                next.turns.remove(&cpu);
                given.extend(turn.map(|turn| (cpu, turn)));
                if !self.online.contains(cpu) {
                    return None;
                }
            }
        }
        for (cpu, turn) in given {
            let legal = self.may_be(turn.vcpu, cpu)
                && next.turn_of(turn.vcpu).is_none()
                && turn.level != Level::Boosted
                && turn.until.is_none_or(|until| until > now);
            if !legal {
                return None;
            }
            next.loans.retain(|_, (to, _)| *to != Some(turn.vcpu));
            next.turns.insert(cpu, turn);
        }
        for change in changes {
            match *change {
                Change::Lend { cpu, to, until, .. } => next.lend(cpu, to, until)?,
                Change::TakeBack { cpu } => drop(next.loans.remove(&cpu)),
                Change::Extend { cpu, until } => {
                    next.turns.get_mut(&cpu)?.until = Some(until);
                    (until > now).then_some(())?;
                }
                _ => {}
            }
        }
        if self.gangs && next.splits_beside(self) {
            return None;
        }
        for change in changes {
            if let Change::CoStop { vcpu, stop } = *change {
                next.vcpus.get_mut(&vcpu)?.stopped = stop;
            }
        }
        next.end_loans();
        Some(next)
    }

    fn lend(&mut self, cpu: CpuId, to: Option<VcpuId>, until: Nanos) -> Option<()> {
        let in_time = until > self.now && until <= self.now + 5 * MS;
        if !in_time || !self.online.contains(cpu) {
            return None;
        }
        if let Some(vcpu) = to {
            let elsewhere = |(&lent, &(to, _)): (&CpuId, &(Option<VcpuId>, Nanos))| {
                lent != cpu && to == Some(vcpu)
            };
            let free = self.turn_of(vcpu).is_none() && !self.loans.iter().any(elsewhere);
            if !self.may_be(vcpu, cpu) || !free || !self.runnable(vcpu) {
                return None;
            }
        }
        self.loans.insert(cpu, (to, until));
        Some(())
    }

    /// Whether a VM that was or is given a turn has slots for a part of those who could use them.
    fn splits_beside(&self, before: &Self) -> bool {
        let changed = self.online.iter().flat_map(|cpu| {
            let (was, is) = (before.turns.get(&cpu), self.turns.get(&cpu));
            if was == is { [None, None] } else { [was, is] }
        });
        let vms: Vec<VmId> = changed
            .flatten()
            .map(|turn| self.vcpus[&turn.vcpu].vm)
            .collect();
        vms.into_iter().any(|vm| {
            let members = self.vcpus.iter().filter(|(_, member)| member.vm == vm);
            let members: Vec<VcpuId> = members.map(|(&vcpu, _)| vcpu).collect();
            let has_slot = |vcpu: &&VcpuId| {
                let turn = self.turn_of(**vcpu).map(|cpu| self.turns[&cpu].level);
                turn == Some(Level::Slot)
            };
            let left_out = |vcpu: &VcpuId| !has_slot(&vcpu) && self.runnable(*vcpu);
            members.iter().any(|vcpu| has_slot(&vcpu)) && members.iter().any(left_out)
        })
    }
}
