//! `smart`: a layer that knows of spin locks.
//!
//! Problem: a vCPU that is stopped while it holds a spin lock makes its siblings spin until its next
//! turn, on CPUs that others could use.
//!
//! Approach: two cures over any policy.
//! - *Grace*: whoever has to leave a CPU may first leave its lock, for a bounded time. It is looked
//!   at after it has stopped, since a lock that is free when one looks may be taken when one stops.
//!   The grace that was used is owed to the vCPU whose turn began later for it.
//! - *Boost*: a holder that was stopped nevertheless is lent the CPU of a sibling that spins, for a
//!   short time or until the lock is free. What it had is owed to the sibling. A pair may do so once
//!   per pause.
//!
//! Both are paid back alike, from the debtor's own turns: when one begins, and a creditor waits for a
//! CPU that may be this one, the creditor has it first, for as long as it is owed. Where the CPU would
//! have been idle, grace keeps nobody waiting, but it takes the vCPU ahead of its siblings: then the
//! CPU idles first. Other CPUs, of the same gang too, do not wait for that. A vCPU that owes more than
//! a limit is lent nothing. `ledger.rs` keeps the books.
//!
//! Terms: a *holder* holds a lock, a *waiter* spins for one, a *stranded* holder has no CPU.
//!
//! Source: Zahorjan, Lazowska, Eager, "The effect of scheduling discipline on spin overhead in shared
//! memory parallel systems" (1991), for the flag and the grace; Uhlig et al., "Towards scalable
//! multiprocessor virtual machines" (2004), for lock-holder preemption in guests; Kashyap, Min, Kim,
//! "Scaling guest OS critical sections with eCS" (2018), for grace granted by a hypervisor.

mod ledger;

use std::collections::{BTreeMap, BTreeSet};

use self::ledger::{KEPT_FOR, Ledger, WORTH};
use crate::params::{Args, Param, time};
use crate::plan::{Change, GRACE_MAX, LOAN_MAX};
use crate::policy::{Claims, Event, Granularity, Policy, Repays};
use crate::view::{CpuView, LockState};
use crate::{CpuId, MS, Nanos, Plan, SECOND, US, VcpuId, View, VmId};

/// How often stranded holders are looked at while there are some.
const SCAN: Nanos = MS;

/// Why CPUs are lent.
const BOOST: &str = "a sibling spins for the lock that it holds";
const REPAYMENT: &str = "time is repaid that a lock holder had";

/// What can be set.
pub const PARAMS: &[Param] = &[
    time(
        "grace",
        200 * US,
        10 * US,
        GRACE_MAX,
        "how long a holder may stay on a CPU that it has to leave",
    ),
    time(
        "debt",
        500 * US,
        0,
        5 * MS,
        "a vCPU that owes more than this is lent no time",
    ),
    time(
        "boost",
        100 * US,
        10 * US,
        LOAN_MAX,
        "how long a stopped holder has the CPU of a sibling that spins",
    ),
    time(
        "pause",
        6 * MS,
        100 * US,
        SECOND,
        "the least time between two boosts of the same two vCPUs",
    ),
];

/// See the module's head.
#[derive(Debug)]
pub struct Smart {
    inner: Box<dyn Policy>,
    grace_ns: Nanos,
    debt_max_ns: Nanos,
    boost_ns: Nanos,
    pause_ns: Nanos,
    ledger: Ledger,
    /// Whether a grace that kept nobody waiting is a debt. Not where no CPU may idle.
    owes_idle: bool,
    stranded: BTreeSet<VcpuId>,
    scan_at: Option<Nanos>,
    /// By holder and waiter: their last boost, if it was within the pause.
    boosts: BTreeMap<(VcpuId, VcpuId), Nanos>,
    /// Who gets a CPU by the plan at hand, sorted. Kept for its memory.
    coming: Vec<VcpuId>,
}

impl Smart {
    /// From `smart:grace=,debt=,boost=,pause=`.
    pub fn new(args: &Args, inner: Box<dyn Policy>) -> Self {
        let owes_idle = !inner.claims().work_conserving;
        Self {
            inner,
            grace_ns: args.duration("grace"),
            debt_max_ns: args.duration("debt"),
            boost_ns: args.duration("boost"),
            pause_ns: args.duration("pause"),
            ledger: Ledger::default(),
            owes_idle,
            stranded: BTreeSet::new(),
            scan_at: None,
            boosts: BTreeMap::new(),
            coming: Vec::new(),
        }
    }

