//! Timesharing by priorities that fall with use: what [`central`](super::central) and
//! [`hybrid`](super::hybrid) have in common.
//!
//! Problem: nobody says which vCPU is urgent. One that has run little lately probably waits for
//! somebody; one that has run a lot will not notice a pause.
//!
//! Approach: what a vCPU has used lately is its *level*, smaller levels go first. One quantum of a
//! VM with the usual weight and one vCPU costs two levels. From time to time all use is halved, so
//! that the past is forgotten and nobody waits for ever. A vCPU that wakes two levels or more ahead
//! of the worst that runs takes its CPU. Where the vCPUs wait is the [`ReadyQueue`]'s affair.
//!
//! Source: the decay of priorities in 4.3BSD's scheduler (Leffler, McKusick, Karels, Quarterman,
//! "The Design and Implementation of the 4.3BSD UNIX Operating System", 1989, section 4.4).

use std::collections::BTreeSet;
use std::fmt;

use super::meter::Meter;
use super::seats::Seats;
use crate::params::{Args, Kind, Param};
use crate::policy::{Claims, Event, Load, Policy};
use crate::vm::WEIGHT_DEFAULT;
use crate::{CpuId, MS, Nanos, Plan, SECOND, Topology, VcpuId, View, VmId};

/// The longest quantum for which it is promised that nobody starves.
const QUANTUM: Nanos = 10 * MS;
/// How many levels ahead a vCPU that wakes must be to take another's CPU.
const PREEMPT_LEVELS: u64 = 2;

/// A parameter of all who do so.
pub const DECAY: Param = Param {
    name: "decay",
    kind: Kind::Duration {
        default: SECOND,
        min: MS,
        max: 60 * SECOND,
    },
    meaning: "how often what vCPUs have used is halved",
};

/// Where vCPUs wait that are ready.
pub trait ReadyQueue: fmt::Debug + Send {
    /// The name of the policy that waits so.
    const NAME: &'static str;

    /// A vCPU begins to wait, behind others of its level.
    fn push(&mut self, now: Nanos, vcpu: VcpuId, level: u64, view: &View);

    /// A vCPU waits no more. Tells whether it did.
    fn remove(&mut self, vcpu: VcpuId) -> bool;

    /// Who is to run next on this CPU.
    fn best_for(&self, now: Nanos, cpu: CpuId, view: &View) -> Option<VcpuId>;

    /// Takes the one that is best for a CPU. How long that takes beside the switch is the second
    /// part.
    fn take(&mut self, now: Nanos, cpu: CpuId, view: &View) -> Option<(VcpuId, Nanos)>;

    /// Whether nobody is preferred for longer than `ready_max` reckons with.
    fn is_usual(&self) -> bool {
        true
    }

    /// All levels have changed.
    fn rank_again(&mut self, level: impl Fn(VcpuId) -> u64);
}

/// See the module's head.
#[derive(Debug)]
pub struct Timeshare<Q> {
    quantum_ns: Nanos,
    decay_ns: Nanos,
    seats: Seats,
    meter: Meter,
    queue: Q,
    /// Per vCPU: the cost of what it has used lately.
    used: Vec<u64>,
    /// CPUs at work by the level that their vCPU had when it began, so that the worst is found.
    working: BTreeSet<(u64, CpuId)>,
    /// Per CPU: its level in `working`.
    level_of: Vec<Option<u64>>,
    /// When use is halved next; `None`: no VM is there.
    decay_at: Option<Nanos>,
}

impl<Q: ReadyQueue> Timeshare<Q> {
    /// From `quantum=` and `decay=`.
    pub(super) fn with_queue(queue: Q, args: &Args, topology: &Topology) -> Self {
        Self {
            quantum_ns: args.duration("quantum"),
            decay_ns: args.duration("decay"),
            seats: Seats::new(topology),
            meter: Meter::default(),
            queue,
            used: Vec::new(),
            working: BTreeSet::new(),
            level_of: vec![None; topology.cpu_count()],
            decay_at: None,
        }
    }

