//! What a policy wants changed.

use serde::Serialize;

use crate::{CpuId, Nanos, VcpuId, View, VmId};

/// The longest time for which a CPU can be lent.
pub const LOAN_MAX: Nanos = 5 * crate::MS;
/// The longest time that a vCPU may be given to leave a lock.
pub const GRACE_MAX: Nanos = 500 * crate::US;

/// How firmly a vCPU holds its CPU: how an actuator makes the host obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It fills a hole that its own turn does not give it. A gang may run split at this level.
    Backfill,
    /// An ordinary turn.
    Fair,
    /// A turn together with its unit, exact to the microsecond. A halted member may be left out.
    Slot,
    /// A loan: ahead of all others, for a bounded time.
    Boosted,
}

/// A vCPU's stay on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub vcpu: VcpuId,
    /// When the policy wants to be asked again ([`SliceEnd`](crate::Event::SliceEnd)); `None`: not
    /// because of this turn. The vCPU stays until the policy plans otherwise.
    pub until: Option<Nanos>,
    /// How firmly.
    pub level: Level,
}

/// One thing to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A CPU gets this turn, or none. What it had ends.
    Assign {
        /// The CPU.
        cpu: CpuId,
        /// What it gets.
        turn: Option<Turn>,
        /// How long the vCPU that leaves for this turn may stay while it holds a lock.
        grace_ns: Nanos,
        /// What deciding this cost the CPU, beside the switch itself.
        overhead_ns: Nanos,
        /// For people: `muster sched why`.
        reason: &'static str,
    },
    /// The end of the present turn is moved.
    Extend {
        /// The CPU.
        cpu: CpuId,
        /// The new end.
        until: Nanos,
    },
    /// For a bounded time the CPU serves another vCPU than the one whose turn it is, or none. The
    /// turn itself goes on behind it, and the policy that gave it need not know.
    Lend {
        /// The CPU.
        cpu: CpuId,
        /// Who gets it; `None`: it idles.
        to: Option<VcpuId>,
        /// When it comes back at the latest.
        until: Nanos,
        /// Whether the policy is told what was had of it.
        is_debt: bool,
        /// For people.
        reason: &'static str,
    },
    /// A loan ends now.
    TakeBack {
        /// The CPU.
        cpu: CpuId,
    },
    /// A vCPU may not run (`true`) or may again.
    CoStop {
        /// Who.
        vcpu: VcpuId,
        /// Whether it is held back.
        stop: bool,
    },
    /// A VM is told how many CPUs it should use at present.
    Advise {
        /// Who.
        vm: VmId,
        /// How many.
        cpus: u32,
    },
    /// The policy wants a [`Tick`](crate::Event::Tick).
    Tick {
        /// When.
        at: Nanos,
    },
}

/// What a policy wants changed, all at the same moment. The engine carries it out whole or not at
/// all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    changes: Vec<Change>,
    reason: &'static str,
}

impl Plan {
    /// Says why the following changes are made: a few words without a full stop.
    pub fn because(&mut self, reason: &'static str) -> &mut Self {
        self.reason = reason;
        self
    }

    /// Gives `cpu` to `vcpu`, until the policy plans otherwise. Asked again at `until`.
    pub fn run(&mut self, cpu: CpuId, vcpu: VcpuId, until: Option<Nanos>) {
        self.turn(
            cpu,
            Turn {
                vcpu,
                until,
                level: Level::Fair,
            },
        );
    }

    /// Gives `cpu` this turn.
    pub fn turn(&mut self, cpu: CpuId, turn: Turn) {
        self.assign(cpu, Some(turn));
    }

    /// Takes `cpu` from whoever has it, and leaves it idle.
    pub fn idle(&mut self, cpu: CpuId) {
        self.assign(cpu, None);
    }

    fn assign(&mut self, cpu: CpuId, turn: Option<Turn>) {
        self.changes.push(Change::Assign {
            cpu,
            turn,
            grace_ns: 0,
            overhead_ns: 0,
            reason: self.reason,
        });
    }

