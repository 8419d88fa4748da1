//! Checking a plan and taking it over, whole or not at all.

use super::{Deadline, Engine};
use crate::plan::{Change, GRACE_MAX, LOAN_MAX};
use crate::view::Loan;
use crate::{CpuId, Event, Level, Nanos, Turn, UnitId, VcpuId, VmId};

/// A rule that a plan broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A CPU that does not exist or can't be used.
    #[error("{0} is not online")]
    Offline(CpuId),
    /// No such vCPU.
    #[error("{0} does not exist")]
    NoVcpu(VcpuId),
    /// No such VM.
    #[error("{0} does not exist")]
    NoVm(VmId),
    /// Not allowed there.
    #[error("{0} may not run on {1}: its hard affinity forbids it")]
    HardAffinity(VcpuId, CpuId),
    /// A vCPU on two CPUs.
    #[error("{0} would be on {1} and {2} at once")]
    TwoCpus(VcpuId, CpuId, CpuId),
    /// A part of a gang.
    #[error("{unit} would run split: {on} of its {of} members have a turn")]
    SplitUnit {
        /// Which unit.
        unit: UnitId,
        /// Members with a turn.
        on: usize,
        /// All members.
        of: usize,
    },
    /// A turn, tick or loan that ends before it begins.
    #[error("{0} ns is not in the future (now: {1} ns)")]
    Past(Nanos, Nanos),
    /// A moved end for a CPU without a turn.
    #[error("{0} has no turn whose end could be moved")]
    NoTurn(CpuId),
    /// A level that is only for loans.
    #[error("{0} was given a turn at the level of loans")]
    BoostedTurn(VcpuId),
    /// Too long a loan.
    #[error("a loan of {0} ns: the longest is {LOAN_MAX} ns")]
    LongLoan(Nanos),
    /// Too much grace.
    #[error("a grace of {0} ns: the longest is {GRACE_MAX} ns")]
    LongGrace(Nanos),
    /// A loan to a vCPU that can't use it.
    #[error("{0} was lent a CPU and is not runnable")]
    IdleBorrower(VcpuId),
}

/// What CPUs had before the plan.
#[derive(Debug, Default)]
pub(super) struct Journal {
    cpus: Vec<(CpuId, Option<Turn>, Option<Loan>)>,
    units: Vec<UnitId>,
}

impl Journal {
    /// Of a CPU that is there twice, the oldest state counts. (The sort keeps their order.)
    fn keep_oldest(&mut self) {
        self.cpus.sort_by_key(|&(cpu, ..)| cpu);
        self.cpus.dedup_by_key(|&mut (cpu, ..)| cpu);
    }
}

impl Engine {
    /// Takes the plan over. After an error everything is as before.
    pub(super) fn apply_plan(&mut self) -> Result<(), Violation> {
        if self.plan.changes().is_empty() {
            return Ok(());
        }
        let plan = std::mem::take(&mut self.plan);
        self.journal.cpus.clear();
        self.journal.units.clear();
        let applied = self.try_apply(plan.changes());
        if applied.is_ok() {
            self.take_effect(plan.changes());
        } else {
            self.undo();
        }
        // Its memory is used again.
        self.plan = plan;
        applied
    }

    fn try_apply(&mut self, changes: &[Change]) -> Result<(), Violation> {
        // First all CPUs are free: a plan that swaps two vCPUs is legal.
        for change in changes {
            self.check(change)?;
            if let Change::Assign { cpu, .. } = *change {
                self.remember(cpu);
                self.set_loan(cpu, None);
                self.set_turn(cpu, None);
            }
        }
        for change in changes {
            match *change {
                Change::Assign { cpu, turn, .. } => self.assign(cpu, turn)?,
                Change::Lend {
                    cpu,
                    to,
                    until,
                    is_debt,
                    ..
                } => self.lend(cpu, to, until, is_debt)?,
                Change::TakeBack { cpu } => {
                    self.remember(cpu);
                    self.set_loan(cpu, None);
                }
                Change::Extend { cpu, until } => {
                    self.remember(cpu);
                    let turn = self.view.cpu(cpu).turn.ok_or(Violation::NoTurn(cpu))?;
                    let until = Some(until);
                    self.set_turn(cpu, Some(Turn { until, ..turn }));
                }
                Change::CoStop { .. } | Change::Advise { .. } | Change::Tick { .. } => {}
            }
        }
        self.check_units()
    }

