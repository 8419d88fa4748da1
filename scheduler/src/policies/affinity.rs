//! `affinity`: two levels. Above, every vCPU has a home; below, every CPU has a queue of its own.
//! `balance`: the same without taking from others.
//!
//! Problem: with one list for all CPUs vCPUs wander, and every CPU wants the list's lock. With a list
//! per CPU some CPUs are crowded while others idle.
//!
//! Approach: `homes` places a vCPU by load when its VM comes. Its CPU serves those at
//! home there by weight (`fair_queues`). A CPU that would idle takes a vCPU from
//! the nearest crowded CPU, which is at home here from then on. That alone is not fair between CPUs:
//! when a slice ends, a CPU also fetches whoever is owed more than `slack` of CPU time. Who is due
//! nearly a whole CPU can't wait even for one turn of another: if it would be fetched at once, it stays,
//! and it is the other that goes where less is owed. Who is due more than its CPU can't save it up
//! for the time when VMs come or go: it is owed little whenever it has not had to wait.
//! `balance` moves nobody so: from time to time it sees to it that siblings have different CPUs, and
//! that the most loaded CPU sheds a vCPU if it has a quarter more than another (`rebalance`).
//!
//! Source: two-level scheduling in Tanenbaum's "Modern Operating Systems", section 8.1.4; Vaswani,
//! Zahorjan, "The implications of cache affinity on processor scheduling for multiprogrammed, shared
//! memory multiprocessors", SOSP 1991.

mod displace;
mod rebalance;

pub use rebalance::PARAMS as BALANCE_PARAMS;

use std::collections::BTreeSet;

use super::fair_queues::FairQueues;
use super::homes::Homes;
use super::meter::Meter;
use super::seats::{Seats, may_run};
use crate::params::{Args, Kind, Param, QUANTUM_10};
use crate::policy::{Claims, Event, Load, Policy};
use crate::{CpuId, MS, Nanos, Plan, SECOND, Topology, US, VcpuId, View, VmId};

/// The slack that is the default.
const SLACK: Nanos = 20 * MS;
/// A vCPU that changes its CPU is set at most this many times `slack` from the CPU's clock, but never
/// less than with the default: others' turns move that clock by much more than their cost is to it.
const LAG_SLACKS: u64 = 4;

