//! CPUs that are lent.

use super::apply::Violation;
use super::{Deadline, Engine};
use crate::policy::Event;
use crate::view::{Loan, LockState};
use crate::{CpuId, Nanos, VcpuId};

impl Engine {
    pub(super) fn lend(
        &mut self,
        cpu: CpuId,
        to: Option<VcpuId>,
        until: Nanos,
        is_debt: bool,
    ) -> Result<(), Violation> {
        let mut for_lock = false;
        if let Some(vcpu) = to {
            let state = self.view.vcpu(vcpu);
            if let Some(other) = state.turn.or(state.loan.filter(|&lent| lent != cpu)) {
                return Err(Violation::TwoCpus(vcpu, other, cpu));
            }
            if !state.runnable() {
                return Err(Violation::IdleBorrower(vcpu));
            }
            for_lock = matches!(state.lock, LockState::Holding { .. });
        }
        self.remember(cpu);
        let loan = Loan {
            to,
            until,
            for_lock,
            is_debt,
            since: self.now,
        };
        self.set_loan(cpu, Some(loan));
        Ok(())
    }

    /// Begins or ends a loan of a CPU.
    pub(super) fn set_loan(&mut self, cpu: CpuId, loan: Option<Loan>) {
        let before = self.view.cpus[cpu.index()].loan;
        if before == loan {
            return;
        }
        self.touched.push(cpu);
        if let Some(old) = before {
            self.deadlines.remove(&(old.until, Deadline::LoanEnd(cpu)));
            self.end_loan(cpu, old);
        }
        let since = self.now;
        let loan = loan.map(|new| Loan { since, ..new });
        self.view.cpus[cpu.index()].loan = loan;
        if let Some(new) = loan {
            self.deadlines.insert((new.until, Deadline::LoanEnd(cpu)));
            if let Some(vcpu) = new.to {
                self.account(vcpu);
                let state = self.view.vcpu_mut(vcpu);
                state.loan = Some(cpu);
                state.borrowed_ns = 0;
            }
        }
    }

    /// Tells the policy what was had of a loan, if it keeps books: before anything else, since it may lend
    /// again.
    fn end_loan(&mut self, cpu: CpuId, loan: Loan) {
        let had_ns = match loan.to {
            Some(vcpu) => {
                self.account(vcpu);
                let state = self.view.vcpu_mut(vcpu);
                state.loan = None;
                state.borrowed_ns
            }
            None => self.now - loan.since,
        };
        let turn = self.view.cpus[cpu.index()].turn;
        if let Some(turn) = turn.filter(|_| loan.is_debt && had_ns > 0) {
            self.events.push_front(Event::Borrowed {
                by: loan.to,
                from: Some(turn.vcpu),
                ns: had_ns,
            });
        }
    }
}
