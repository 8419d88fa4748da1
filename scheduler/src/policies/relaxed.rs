//! `relaxed`: a layer that keeps a VM's vCPUs abreast of each other.
//!
//! Problem: a guest assumes that its CPUs run at the same speed. If one gets on and its sibling does
//! not, the one soon waits for the other, and a gang's cure (all or none) wastes CPUs.
//!
//! Approach: over any policy, look at each VM's vCPUs every so often. Who is too far ahead of the
//! slowest, while that one has no CPU, is co-stopped: the policy below sees it as not runnable, and
//! gives its CPU to others. What was left of its turn goes to the slowest first, and more of that
//! CPU's time if nobody else uses it. It starts again when it is ahead by little; when it is no further
//! ahead than allowed and the slowest runs by its own right, so that both get on; or after a longest
//! time. A slowest one that runs on a lent CPU is no reason: that CPU is the one that would be taken
//! back. The slowest is never stopped, so that each VM always has a vCPU that can run; nor is one that is
//! known to hold a lock, or that was lent a CPU.
//!
//! Under a policy that gives CPUs for ever, the slowest may be held up by others on its CPU while the
//! one that was stopped has a CPU to itself: only the loan gets it on then. Where hard affinity forbids
//! the loan that CPU idles, and skew is kept small only if the slowest never waits for the longest time.
//!
//! `strict` is the older form: as soon as one is too far ahead, the whole VM stops, and starts again
//! when there are CPUs for all of it at the same time; after the longest time, it takes them.
//!
//! Terms: *progress* is CPU time. Halting is progress too, up to that of the sibling that is furthest:
//! who has nothing to do does not lag. The *lead* of a vCPU is its progress over that of its slowest
//! sibling that is not halted; the largest is the VM's *skew*.
//!
//! Source: "The CPU Scheduler in VMware vSphere 5.1" (2013): relaxed co-scheduling, and strict
//! co-scheduling as in ESX 2.

use std::collections::BTreeSet;

use crate::params::{Args, Kind, Param, time};
use crate::plan::LOAN_MAX;
use crate::policy::{Claims, Event, Granularity, Policy};
use crate::view::LockState;
use crate::{CpuId, MS, Nanos, Plan, Runstate, SECOND, US, VcpuId, View, VmId};

/// What is kept of a vCPU.
#[derive(Debug, Clone, Default)]
struct Member {
    /// Progress beside the CPU time.
    credit_ns: Nanos,
    /// The halted time up to which credit was given.
    halted_seen_ns: Nanos,
    /// When it was co-stopped, if it is.
    stopped_at: Option<Nanos>,
    /// It was stopped for the longest time: until when it may not be stopped again.
    spared_until: Nanos,
}