/// What can be set.
pub const PARAMS: &[Param] = &[
    QUANTUM_10,
    Param {
        name: "slack",
        kind: Kind::Duration {
            default: SLACK,
            min: US,
            max: 10 * SECOND,
        },
        meaning: "how much CPU time a vCPU must be owed before another CPU fetches it",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Affinity {
    quantum_ns: Nanos,
    slack_ns: Nanos,
    /// A vCPU that changes its CPU is set at most so far from the CPU's clock.
    lag_ns: Nanos,
    mode: Mode,
    seats: Seats,
    meter: Meter,
    homes: Homes,
    queues: FairQueues,
    /// vCPUs that may run nowhere.
    homeless: BTreeSet<VcpuId>,
}

#[derive(Debug)]
enum Mode {
    /// An idle CPU takes from another.
    Steal,
    /// vCPUs stay at home.
    Balance(rebalance::Rebalance),
}

impl Affinity {
    /// From `affinity:quantum=,slack=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        Self::in_mode(Mode::Steal, args.duration("slack"), args, topology)
    }

    /// From `balance:quantum=,rebalance=`.
    pub fn balance(args: &Args, topology: &Topology) -> Self {
        let rebalance = rebalance::Rebalance::new(args.duration("rebalance"), topology);
        let slack_ns = args.duration("quantum");
        Self::in_mode(Mode::Balance(rebalance), slack_ns, args, topology)
    }

    fn in_mode(mode: Mode, slack_ns: Nanos, args: &Args, topology: &Topology) -> Self {
        Self {
            quantum_ns: args.duration("quantum"),
            slack_ns,
            lag_ns: LAG_SLACKS * slack_ns.max(SLACK),
            mode,
            seats: Seats::new(topology),
            meter: Meter::default(),
            homes: Homes::new(topology),
            queues: FairQueues::new(topology),
            homeless: BTreeSet::new(),
        }
    }

    fn steals(&self) -> bool {
        matches!(self.mode, Mode::Steal)
    }

    fn charge(&mut self, now: Nanos, vcpu: VcpuId, view: &View) {
        let cost = self.meter.charge(now, vcpu, view);
        self.queues.charge(vcpu, cost);
    }

    /// Moves a vCPU that does not wait to a CPU, and into its queue.
    fn wait_at(&mut self, cpu: CpuId, vcpu: VcpuId, credit_ns: Nanos, view: &View) {
        let credit = self.meter.cost(credit_ns, vcpu, view);
        let debt = self.meter.cost(self.lag_ns, vcpu, view);
        self.wind(cpu);
        self.queues.tune(vcpu, cpu, credit, debt);
        self.homes.move_to(vcpu, cpu, view);
        self.push(cpu, vcpu, view);
    }

    /// A vCPU that does not wait is owed at most so much CPU time. Where nobody is taken from another CPU,
    /// each CPU goes at its own pace.
    fn settle(&mut self, vcpu: VcpuId, credit_ns: Nanos, view: &View) {
        if self.steals() {
            let credit = self.meter.cost(credit_ns, vcpu, view);
            self.queues.settle(vcpu, credit);
        }
    }

    /// The clock of a CPU that idles has stood still.
    fn wind(&mut self, cpu: CpuId) {
        if self.steals() && self.seats.is_idle(cpu) {
            self.queues.catch_up(cpu);
        }
    }

    /// A vCPU has become ready: it waits at home, unless another CPU idles meanwhile.
    fn make_ready(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.queues.remove(vcpu);
        let allowed = view.vcpu(vcpu).allowed;
        let mut home = self.homes.of(vcpu).filter(|&home| allowed.contains(home));
        if home.is_none() {
            home = self.homes.settle(vcpu, view).map(|(_, cpu)| cpu);
        }
        let Some(mut cpu) = home else {
            self.homeless.insert(vcpu);
            return;
        };
        self.homeless.remove(&vcpu);
        if self.steals() && !self.seats.is_idle(cpu) {
            cpu = self.seats.nearest_idle(vcpu, view).unwrap_or(cpu);
        }
        self.wait_at(cpu, vcpu, self.quantum_ns / 2, view);
        if self.seats.is_idle(cpu) {
            self.dispatch(now, cpu, view, plan);
        }
    }

    /// Whom a CPU is to serve next, out of all queues.
    fn choose(&self, cpu: CpuId, view: &View) -> Option<VcpuId> {
        let own = self.queues.first(cpu, view);
        if !self.steals() {
            return own;
        }
        let Some(own) = own else {
            return self.queues.steal_for(cpu, view);
        };
        let owed = self.queues.impatient(self.queues.time(own), cpu, view);
        owed.or(Some(own))
    }

    /// A vCPU that has no CPU waits in a CPU's queue.
    fn push(&mut self, cpu: CpuId, vcpu: VcpuId, view: &View) {
        let slack = self.meter.cost(self.slack_ns, vcpu, view);
        self.queues.push(cpu, vcpu, slack);
    }

    /// Gives a CPU to whom it is to serve next; tells whether there is somebody.
    fn dispatch(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) -> bool {
        let Some(vcpu) = self.choose(cpu, view) else {
            return false;
        };
        self.take(cpu, vcpu, view);
        plan.because("the least virtual time of those who wait");
        plan.run(cpu, vcpu, Some(now + self.quantum_ns));
        true
    }

    /// A CPU takes a vCPU out of its queue, wherever that is.
    fn take(&mut self, cpu: CpuId, vcpu: VcpuId, view: &View) {
        self.queues.remove(vcpu);
        if self.homes.of(vcpu) != Some(cpu) {
            let lag = self.meter.cost(self.lag_ns, vcpu, view);
            self.queues.tune(vcpu, cpu, lag, lag);
            self.homes.move_to(vcpu, cpu, view);
        }
        self.queues.serve(cpu, vcpu);
        self.seats.give(cpu, vcpu);
    }

    fn arrive(&mut self, now: Nanos, vm: VmId, view: &View, plan: &mut Plan) {
        self.meter.enter(now, vm, view);
        self.homes.settle_vm(vm, view);
        for vcpu in view.vm(vm).vcpus() {
            self.queues.enter(vcpu, self.homes.of(vcpu), view);
            self.settle(vcpu, 0, view);
        }
        for vcpu in view.vm(vm).vcpus() {
            if view.vcpu(vcpu).runnable() {
                self.make_ready(now, vcpu, view, plan);
            }
        }
        if let Mode::Balance(rebalance) = &mut self.mode {
            rebalance.ensure_tick(now, plan);
        }
    }

    fn leave(&mut self, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            self.queues.remove(vcpu);
            self.homeless.remove(&vcpu);
            self.homes.withdraw(vcpu);
            if let Some(cpu) = self.seats.of(vcpu) {
                self.seats.free(cpu);
            }
        }
    }

    fn wake(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.meter.set_active(vcpu, true, view);
        if let Some(cpu) = self.seats.of(vcpu) {
            if view.vcpu(vcpu).allowed.contains(cpu) {
                if self.seats.is_idle(cpu) {
                    self.seats.give(cpu, vcpu);
                    plan.because("it has woken and nobody had taken its CPU");
                    plan.run(cpu, vcpu, Some(now + self.quantum_ns));
                }
                return;
            }
            // The CPU was forbidden to it meanwhile.
            self.seats.free(cpu);
        }
        self.make_ready(now, vcpu, view, plan);
        if self.seats.of(vcpu).is_none() {
            self.preempt(now, vcpu, view, plan);
        }
    }

    fn halt(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.queues.remove(vcpu);
        self.homeless.remove(&vcpu);
        self.charge(now, vcpu, view);
        self.meter.set_active(vcpu, false, view);
        if let Some(cpu) = self.seats.of(vcpu) {
            self.seats.rest(cpu);
            self.dispatch(now, cpu, view, plan);
        }
    }

    fn slice_end(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) {
        let Some(worker) = self.seats.worker(cpu) else {
            return;
        };
        self.charge(now, worker, view);
        self.push(cpu, worker, view);
        let stays = self.choose(cpu, view).is_some_and(|next| {
            next == worker
                || may_run(view, worker, cpu) && self.make_way(next, worker, self.lag_ns, view)
        });
        if stays {
            self.queues.remove(worker);
            self.settle(worker, self.lag_ns, view);
            self.take(cpu, worker, view);
            plan.extend(cpu, now + self.quantum_ns);
            return;
        }
        self.seats.free(cpu);
        if !self.dispatch(now, cpu, view, plan) {
            plan.because("nobody can run here").idle(cpu);
        }
        self.find_refuge(now, worker, view, plan);
    }

    /// A CPU was taken from whoever had it.
    fn lost(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) {
        let holder = self.seats.free(cpu);
        if let Some(vcpu) = holder.filter(|&vcpu| view.vcpu(vcpu).runnable()) {
            self.charge(now, vcpu, view);
            self.make_ready(now, vcpu, view, plan);
        }
    }

    /// Whoever waits among these may have lost its home or been allowed a better one.
    fn place_again(
        &mut self,
        now: Nanos,
        vcpus: impl Iterator<Item = VcpuId>,
        view: &View,
        plan: &mut Plan,
    ) {
        for vcpu in vcpus {
            self.homes.weigh_again(vcpu, view);
            let home = self.homes.of(vcpu);
            if home.is_some_and(|home| !view.vcpu(vcpu).allowed.contains(home)) {
                self.homes.settle(vcpu, view);
            }
            if self.queues.remove(vcpu) || self.homeless.contains(&vcpu) {
                self.make_ready(now, vcpu, view, plan);
            }
        }
    }
}

