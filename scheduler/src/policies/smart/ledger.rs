//! Who owes CPU time to whom.
//!
//! Problem: a vCPU that has had another's time owes it. Lenders are many, a machine switches late, and
//! those who lent may leave, sleep, or never wait for a CPU again.
//!
//! Approach: the engine tells when somebody has had what was another's, be it a grace or a loan. That is
//! booked as a debt. A repayment is a loan the other way, and booked likewise: it is set off against the
//! debt, and what was not delivered is still owed. Debts end by being paid, with one of the two vCPUs
//! (its VM leaves, or another policy is put in charge), or when nobody waits for them: see
//! [`KEPT_FOR`].
//!
//! Terms: a *debtor* has had time that was its *creditor's*. An idle CPU may be the creditor, too
//! (`None`): nobody was kept waiting, but the debtor is ahead of its siblings.
//!
//! Invariants: a debt is more than nothing. Two vCPUs do not owe each other: the debts of one are set
//! off against those of the other. Nobody is paid more than it is owed. Who owes more than the limit
//! borrows nothing, so that nobody ever owes more than the limit and one loan.

use std::fmt::Write;

use crate::{CpuId, MS, Nanos, US, VcpuId, View, VmId};

/// A debt of less is not worth a switch: it is paid only to one who has the CPU at that moment.
pub const WORTH: Nanos = 100 * US;
/// A debt that is as old lapses, if its creditor does not wait for a CPU when the debtor's turn begins.
pub const KEPT_FOR: Nanos = 100 * MS;

/// A debt to one creditor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Debt {
    /// `None`: an idle CPU.
    pub to: Option<VcpuId>,
    pub ns: Nanos,
    /// When something was last added to it, or its creditor was found waiting when it was old.
    kept_at: Nanos,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Per vCPU: what it owes.
    debts: Vec<Vec<Debt>>,
}

impl Ledger {
    /// There is a place for each vCPU, even if its VM has not been announced yet.
    pub(super) fn make_room(&mut self, view: &View) {
        if self.debts.len() < view.vcpu_ids() {
            self.debts.resize(view.vcpu_ids(), Vec::new());
        }
    }

    /// A VM has come: its vCPUs owe nothing.
    pub(super) fn open(&mut self, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            self.debts[vcpu.index()].clear();
        }
    }

    /// A VM leaves: debts of its vCPUs and to them are void.
    pub(super) fn close(&mut self, vm: VmId, view: &View) {
        self.open(vm, view);
        let leaves = |vcpu: VcpuId| view.find_vcpu(vcpu).is_none_or(|state| state.vm == vm);
        for debts in &mut self.debts {
            debts.retain(|debt| !debt.to.is_some_and(leaves));
        }
    }

    /// All that a vCPU owes.
    pub(super) fn owed_by(&self, vcpu: VcpuId) -> Nanos {
        self.debts[vcpu.index()].iter().map(|debt| debt.ns).sum()
    }

    /// `by` has had time that was `from`'s. `None`: nobody, or nobody's.
    pub(super) fn book(&mut self, now: Nanos, by: Option<VcpuId>, from: Option<VcpuId>, ns: Nanos) {
        let paid_ns = from.map_or(0, |debtor| self.set_off(debtor, by, ns));
        if let Some(debtor) = by {
            self.owe(now, debtor, from, ns - paid_ns);
        }
    }

    fn owe(&mut self, now: Nanos, debtor: VcpuId, creditor: Option<VcpuId>, ns: Nanos) {
        if ns == 0 {
            return;
        }
        let debts = &mut self.debts[debtor.index()];
        match debts.iter_mut().find(|debt| debt.to == creditor) {
            Some(debt) => {
                debt.ns += ns;
                debt.kept_at = now;
            }
            None => debts.push(Debt {
                to: creditor,
                ns,
                kept_at: now,
            }),
        }
    }

    /// Takes as much off a debt as there is. Gives how much that was.
    fn set_off(&mut self, debtor: VcpuId, creditor: Option<VcpuId>, ns: Nanos) -> Nanos {
        let debts = &mut self.debts[debtor.index()];
        let Some(place) = debts.iter().position(|debt| debt.to == creditor) else {
            return 0;
        };
        let paid_ns = ns.min(debts[place].ns);
        debts[place].ns -= paid_ns;
        if debts[place].ns == 0 {
            debts.remove(place);
        }
        paid_ns
    }

    /// The debt to be paid as `debtor` begins a turn on `cpu`: to whom is on that CPU, which costs no
    /// switch, else the largest that is worth one. Old debts lapse for which nobody waits.
    pub(super) fn due(
        &mut self,
        now: Nanos,
        debtor: VcpuId,
        cpu: CpuId,
        waits: impl Fn(Option<VcpuId>) -> bool,
        view: &View,
    ) -> Option<Debt> {
        let debts = &mut self.debts[debtor.index()];
        debts.retain_mut(|debt| {
            if now < debt.kept_at + KEPT_FOR {
                return true;
            }
            debt.kept_at = now;
            waits(debt.to)
        });
        let present = view.cpu(cpu).occupant;
        let is_present = |debt: &Debt| debt.to.is_some() && debt.to == present;
        let is_worth_it = |debt: &&Debt| is_present(debt) || debt.ns >= WORTH;
        let payable = debts
            .iter()
            .filter(is_worth_it)
            .filter(|debt| waits(debt.to));
        payable
            .max_by_key(|debt| (is_present(debt), debt.ns, debt.to))
            .copied()
    }

    /// All debts, for people.
    pub(super) fn describe(&self, view: &View) -> String {
        let mut out = String::new();
        for (index, debts) in self.debts.iter().enumerate() {
            for debt in debts {
                let debtor = name(VcpuId(index as u32), view);
                let to = debt
                    .to
                    .map_or("an idle CPU".to_owned(), |to| name(to, view));
                let _ = writeln!(out, "{debtor} owes {to} {} us", debt.ns / US);
            }
        }
        out
    }
}

fn name(vcpu: VcpuId, view: &View) -> String {
    let state = view.vcpu(vcpu);
    format!("vCPU {}.{}", state.vm.0, state.index)
}