/// What can be set.
pub const PARAMS: &[Param] = &[
    time(
        "stop",
        3 * MS,
        100 * US,
        SECOND,
        "the lead at which a vCPU is held back while its slowest sibling has no CPU",
    ),
    time(
        "start",
        MS,
        10 * US,
        SECOND,
        "the lead below which it may run again in any case",
    ),
    time(
        "check",
        MS,
        100 * US,
        100 * MS,
        "how often leads are looked at",
    ),
    time(
        "longest",
        20 * MS,
        MS,
        SECOND,
        "the longest time for which a vCPU is held back at a stretch",
    ),
    Param {
        name: "strict",
        kind: Kind::Flag { default: false },
        meaning: "the whole VM stops, and starts again only as a whole",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Relaxed {
    inner: Box<dyn Policy>,
    stop_ns: Nanos,
    start_ns: Nanos,
    check_ns: Nanos,
    longest_ns: Nanos,
    strict: bool,
    /// Per vCPU.
    members: Vec<Member>,
    /// VMs that may have more than one vCPU that is not halted.
    watched: BTreeSet<VmId>,
    check_at: Option<Nanos>,
}

impl Relaxed {
    /// From `relaxed:stop=,start=,check=,longest=,strict`.
    pub fn new(args: &Args, inner: Box<dyn Policy>) -> Self {
        let stop_ns = args.duration("stop");
        let longest_ns = args.duration("longest");
        Self {
            inner,
            stop_ns,
            // Who may go on at once need not have been stopped.
            start_ns: args.duration("start").min(stop_ns),
            check_ns: args.duration("check").min(longest_ns),
            longest_ns,
            strict: args.flag("strict"),
            members: Vec::new(),
            watched: BTreeSet::new(),
            check_at: None,
        }
    }

    /// A VM's vCPUs start abreast, however long they have run under another policy.
    fn enlist(&mut self, now: Nanos, vm: VmId, view: &View) {
        let vcpus = view.vm(vm).vcpus();
        let furthest = vcpus.map(|vcpu| view.vcpu(vcpu).running_ns(now)).max();
        let furthest = furthest.unwrap_or(0);
        for vcpu in view.vm(vm).vcpus() {
            let state = view.vcpu(vcpu);
            self.members[vcpu.index()] = Member {
                credit_ns: furthest - state.running_ns(now),
                halted_seen_ns: state.times(now)[Runstate::Halted],
                ..Member::default()
            };
        }
    }

    fn watch(&mut self, vm: VmId, view: &View) {
        if view.vm(vm).spec.vcpus > 1 {
            self.watched.insert(vm);
        }
    }

    fn progress(&self, now: Nanos, vcpu: VcpuId, view: &View) -> Nanos {
        view.vcpu(vcpu).running_ns(now) + self.members[vcpu.index()].credit_ns
    }

    /// Counts halted time as progress.
    fn credit_halts(&mut self, now: Nanos, vm: VmId, view: &View) {
        let vcpus = view.vm(vm).vcpus();
        let furthest = vcpus.map(|vcpu| self.progress(now, vcpu, view)).max();
        let furthest = furthest.unwrap_or(0);
        for vcpu in view.vm(vm).vcpus() {
            let behind_ns = furthest - self.progress(now, vcpu, view);
            let halted_ns = view.vcpu(vcpu).times(now)[Runstate::Halted];
            let member = &mut self.members[vcpu.index()];
            member.credit_ns += behind_ns.min(halted_ns - member.halted_seen_ns);
            member.halted_seen_ns = halted_ns;
        }
    }

    /// The slowest vCPU that is not halted.
    fn slowest(&self, now: Nanos, vm: VmId, view: &View) -> Option<VcpuId> {
        let active = active(vm, view);
        active.min_by_key(|&vcpu| (self.progress(now, vcpu, view), vcpu))
    }

    /// Looks at a VM, and tells whether to look again.
    fn check(&mut self, now: Nanos, vm: VmId, view: &View, plan: &mut Plan) -> bool {
        self.credit_halts(now, vm, view);
        // Who has halted before it was stopped is not to wake up stopped.
        for vcpu in view.vm(vm).vcpus() {
            if view.vcpu(vcpu).co_stopped && !is_active(vcpu, view) {
                plan.co_stop(vcpu, false);
            }
        }
        let Some(slowest) = self.slowest(now, vm, view) else {
            return false;
        };
        let least = self.progress(now, slowest, view);
        let state = view.vcpu(slowest);
        let slowest_waits = state.on_cpu.is_none();
        let gets_on = !slowest_waits && state.on_cpu == state.turn;
        if self.strict {
            self.check_strictly(now, vm, least, slowest_waits, view, plan);
        } else {
            for vcpu in active(vm, view) {
                let lead_ns = self.progress(now, vcpu, view) - least;
                if view.vcpu(vcpu).co_stopped {
                    let keeps_up = gets_on && lead_ns <= self.stop_ns;
                    let starts = self.start(now, vcpu, lead_ns < self.start_ns || keeps_up, plan);
                    if !starts && !gets_on {
                        self.hand_over(now, vcpu, view, plan);
                    }
                } else if lead_ns > self.stop_ns && slowest_waits {
                    self.stop(now, vcpu, view, plan);
                }
            }
        }
        active(vm, view).nth(1).is_some()
    }

    fn stop(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let state = view.vcpu(vcpu);
        let holds = matches!(state.lock, LockState::Holding { .. });
        let member = &mut self.members[vcpu.index()];
        if !holds && state.loan.is_none() && now >= member.spared_until {
            member.stopped_at = Some(now);
            plan.co_stop(vcpu, true);
        }
    }

    /// Starts a stopped vCPU if it may, or must because it would be stopped for too long at the next
    /// check. Tells whether it does.
    fn start(&mut self, now: Nanos, vcpu: VcpuId, may: bool, plan: &mut Plan) -> bool {
        let member = &mut self.members[vcpu.index()];
        let (check_ns, longest_ns) = (self.check_ns, self.longest_ns);
        let is_over = |at: Nanos| now + check_ns > at + longest_ns;
        let must = member.stopped_at.is_none_or(is_over);
        if must {
            member.spared_until = now + self.longest_ns;
        }
        if may || must {
            plan.co_stop(vcpu, false);
        }
        may || must
    }

    /// A vCPU is stopped: what is left of its turn goes to the slowest, as far as that needs it, and
    /// more of that CPU's time if nobody else uses it.
    fn hand_over(&self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let state = view.vcpu(vcpu);
        let slowest = self.slowest(now, state.vm, view);
        let Some((slowest, cpu)) = slowest.zip(state.turn.or(state.last_cpu)) else {
            return;
        };
        let left_ns = match view.cpu(cpu).turn {
            Some(turn) if turn.vcpu == vcpu => turn
                .until
                .map_or(LOAN_MAX, |until| until.saturating_sub(now)),
            _ if user_of(cpu, view).is_some() => 0,
            _ => LOAN_MAX,
        };
        let lead = self.progress(now, vcpu, view);
        let lead_ns = lead.saturating_sub(self.progress(now, slowest, view));
        let loan_ns = lead_ns.min(left_ns).min(LOAN_MAX);
        let is_free = view.cpu(cpu).loan.is_none() && plan.can_lend(view, cpu, slowest);
        if loan_ns > 0 && is_free {
            plan.because("its sibling was too far ahead");
            plan.lend(cpu, Some(slowest), now + loan_ns);
        }
    }

    /// The whole VM, or none of it.
    fn check_strictly(
        &mut self,
        now: Nanos,
        vm: VmId,
        least: Nanos,
        slowest_waits: bool,
        view: &View,
        plan: &mut Plan,
    ) {
        let is_stopped = |&vcpu: &VcpuId| view.vcpu(vcpu).co_stopped;
        let Some(stopped) = active(vm, view).find(is_stopped) else {
            let is_ahead = |vcpu| self.progress(now, vcpu, view) - least > self.stop_ns;
            if slowest_waits && active(vm, view).any(is_ahead) {
                // No holder is asked for: who waits for it is stopped, too.
                for vcpu in active(vm, view) {
                    self.members[vcpu.index()].stopped_at = Some(now);
                    plan.co_stop(vcpu, true);
                }
            }
            return;
        };
        let free = |&cpu: &CpuId| view.cpu(cpu).loan.is_none() && user_of(cpu, view).is_none();
        let free = view.vcpu(stopped).allowed.iter().filter(free).count();
        let needed = active(vm, view)
            .count()
            .min(view.vcpu(stopped).allowed.len());
        for vcpu in active(vm, view).filter(is_stopped) {
            self.start(now, vcpu, free >= needed, plan);
        }
    }

    /// A VM that was stopped strictly starts as a whole: a member that the policy below has no CPU
    /// for takes one for a while, if it can from nobody.
    fn start_together(&self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let state = view.vcpu(vcpu);
        let of_sibling = |cpu: CpuId| {
            let mut siblings = view.siblings(vcpu);
            siblings.any(|other| plan.turn_after(view, other) == Some(cpu))
        };
        let can_take = |&cpu: &CpuId| {
            view.cpu(cpu).loan.is_none() && !of_sibling(cpu) && plan.can_lend(view, cpu, vcpu)
        };
        let cpus = state.allowed.iter().filter(can_take);
        if let Some(cpu) = cpus.min_by_key(|&cpu| (user_of(cpu, view).is_some(), cpu)) {
            plan.because("its VM starts as a whole");
            plan.lend(cpu, Some(vcpu), now + self.stop_ns.min(LOAN_MAX));
        }
    }

    /// Looks at all VMs where there may be a lead, if it is time.
    fn check_all(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        if self.check_at.is_none_or(|at| at > now) {
            return;
        }
        self.check_at = None;
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain(|&vm| self.check(now, vm, view, plan));
        self.watched = watched;
    }
}

/// Whether a vCPU has something to do.
fn is_active(vcpu: VcpuId, view: &View) -> bool {
    let state = view.vcpu(vcpu);
    !state.halted && !state.throttled
}

fn active(vm: VmId, view: &View) -> impl Iterator<Item = VcpuId> + use<'_> {
    let vcpus = view.vm(vm).vcpus();
    vcpus.filter(|&vcpu| is_active(vcpu, view))
}

/// Who uses the turn on a CPU.
fn user_of(cpu: CpuId, view: &View) -> Option<VcpuId> {
    let turn = view.cpu(cpu).turn.map(|turn| turn.vcpu);
    turn.filter(|&vcpu| view.vcpu(vcpu).runnable())
}

impl Policy for Relaxed {
    fn name(&self) -> &'static str {
        "relaxed"
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
        // Who is stopped gives up CPU time, and leaves CPUs idle if nobody else wants them.
        Claims {
            gangs: self.inner.claims().gangs,
            repays: self.inner.claims().repays,
            holds_back: true,
            ..Claims::default()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        if self.members.len() < view.vcpu_ids() {
            self.members.resize(view.vcpu_ids(), Member::default());
        }
        self.inner.on_event(now, event, view, plan);
        match *event {
            Event::Arrive { vm } => {
                self.enlist(now, vm, view);
                self.watch(vm, view);
            }
            Event::Leave { vm } => {
                self.watched.remove(&vm);
            }
            Event::Wake { vcpu } => {
                self.watch(view.vcpu(vcpu).vm, view);
                let was_stopped = self.members[vcpu.index()].stopped_at.take().is_some();
                if self.strict && was_stopped && plan.turn_after(view, vcpu).is_none() {
                    self.start_together(now, vcpu, view, plan);
                }
            }
            Event::Halt { vcpu } if !view.vcpu(vcpu).co_stopped => {
                // It may have been the last that was not stopped.
                let mut siblings = view.siblings(vcpu);
                if siblings.any(|other| view.vcpu(other).co_stopped) {
                    self.check(now, view.vcpu(vcpu).vm, view, plan);
                }
            }
            Event::Halt { vcpu } if !self.strict => self.hand_over(now, vcpu, view, plan),
            Event::Tick => self.check_all(now, view, plan),
            _ => {}
        }
        if !self.watched.is_empty() && self.check_at.is_none_or(|at| at < now) {
            self.check_at = Some(now + self.check_ns);
            plan.tick(now + self.check_ns);
        }
    }
}

#[cfg(test)]
mod tests;