    /// Forgets a VM, whose numbers will be others'.
    fn forget(&mut self, vm: VmId, view: &View) {
        self.ledger.close(vm, view);
        let leaves = |vcpu: VcpuId| view.find_vcpu(vcpu).is_none_or(|state| state.vm == vm);
        self.stranded.retain(|&holder| !leaves(holder));
        self.boosts.retain(|&(holder, _), _| !leaves(holder));
    }

    /// Adds debts' repayment and grace to what the wrapped policy has planned.
    fn amend(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        self.coming.clear();
        let turns = plan.changes().iter().filter_map(|change| match change {
            Change::Assign { turn, .. } => *turn,
            _ => None,
        });
        self.coming.extend(turns.map(|turn| turn.vcpu));
        self.coming.sort_unstable();
        for index in 0..plan.changes().len() {
            let Change::Assign { cpu, turn, .. } = plan.changes()[index] else {
                continue;
            };
            let next = turn.map(|turn| turn.vcpu);
            if let Some(leaver) = view.cpu(cpu).occupant
                && self.grant(leaver, view)
                && let Change::Assign { grace_ns, .. } = &mut plan.changes_mut()[index]
            {
                *grace_ns = (*grace_ns).max(self.grace_ns);
            }
            // After that: who leaves may be the one who is paid.
            if let Some(next) = next {
                self.repay(now, cpu, next, view, plan);
                self.repay_another(now, next, view, plan);
            }
        }
    }

    /// `debtor` gets a turn on `cpu`: if it owes time to one who waits, that one goes first.
    fn repay(&mut self, now: Nanos, cpu: CpuId, debtor: VcpuId, view: &View, plan: &mut Plan) {
        let waits = |creditor: Option<VcpuId>| match creditor {
            Some(vcpu) => {
                let on_cpu = view.vcpu(vcpu).on_cpu;
                on_cpu.is_none_or(|on| on == cpu) && plan.can_lend(view, cpu, vcpu)
            }
            None => !plan.lends(cpu),
        };
        let Some(debt) = self.ledger.due(now, debtor, cpu, waits, view) else {
            return;
        };
        let paid_ns = debt.to.map_or_else(|| idled_ns(now, debtor, view), |_| 0);
        let ns = debt.ns.saturating_sub(paid_ns).min(LOAN_MAX);
        if ns > 0 {
            plan.because(REPAYMENT).lend_as_debt(cpu, debt.to, now + ns);
        }
    }

    /// `creditor` gets a turn of its own: if it was lent a CPU at this moment, another may be paid there.
    fn repay_another(&mut self, now: Nanos, creditor: VcpuId, view: &View, plan: &mut Plan) {
        let Some(cpu) = view.vcpu(creditor).loan else {
            return;
        };
        let CpuView { turn, loan, .. } = *view.cpu(cpu);
        let paid_now = loan.is_some_and(|loan| loan.since == now);
        if let Some(debtor) = turn.filter(|_| paid_now).map(|turn| turn.vcpu)
            && plan.turn_after(view, debtor) == Some(cpu)
        {
            self.repay(now, cpu, debtor, view, plan);
        }
    }

    /// Whether `leaver` may stay until its lock is free.
    fn grant(&self, leaver: VcpuId, view: &View) -> bool {
        // One that only moves waits no longer than a switch takes.
        let stays = view.vcpu(leaver).halted || self.coming.binary_search(&leaver).is_ok();
        !stays && self.ledger.owed_by(leaver) <= self.debt_max_ns
    }

    /// A vCPU was found to hold a lock without a CPU, or to spin for one.
    fn hint(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        if is_stranded(vcpu, view) {
            self.stranded.insert(vcpu);
            self.rescue(now, vcpu, view, plan);
        } else if view.vcpu(vcpu).lock == LockState::Waiting {
            let holders = view
                .siblings(vcpu)
                .filter(|&other| is_stranded(other, view));
            let oldest = holders.min_by_key(|&holder| (held_since(holder, view), holder));
            if let Some(holder) = oldest {
                self.boost(now, holder, vcpu, view, plan);
            }
        }
        if !self.stranded.is_empty() && self.scan_at.is_none_or(|at| at <= now) {
            self.scan_at = Some(now + SCAN);
            plan.tick(now + SCAN);
        }
    }

