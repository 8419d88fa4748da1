//! `smart`: a layer that knows of spin locks.
//!
//! Problem: a vCPU that is stopped while it holds a spin lock makes its siblings spin until its next
//! turn, on CPUs that others could use.
//!
//! Approach: two cures over any policy.
//! - *Grace*: whoever has to leave a CPU may first leave its lock, for a bounded time. It is looked
//!   at after it has stopped, since a lock that is free when one looks may be taken when one stops.
//!   The grace that was used is a debt to the vCPU that had to wait: at the debtor's next turn, the
//!   creditor has the CPU first, for as long. A debt lapses when its creditor waits for no CPU any
//!   more; while a vCPU's debt is over a limit, it gets no grace.
//! - *Boost*: a holder that was stopped nevertheless is lent the CPU of a sibling that spins, for a
//!   short time or until the lock is free. The sibling's VM pays with its own time, so nothing is to
//!   be repaid; a pair may do so once per pause.
//!
//! Terms: a *holder* holds a lock, a *waiter* spins for one, a *stranded* holder has no CPU.
//!
//! Source: Zahorjan, Lazowska, Eager, "The effect of scheduling discipline on spin overhead in shared
//! memory parallel systems" (1991), for the flag and the grace; Uhlig et al., "Towards scalable
//! multiprocessor virtual machines" (2004), for lock-holder preemption in guests; Kashyap, Min, Kim,
//! "Scaling guest OS critical sections with eCS" (2018), for grace granted by a hypervisor.

use std::collections::{BTreeMap, BTreeSet};

use crate::params::{Args, Param, time};
use crate::plan::{Change, GRACE_MAX, LOAN_MAX};
use crate::policy::{Claims, Event, Granularity, Policy};
use crate::view::LockState;
use crate::{CpuId, MS, Nanos, Plan, SECOND, US, VcpuId, View, VmId};

/// How often stranded holders are looked at while there are some.
const SCAN: Nanos = MS;

/// What a vCPU owes.
#[derive(Debug, Clone, Default)]
struct Account {
    /// The grace, out of all that it has ever used, that is a debt already or was one.
    booked_ns: Nanos,
    debt_ns: Nanos,
    /// Who had to wait last.
    creditor: Option<VcpuId>,
}

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
        "no grace for a vCPU that owes more than this",
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
    /// Per vCPU.
    accounts: Vec<Account>,
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
        Self {
            inner,
            grace_ns: args.duration("grace"),
            debt_max_ns: args.duration("debt"),
            boost_ns: args.duration("boost"),
            pause_ns: args.duration("pause"),
            accounts: Vec::new(),
            stranded: BTreeSet::new(),
            scan_at: None,
            boosts: BTreeMap::new(),
            coming: Vec::new(),
        }
    }

    fn open_accounts(&mut self, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            self.accounts[vcpu.index()] = Account {
                booked_ns: view.vcpu(vcpu).grace_ns,
                ..Account::default()
            };
        }
    }

    /// Forgets a VM, whose numbers will be others'.
    fn close_accounts(&mut self, vm: VmId, view: &View) {
        let leaves = |vcpu: VcpuId| view.find_vcpu(vcpu).is_none_or(|state| state.vm == vm);
        for vcpu in view.vm(vm).vcpus() {
            self.accounts[vcpu.index()] = Account::default();
        }
        for account in &mut self.accounts {
            if account.creditor.is_some_and(leaves) {
                account.creditor = None;
            }
        }
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
            if let Some(next) = next {
                self.repay(now, cpu, next, view, plan);
            }
            if let Some(leaver) = view.cpu(cpu).occupant
                && self.grant(leaver, next, view)
                && let Change::Assign { grace_ns, .. } = &mut plan.changes_mut()[index]
            {
                *grace_ns = (*grace_ns).max(self.grace_ns);
            }
        }
    }

    /// Brings a vCPU's debt up to date.
    fn book(&mut self, debtor: VcpuId, view: &View) -> &mut Account {
        let account = &mut self.accounts[debtor.index()];
        let used_ns = view.vcpu(debtor).grace_ns;
        account.debt_ns += used_ns - account.booked_ns;
        account.booked_ns = used_ns;
        if account.creditor.is_none() {
            account.debt_ns = 0;
        }
        account
    }

    /// `debtor` gets a turn on `cpu`: if it owes time to one who waits, that one goes first.
    fn repay(&mut self, now: Nanos, cpu: CpuId, debtor: VcpuId, view: &View, plan: &mut Plan) {
        let account = self.book(debtor, view);
        let Some(creditor) = account.creditor.filter(|_| account.debt_ns > 0) else {
            return;
        };
        if plan.can_lend(view, cpu, creditor) {
            let debt_ns = account.debt_ns.min(LOAN_MAX);
            plan.because("time is repaid that a lock holder took");
            plan.lend(cpu, Some(creditor), now + debt_ns);
            account.debt_ns = 0;
        } else if !view.vcpu(creditor).runnable() {
            account.debt_ns = 0;
        }
    }

    /// Whether `leaver` may stay until its lock is free, at the expense of `next`.
    fn grant(&mut self, leaver: VcpuId, next: Option<VcpuId>, view: &View) -> bool {
        // One that only moves waits no longer than a switch takes.
        let stays = view.vcpu(leaver).halted || self.coming.binary_search(&leaver).is_ok();
        if stays {
            return false;
        }
        let debt_max_ns = self.debt_max_ns;
        let account = self.book(leaver, view);
        if account.debt_ns > debt_max_ns {
            return false;
        }
        if next.is_some() || account.debt_ns == 0 {
            account.creditor = next;
        }
        true
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
        self.boosts.retain(|_, at| rests(at));
        self.boosts.insert(pair, now);
        plan.because("a sibling spins for the lock that it holds");
        plan.lend(cpu, Some(holder), now + self.boost_ns);
        true
    }
}

fn held_since(vcpu: VcpuId, view: &View) -> Option<Nanos> {
    match view.vcpu(vcpu).lock {
        LockState::Holding { since } => Some(since),
        LockState::Free | LockState::Waiting => None,
    }
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
        self.inner.describe(view)
    }

    fn claims(&self) -> Claims {
        self.inner.claims()
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        if self.accounts.len() < view.vcpu_ids() {
            self.accounts.resize(view.vcpu_ids(), Account::default());
        }
        if let Event::Arrive { vm } = *event {
            self.open_accounts(vm, view);
        }
        self.inner.on_event(now, event, view, plan);
        self.amend(now, view, plan);
        match *event {
            Event::LockHint { vcpu } => self.hint(now, vcpu, view, plan),
            Event::Tick => self.scan(now, view, plan),
            Event::Leave { vm } => self.close_accounts(vm, view),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