    /// What can be said of a change by itself.
    fn check(&self, change: &Change) -> Result<(), Violation> {
        let online = |cpu| {
            let online = self.view.online.contains(cpu);
            if online {
                Ok(())
            } else {
                Err(Violation::Offline(cpu))
            }
        };
        let future = |at: Nanos| {
            if at > self.now {
                Ok(())
            } else {
                Err(Violation::Past(at, self.now))
            }
        };
        match *change {
            Change::Assign {
                cpu,
                turn,
                grace_ns,
                ..
            } => {
                online(cpu)?;
                if grace_ns > GRACE_MAX {
                    return Err(Violation::LongGrace(grace_ns));
                }
                let Some(turn) = turn else { return Ok(()) };
                self.check_place(turn.vcpu, cpu)?;
                if turn.level == Level::Boosted {
                    return Err(Violation::BoostedTurn(turn.vcpu));
                }
                turn.until.map_or(Ok(()), future)
            }
            Change::Extend { cpu, until } => online(cpu).and(future(until)),
            Change::Lend { cpu, to, until, .. } => {
                online(cpu).and(future(until))?;
                if until - self.now > LOAN_MAX {
                    return Err(Violation::LongLoan(until - self.now));
                }
                to.map_or(Ok(()), |vcpu| self.check_place(vcpu, cpu))
            }
            Change::TakeBack { cpu } => online(cpu),
            Change::CoStop { vcpu, .. } => {
                let exists = self.view.find_vcpu(vcpu).is_some();
                if exists {
                    Ok(())
                } else {
                    Err(Violation::NoVcpu(vcpu))
                }
            }
            Change::Advise { vm, .. } => {
                let exists = self.view.find_vm(vm).is_some();
                if exists {
                    Ok(())
                } else {
                    Err(Violation::NoVm(vm))
                }
            }
            Change::Tick { at } => future(at),
        }
    }

    fn check_place(&self, vcpu: VcpuId, cpu: CpuId) -> Result<(), Violation> {
        let state = self.view.find_vcpu(vcpu).ok_or(Violation::NoVcpu(vcpu))?;
        if state.allowed.contains(cpu) {
            Ok(())
        } else {
            Err(Violation::HardAffinity(vcpu, cpu))
        }
    }

    fn assign(&mut self, cpu: CpuId, turn: Option<Turn>) -> Result<(), Violation> {
        let Some(turn) = turn else {
            self.set_turn(cpu, None);
            return Ok(());
        };
        if let Some(other) = self.view.vcpu(turn.vcpu).turn.filter(|&other| other != cpu) {
            return Err(Violation::TwoCpus(turn.vcpu, other, cpu));
        }
        // A loan ends when the borrower has a turn of its own.
        if let Some(lent) = self.view.vcpu(turn.vcpu).loan {
            self.remember(lent);
            self.set_loan(lent, None);
        }
        self.set_turn(cpu, Some(turn));
        Ok(())
    }