impl Policy for Affinity {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Steal => "affinity",
            Mode::Balance(_) => "balance",
        }
    }

    fn claims(&self) -> Claims {
        let usual = self.quantum_ns <= 10 * MS && self.slack_ns <= SLACK;
        Claims {
            work_conserving: self.steals(),
            fair_within_ns: (usual && self.steals()).then_some(10 * SECOND),
            ready_max_ns: usual.then_some(ready_max),
            ..Claims::default()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        match *event {
            Event::Arrive { vm } => self.arrive(now, vm, view, plan),
            Event::Leave { vm } => self.leave(vm, view),
            Event::Wake { vcpu } => self.wake(now, vcpu, view, plan),
            Event::Halt { vcpu } => self.halt(now, vcpu, view, plan),
            Event::SliceEnd { cpu } => self.slice_end(now, cpu, view, plan),
            Event::Tick => self.rebalance(now, view, plan),
            Event::Idle { cpu } => {
                self.lost(now, cpu, view, plan);
                let homeless = self.homeless.clone();
                self.place_again(now, homeless.into_iter(), view, plan);
                if self.seats.is_idle(cpu) {
                    self.wind(cpu);
                    self.dispatch(now, cpu, view, plan);
                }
            }
            Event::Offline { cpu } => {
                self.lost(now, cpu, view, plan);
                let vcpus = view.vcpus().map(|(vcpu, _)| vcpu);
                let at_home = vcpus.filter(|&vcpu| self.homes.of(vcpu) == Some(cpu));
                let at_home: Vec<VcpuId> = at_home.collect();
                self.place_again(now, at_home.into_iter(), view, plan);
            }
            Event::Changed { vm } => {
                self.place_again(now, view.vm(vm).vcpus(), view, plan);
            }
            Event::LockHint { .. } | Event::Borrowed { .. } => {}
        }
    }
}

/// See [`Claims::ready_max_ns`]. A vCPU is ahead of its CPU's clock by at most what a few slacks cost it, and
/// its patience is another. Until the clock has come so far, every other vCPU gets as much by its own price:
/// for one that is due the smallest part, that many times as much as there are such parts in the whole. And
/// each may be in the middle of a turn.
///
/// `make_way` has a vCPU wait elsewhere that was due here: where the clock is the furthest, so that few are
/// due before it. It is moved again only to a clock that is further still, by a patience; and no CPU begins
/// to serve anybody beyond its own patience while it waits. So moves end when the others have had what they
/// may have before it, and each costs it a turn at most: that is the other half of the turns. `settle` sets
/// nobody beyond those who wait, so that it makes nobody wait longer.
fn ready_max(load: &Load) -> Nanos {
    (LAG_SLACKS + 2) * SLACK * load.rarest + load.vcpus * 20 * MS
}

#[cfg(test)]
mod tests;