    /// Looks at stranded holders again: a pause may be over, or a sibling has begun to spin.
    fn scan(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        if self.scan_at.is_none_or(|at| at > now) {
            return;
        }
        self.scan_at = None;
        self.stranded.retain(|&holder| is_stranded(holder, view));
        for holder in self.stranded.clone() {
            self.rescue(now, holder, view, plan);
        }
        if !self.stranded.is_empty() {
            self.scan_at = Some(now + SCAN);
            plan.tick(now + SCAN);
        }
    }

    /// Finds a stranded holder a waiter that makes way for it.
    fn rescue(&mut self, now: Nanos, holder: VcpuId, view: &View, plan: &mut Plan) {
        for sibling in view.siblings(holder) {
            let waits = view.vcpu(sibling).lock == LockState::Waiting;
            if waits && self.boost(now, holder, sibling, view, plan) {
                return;
            }
        }
    }

    /// Lends the waiter's CPU to the holder, if that can be.
    fn boost(
        &mut self,
        now: Nanos,
        holder: VcpuId,
        waiter: VcpuId,
        view: &View,
        plan: &mut Plan,
    ) -> bool {
        let Some(cpu) = view.vcpu(waiter).on_cpu else {
            return false;
        };
        let own_turn = view.cpu(cpu).loan.is_none() && plan.turn_after(view, waiter) == Some(cpu);
        let (pair, pause_ns) = ((holder, waiter), self.pause_ns);
        let rests = |&at: &Nanos| now < at + pause_ns;
        if !own_turn || self.boosts.get(&pair).is_some_and(rests) {
            return false;
        }
        if !plan.can_lend(view, cpu, holder) {
            return false;
        }
        if self.ledger.owed_by(holder) > self.debt_max_ns {
            return false;
        }
        self.boosts.retain(|_, at| rests(at));
        self.boosts.insert(pair, now);
        plan.because(BOOST)
            .lend_as_debt(cpu, Some(holder), now + self.boost_ns);
        true
    }
}

fn held_since(vcpu: VcpuId, view: &View) -> Option<Nanos> {
    match view.vcpu(vcpu).lock {
        LockState::Holding { since } => Some(since),
        LockState::Free | LockState::Waiting => None,
    }
}

/// For how long a vCPU's CPU has idled in its turn as a repayment, which is booked when that is over.
fn idled_ns(now: Nanos, debtor: VcpuId, view: &View) -> Nanos {
    let loan = view.vcpu(debtor).turn.and_then(|cpu| view.cpu(cpu).loan);
    let idles = loan.filter(|loan| loan.is_debt && loan.to.is_none());
    idles.map_or(0, |loan| now - loan.since)
}

/// Whether a vCPU holds a lock and could leave it if it had a CPU.
fn is_stranded(vcpu: VcpuId, view: &View) -> bool {
    let Some(state) = view.find_vcpu(vcpu) else {
        return false;
    };
    held_since(vcpu, view).is_some() && state.on_cpu.is_none() && state.runnable()
}

impl Policy for Smart {
    fn name(&self) -> &'static str {
        "smart"
    }

    fn granularity(&self) -> Granularity {
        self.inner.granularity()
    }

    fn wants_lock_hints(&self) -> bool {
        true
    }

    fn describe(&self, view: &View) -> String {
        self.inner.describe(view) + &self.ledger.describe(view)
    }

    fn claims(&self) -> Claims {
        Claims {
            repays: Some(Repays {
                limit_ns: self.debt_max_ns,
                boost_ns: self.boost_ns,
                grace_ns: self.grace_ns,
                worth_ns: WORTH,
                kept_for_ns: KEPT_FOR,
                idle: self.owes_idle,
            }),
            ..self.inner.claims()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        self.ledger.make_room(view);
        if let Event::Borrowed { by, from, ns } = *event {
            // Only this layer keeps books.
            if from.is_some() || self.owes_idle {
                self.ledger.book(now, by, from, ns);
            }
            return;
        }
        if let Event::Arrive { vm } = *event {
            self.ledger.open(vm, view);
        }
        self.inner.on_event(now, event, view, plan);
        self.amend(now, view, plan);
        match *event {
            Event::LockHint { vcpu } => self.hint(now, vcpu, view, plan),
            Event::Tick => self.scan(now, view, plan),
            Event::Leave { vm } => self.forget(vm, view),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