    fn level(&self, vcpu: VcpuId) -> u64 {
        self.used[vcpu.index()] / (self.quantum_ns / 2)
    }

    fn charge(&mut self, now: Nanos, vcpu: VcpuId, view: &View) {
        let cost = self.meter.charge(now, vcpu, view);
        let used = &mut self.used[vcpu.index()];
        *used = used.saturating_add(cost);
    }

    /// Nobody works on this CPU any more.
    fn stop_work(&mut self, cpu: CpuId) {
        if let Some(level) = self.level_of[cpu.index()].take() {
            self.working.remove(&(level, cpu));
        }
    }

    fn start_work(&mut self, cpu: CpuId, vcpu: VcpuId) {
        self.stop_work(cpu);
        let level = self.level(vcpu);
        self.seats.give(cpu, vcpu);
        self.level_of[cpu.index()] = Some(level);
        self.working.insert((level, cpu));
    }

    /// Gives a CPU to the best that waits for it; tells whether there was one.
    fn dispatch(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) -> bool {
        let Some((vcpu, cost_ns)) = self.queue.take(now, cpu, view) else {
            return false;
        };
        self.start_work(cpu, vcpu);
        plan.because("the best priority of those that wait");
        plan.run(cpu, vcpu, Some(now + self.quantum_ns));
        plan.overhead(cpu, cost_ns);
        true
    }

    /// A vCPU waits; an idle CPU serves it at once.
    fn make_ready(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.queue.remove(vcpu);
        self.queue.push(now, vcpu, self.level(vcpu), view);
        if let Some(cpu) = self.seats.nearest_idle(vcpu, view) {
            self.dispatch(now, cpu, view, plan);
        }
    }

    fn arrive(&mut self, now: Nanos, vm: VmId, view: &View, plan: &mut Plan) {
        self.meter.enter(now, vm, view);
        if self.used.len() < view.vcpu_ids() {
            self.used.resize(view.vcpu_ids(), 0);
        }
        for vcpu in view.vm(vm).vcpus() {
            // It begins as if it had just had a quantum: a newcomer does not push others aside, and
            // the heavier goes first.
            self.used[vcpu.index()] = self.meter.cost(self.quantum_ns, vcpu, view);
            if view.vcpu(vcpu).runnable() {
                self.make_ready(now, vcpu, view, plan);
            }
        }
        if self.decay_at.is_none() {
            self.next_decay(now, plan);
        }
    }