    /// No unit has turns at [`Level::Slot`] for a part of its runnable members. One that has halted
    /// may have been left out for another vCPU to use its CPU; one that has woken is missed once the
    /// policy knows and plans for its unit again. Loans, which layers make, split nothing.
    fn check_units(&mut self) -> Result<(), Violation> {
        self.journal.keep_oldest();
        let mut units = std::mem::take(&mut self.journal.units);
        let touched = self.journal.cpus.iter().flat_map(|&(cpu, before, _)| {
            let now = self.view.cpu(cpu).turn;
            let changed = if before == now {
                [None; 2]
            } else {
                [before, now]
            };
            changed.into_iter().flatten()
        });
        units.extend(touched.map(|turn| self.view.vcpu(turn.vcpu).unit));
        units.sort_unstable();
        units.dedup();
        let split = units.iter().find_map(|&unit| {
            let members = &self.view.unit(unit).members;
            let has_slot = |&&member: &&VcpuId| {
                let turn = self.view.vcpu(member).turn;
                let turn = turn.and_then(|cpu| self.view.cpu(cpu).turn);
                turn.is_some_and(|turn| turn.level == Level::Slot)
            };
            let (on, of) = (members.iter().filter(has_slot).count(), members.len());
            let left_out = |member: &&VcpuId| {
                self.view.vcpu(**member).runnable()
                    && !has_slot(member)
                    && !self.events.contains(&Event::Wake { vcpu: **member })
            };
            let split = on > 0 && members.iter().any(|member| left_out(&member));
            split.then_some(Violation::SplitUnit { unit, on, of })
        });
        self.journal.units = units;
        split.map_or(Ok(()), Err)
    }

    /// What can't fail and need not be undone.
    fn take_effect(&mut self, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::Assign {
                    cpu,
                    grace_ns,
                    overhead_ns,
                    reason,
                    ..
                } => {
                    let order = &mut self.orders[cpu.index()];
                    order.grace_ns = order.grace_ns.max(grace_ns);
                    order.overhead_ns += overhead_ns;
                    order.reason = reason;
                }
                Change::Lend { cpu, reason, .. } => self.orders[cpu.index()].reason = reason,
                Change::CoStop { vcpu, stop } => {
                    self.set_flag(vcpu, |state| state.co_stopped = stop);
                }
                Change::Advise { vm, cpus } => self.advice.push((vm, cpus)),
                Change::Tick { at } => {
                    self.deadlines.insert((at, Deadline::Tick));
                }
                Change::Extend { .. } | Change::TakeBack { .. } => {}
            }
        }
    }

    pub(super) fn remember(&mut self, cpu: CpuId) {
        let state = self.view.cpu(cpu);
        self.journal.cpus.push((cpu, state.turn, state.loan));
    }

    fn undo(&mut self) {
        self.journal.keep_oldest();
        let journal = std::mem::take(&mut self.journal.cpus);
        for &(cpu, ..) in &journal {
            self.set_loan(cpu, None);
            self.set_turn(cpu, None);
        }
        for &(cpu, turn, loan) in &journal {
            self.set_turn(cpu, turn);
            self.set_loan(cpu, loan);
        }
        self.journal.cpus = journal;
    }

    /// Gives a CPU a turn, and keeps the vCPUs' side and the deadlines true. A loan ends with the turn of
    /// whom it was lent by.
    pub(super) fn set_turn(&mut self, cpu: CpuId, turn: Option<Turn>) {
        let before = self.view.cpu(cpu).turn;
        if before == turn {
            return;
        }
        if before.map(|old| old.vcpu) != turn.map(|new| new.vcpu) {
            self.set_loan(cpu, None);
        }
        self.view.cpus[cpu.index()].turn = turn;
        self.touched.push(cpu);
        if let Some(old) = before {
            self.view.vcpu_mut(old.vcpu).turn = None;
            if let Some(until) = old.until {
                self.deadlines.remove(&(until, Deadline::SliceEnd(cpu)));
            }
        }
        if let Some(new) = turn {
            self.view.vcpu_mut(new.vcpu).turn = Some(cpu);
            // One that has ended already, and comes back because a plan is refused, is over.
            if let Some(until) = new.until.filter(|&until| until > self.now) {
                self.deadlines.insert((until, Deadline::SliceEnd(cpu)));
            }
        }
    }
}