    /// Charges `cpu` what the decision that it was last given took, such as waiting for a lock.
    pub fn overhead(&mut self, cpu: CpuId, overhead: Nanos) {
        let of_cpu =
            |change: &&mut Change| matches!(change, Change::Assign { cpu: c, .. } if *c == cpu);
        if let Some(Change::Assign { overhead_ns, .. }) = self.changes.iter_mut().rev().find(of_cpu)
        {
            *overhead_ns += overhead;
        }
    }

    /// Moves the end of the present turn of `cpu` to `until`.
    pub fn extend(&mut self, cpu: CpuId, until: Nanos) {
        self.changes.push(Change::Extend { cpu, until });
    }

    /// Lends `cpu` to `to` until `until`, or until something else is planned for it or for `to`.
    pub fn lend(&mut self, cpu: CpuId, to: Option<VcpuId>, until: Nanos) {
        self.push_loan(cpu, to, until, false);
    }

    /// The same. When it is over, the policy is told what was had of it
    /// ([`Borrowed`](crate::Event::Borrowed)).
    pub fn lend_as_debt(&mut self, cpu: CpuId, to: Option<VcpuId>, until: Nanos) {
        self.push_loan(cpu, to, until, true);
    }

    fn push_loan(&mut self, cpu: CpuId, to: Option<VcpuId>, until: Nanos, is_debt: bool) {
        let reason = self.reason;
        self.changes.push(Change::Lend {
            cpu,
            to,
            until,
            is_debt,
            reason,
        });
    }

    /// Ends a loan of `cpu`, if there is one.
    pub fn take_back(&mut self, cpu: CpuId) {
        self.changes.push(Change::TakeBack { cpu });
    }

    /// Holds `vcpu` back, or lets it run again.
    pub fn co_stop(&mut self, vcpu: VcpuId, stop: bool) {
        self.changes.push(Change::CoStop { vcpu, stop });
    }

    /// Tells `vm` how many CPUs it should use.
    pub fn advise(&mut self, vm: VmId, cpus: u32) {
        self.changes.push(Change::Advise { vm, cpus });
    }

    /// Asks for a tick at `at`. Ticks are neither numbered nor taken back: a policy that gets one
    /// looks at the time.
    pub fn tick(&mut self, at: Nanos) {
        self.changes.push(Change::Tick { at });
    }

    /// What is planned so far, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The same for a policy that wraps another and amends what it has planned.
    pub fn changes_mut(&mut self) -> &mut Vec<Change> {
        &mut self.changes
    }

    /// For layers: the CPU of which `vcpu` has the turn once this is carried out.
    pub fn turn_after(&self, view: &View, vcpu: VcpuId) -> Option<CpuId> {
        let gets = |change: &Change| match *change {
            Change::Assign {
                cpu,
                turn: Some(turn),
                ..
            } if turn.vcpu == vcpu => Some(cpu),
            _ => None,
        };
        let is_taken = |cpu: CpuId| {
            let mut changes = self.changes.iter();
            changes.any(|change| matches!(change, Change::Assign { cpu: c, .. } if *c == cpu))
        };
        let gets = self.changes.iter().rev().find_map(gets);
        gets.or_else(|| view.vcpu(vcpu).turn.filter(|&cpu| !is_taken(cpu)))
    }

    /// For layers: whether `cpu` can be lent to `vcpu`, which waits for a CPU, beside what is planned
    /// so far. It does not say who has the turn there, nor does it mind a loan that is there already.
    pub fn can_lend(&self, view: &View, cpu: CpuId, vcpu: VcpuId) -> bool {
        let state = view.vcpu(vcpu);
        let borrows =
            |change: &Change| matches!(change, Change::Lend { to, .. } if *to == Some(vcpu));
        state.runnable()
            && state.allowed.contains(cpu)
            && state.loan.is_none()
            && self.turn_after(view, vcpu).is_none()
            && !self.lends(cpu)
            && !self.changes.iter().any(borrows)
    }

    /// For layers: whether `cpu` is lent by what is planned so far.
    pub fn lends(&self, cpu: CpuId) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| matches!(change, Change::Lend { cpu: lent, .. } if *lent == cpu))
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.reason = "";
    }
}