    fn leave(&mut self, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            self.queue.remove(vcpu);
            if let Some(cpu) = self.seats.of(vcpu) {
                self.seats.free(cpu);
                self.stop_work(cpu);
            }
        }
    }

    fn wake(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.meter.set_active(vcpu, true, view);
        if let Some(cpu) = self.seats.of(vcpu) {
            if view.vcpu(vcpu).allowed.contains(cpu) {
                if self.seats.is_idle(cpu) {
                    self.start_work(cpu, vcpu);
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

    /// Somebody has woken and found no idle CPU: it takes the CPU of the worst if that is much worse.
    fn preempt(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let allowed = view.vcpu(vcpu).allowed;
        let mut worst_first = self.working.iter().rev();
        let Some(&(level, cpu)) = worst_first.find(|(_, cpu)| allowed.contains(*cpu)) else {
            return;
        };
        let ahead = self.level(vcpu) + PREEMPT_LEVELS <= level;
        if ahead && self.queue.best_for(now, cpu, view) == Some(vcpu) {
            self.hand_over(now, cpu, view, plan);
        }
    }

    /// Whoever works on this CPU waits again, and the best for it goes on there.
    fn hand_over(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) {
        self.stop_work(cpu);
        let former = self.seats.free(cpu);
        if let Some(vcpu) = former {
            self.charge(now, vcpu, view);
            self.queue.push(now, vcpu, self.level(vcpu), view);
        }
        if !self.dispatch(now, cpu, view, plan) {
            plan.because("nobody can run here").idle(cpu);
        }
        // A CPU may idle that is allowed to it, and to nobody else who waited.
        if let Some(vcpu) = former.filter(|&vcpu| self.seats.of(vcpu).is_none()) {
            self.make_ready(now, vcpu, view, plan);
        }
    }

    fn halt(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        self.charge(now, vcpu, view);
        self.meter.set_active(vcpu, false, view);
        self.queue.remove(vcpu);
        if let Some(cpu) = self.seats.of(vcpu) {
            self.stop_work(cpu);
            self.seats.rest(cpu);
            self.dispatch(now, cpu, view, plan);
        }
    }

    /// A CPU was taken from whoever had it.
    fn lost(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) {
        self.stop_work(cpu);
        let holder = self.seats.free(cpu);
        if let Some(vcpu) = holder.filter(|&vcpu| view.vcpu(vcpu).runnable()) {
            self.charge(now, vcpu, view);
            self.make_ready(now, vcpu, view, plan);
        }
    }

    fn next_decay(&mut self, now: Nanos, plan: &mut Plan) {
        let at = now + self.decay_ns;
        self.decay_at = Some(at);
        plan.tick(at);
    }

    /// Everybody's use is halved if it is time.
    fn decay(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        if self.decay_at.is_none_or(|at| now < at) {
            return;
        }
        self.decay_at = None;
        if view.vms().next().is_none() {
            return;
        }
        let working = std::mem::take(&mut self.working);
        for &(_, cpu) in &working {
            if let Some(vcpu) = self.seats.worker(cpu) {
                self.charge(now, vcpu, view);
            }
        }
        self.used.iter_mut().for_each(|used| *used /= 2);
        for (_, cpu) in working {
            if let Some(vcpu) = self.seats.worker(cpu) {
                let level = self.level(vcpu);
                self.level_of[cpu.index()] = Some(level);
                self.working.insert((level, cpu));
            }
        }
        let (used, step) = (&self.used, self.quantum_ns / 2);
        self.queue.rank_again(|vcpu| used[vcpu.index()] / step);
        self.next_decay(now, plan);
    }
}

impl<Q: ReadyQueue> Policy for Timeshare<Q> {
    fn name(&self) -> &'static str {
        Q::NAME
    }

    fn claims(&self) -> Claims {
        let usual = self.quantum_ns <= QUANTUM && self.decay_ns <= SECOND && self.queue.is_usual();
        Claims {
            work_conserving: true,
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
            Event::SliceEnd { cpu } => {
                if self.seats.worker(cpu).is_some() {
                    self.hand_over(now, cpu, view, plan);
                }
            }
            Event::Tick => self.decay(now, view, plan),
            Event::Idle { cpu } => {
                self.lost(now, cpu, view, plan);
                if self.seats.is_idle(cpu) {
                    self.dispatch(now, cpu, view, plan);
                }
            }
            Event::Offline { cpu } => self.lost(now, cpu, view, plan),
            Event::Changed { vm } => {
                // Whoever waits may have been allowed an idle CPU.
                for vcpu in view.vm(vm).vcpus() {
                    if self.queue.remove(vcpu) {
                        self.make_ready(now, vcpu, view, plan);
                    }
                }
            }
            Event::LockHint { .. } | Event::Borrowed { .. } => {}
        }
    }
}

/// See [`Claims::ready_max_ns`]. What a vCPU has used is never more than what two seconds of a CPU cost it.
/// While it waits that is halved every second. Meanwhile CPUs serve only those who have used less, or not
/// more than a bonus more: in a second they can take at most what raises all to its use, which is that time
/// over the part of everything that it is due; and beside it the bonus and a turn of each. As soon as this
/// is less than a second of all CPUs it is served. Where bonus and turns alone fill a second, nothing is
/// promised.
fn ready_max(load: &Load) -> Nanos {
    let turns = load.vcpus + 3 * load.weights / u64::from(WEIGHT_DEFAULT);
    if turns * QUANTUM > load.cpus * SECOND * 3 / 4 {
        return Nanos::MAX;
    }
    let too_much = 8 * load.rarest / load.cpus;
    let halvings = Nanos::from(64 - too_much.leading_zeros());
    (halvings + 2) * SECOND
}
