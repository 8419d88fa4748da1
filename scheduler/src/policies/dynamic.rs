//! `dynamic`: space sharing with partitions that grow and shrink.
//!
//! Problem: with fixed partitions a VM waits until all its CPUs are free, and CPUs idle because nobody
//! who fits is there. A program that is told how many CPUs it may use now can adapt its parallelism,
//! and then nothing needs to be timeshared.
//!
//! Approach: a central server shares out the CPUs whenever VMs come, go or change what they use: by
//! weight, at least one each, and no more than a VM makes use of as long as others want them. Each VM
//! is told its number ([`Plan::advise`]). What it makes use of is the highest number of vCPUs that did
//! not halt over the last two intervals, and one more, so that a VM that keeps to its number can show
//! that it would use a larger one. A VM that does not listen has its vCPUs take turns on the CPUs that
//! it has. CPUs change hands at the end of a turn. If there are more VMs that want to run than CPUs,
//! each CPU is leased to one VM at a time, and those that had least for their weight are next.
//!
//! Terms: a *team* is a VM with its CPUs; a vCPU is a *stray* if it may run on none of its VM's CPUs
//! because of its affinity: it gets every second turn somewhere else.
//!
//! Source: Tucker and Gupta, "Process Control and Scheduling Issues for Multiprogrammed Shared-Memory
//! Multiprocessors" (1989); Tanenbaum, Modern Operating Systems, "Space Sharing".

mod server;
mod shares;

use std::collections::VecDeque;

use crate::params::{Args, Param, QUANTUM_10, quantum};
use crate::policy::{Claims, Event, Load, Policy};
use crate::{CpuId, CpuSet, MS, Nanos, Plan, SECOND, Topology, VcpuId, View, VmId};

/// A VM with its CPUs.
#[derive(Debug, Default)]
struct Team {
    cpus: CpuSet,
    /// How many CPUs it may use.
    target: u32,
    /// What it was last told.
    told: u32,
    /// vCPUs that are not halted: now, at most in this interval, at most in the one before.
    active: u32,
    peak: u32,
    peak_before: u32,
    /// Its vCPUs that wait for one of its CPUs.
    ready: VecDeque<VcpuId>,
    /// CPU time leased to it, over its weight.
    served: u128,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    owner: Option<VmId>,
    /// Who has the turn; he may have halted.
    running: Option<VcpuId>,
    /// The last turn was a stray's.
    stray_last: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Off,
    Ready,
    On(CpuId),
}

/// The longest quantum for which it is promised that nobody starves.
const QUANTUM: Nanos = 10 * MS;

/// What can be set.
pub const PARAMS: &[Param] = &[
    QUANTUM_10,
    Param {
        name: "interval",
        kind: quantum(SECOND),
        meaning: "how often it looks how many vCPUs a VM keeps busy",
    },
    Param {
        name: "lease",
        kind: quantum(100 * MS),
        meaning: "how long a VM has a CPU when there are more VMs than CPUs",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Dynamic {
    quantum_ns: Nanos,
    interval_ns: Nanos,
    lease_ns: Nanos,
    /// Per VM.
    teams: Vec<Option<Team>>,
    cpus: Vec<Cpu>,
    /// Per vCPU.
    places: Vec<Place>,
    active: Vec<bool>,
    strays: VecDeque<VcpuId>,
    /// CPUs that no team has.
    unowned: CpuSet,
    /// CPUs on which nobody runs.
    idle: CpuSet,
    /// CPUs for which something may have changed in this event.
    touched: CpuSet,
    /// When this interval ends; when the leases do; when somebody wants to be heard before that.
    interval_end: Option<Nanos>,
    lease_end: Option<Nanos>,
    hearing_at: Option<Nanos>,
    shared_out_at: Nanos,
}

impl Dynamic {
    /// From `dynamic:quantum=,interval=,lease=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        Self {
            quantum_ns: args.duration("quantum"),
            interval_ns: args.duration("interval"),
            lease_ns: args.duration("lease"),
            teams: Vec::new(),
            cpus: vec![Cpu::default(); topology.cpu_count()],
            places: Vec::new(),
            active: Vec::new(),
            strays: VecDeque::new(),
            unowned: topology.cpus(),
            idle: topology.cpus(),
            touched: CpuSet::EMPTY,
            interval_end: None,
            lease_end: None,
            hearing_at: None,
            shared_out_at: 0,
        }
    }

    fn team(&mut self, vm: VmId) -> &mut Team {
        self.teams[vm.index()].as_mut().expect("it has arrived")
    }

    /// Finds a runnable vCPU an idle CPU of its team, or a place in a queue.
    fn admit(&mut self, vcpu: VcpuId, view: &View) {
        let state = view.vcpu(vcpu);
        let team = self.team(state.vm);
        let own = team.cpus & state.allowed;
        let stray = own.is_empty() && team.target > 0;
        let choice = if stray { state.allowed } else { own };
        let idle = choice & self.idle & *view.online();
        let last = state.last_cpu.filter(|&cpu| idle.contains(cpu));
        if let Some(cpu) = last.or_else(|| idle.first()) {
            self.install(cpu, vcpu);
            return;
        }
        self.places[vcpu.index()] = Place::Ready;
        if stray {
            self.strays.push_back(vcpu);
        } else {
            self.team(state.vm).ready.push_back(vcpu);
        }
    }

    fn install(&mut self, cpu: CpuId, vcpu: VcpuId) {
        let before = self.cpus[cpu.index()].running.replace(vcpu);
        if let Some(before) = before.filter(|&before| before != vcpu) {
            self.places[before.index()] = Place::Off;
        }
        self.places[vcpu.index()] = Place::On(cpu);
        self.idle.remove(cpu);
        self.touched.insert(cpu);
    }

    /// Takes the next who waits for this CPU out of his queue: of its team, and every second time a
    /// stray.
    fn next(&mut self, cpu: CpuId, view: &View) -> Option<VcpuId> {
        let allowed = |&vcpu: &VcpuId| view.vcpu(vcpu).allowed.contains(cpu);
        let take = |queue: &mut VecDeque<VcpuId>| {
            let place = queue.iter().position(allowed)?;
            queue.remove(place)
        };
        let Cpu {
            owner, stray_last, ..
        } = self.cpus[cpu.index()];
        let mut nobody = VecDeque::new();
        let team = owner.and_then(|vm| self.teams[vm.index()].as_mut());
        let members = team.map_or(&mut nobody, |team| &mut team.ready);
        let strays = &mut self.strays;
        let first = if stray_last {
            take(members)
        } else {
            take(strays)
        };
        let (next, is_stray) = match first {
            Some(_) => (first, !stray_last),
            None if stray_last => (take(strays), true),
            None => (take(members), false),
        };
        self.cpus[cpu.index()].stray_last = is_stray;
        next
    }

    /// Nobody runs on this CPU.
    fn refill(&mut self, cpu: CpuId, view: &View) {
        self.touched.insert(cpu);
        match self.next(cpu, view) {
            Some(vcpu) => self.install(cpu, vcpu),
            None => self.idle.insert(cpu),
        }
    }

    /// Takes a vCPU off its CPU or out of its queue.
    fn withdraw(&mut self, vcpu: VcpuId, vm: VmId) {
        match std::mem::take(&mut self.places[vcpu.index()]) {
            Place::Off => {}
            Place::Ready => {
                self.team(vm).ready.retain(|&waiting| waiting != vcpu);
                self.strays.retain(|&waiting| waiting != vcpu);
            }
            Place::On(cpu) => {
                self.cpus[cpu.index()].running = None;
                self.idle.insert(cpu);
                self.touched.insert(cpu);
            }
        }
    }

    fn end_turn(&mut self, cpu: CpuId, view: &View) {
        self.touched.insert(cpu);
        let Some(vcpu) = self.cpus[cpu.index()].running else {
            return;
        };
        if let Some(next) = self.next(cpu, view) {
            self.install(cpu, next);
            if self.active[vcpu.index()] {
                self.admit(vcpu, view);
            }
        }
    }

    /// A CPU has lost its turn, or its being online.
    fn lose(&mut self, cpu: CpuId, view: &View) {
        if let Some(vcpu) = self.cpus[cpu.index()].running.take() {
            self.places[vcpu.index()] = Place::Off;
            self.idle.remove(cpu);
            if self.active[vcpu.index()] {
                self.admit(vcpu, view);
            }
        }
    }

    fn set_active(&mut self, vcpu: VcpuId, vm: VmId, active: bool) {
        if std::mem::replace(&mut self.active[vcpu.index()], active) == active {
            return;
        }
        let team = self.team(vm);
        if active {
            team.active += 1;
            team.peak = team.peak.max(team.active);
        } else {
            team.active -= 1;
        }
    }

    fn wake(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let vm = view.vcpu(vcpu).vm;
        self.set_active(vcpu, vm, true);
        match self.places[vcpu.index()] {
            Place::On(cpu) => self.idle.remove(cpu),
            Place::Off => self.admit(vcpu, view),
            Place::Ready => {}
        }
        let team = self.team(vm);
        if team.active > team.target && team.target < view.vm(vm).spec.vcpus {
            self.ask_for_hearing(now, plan);
        }
    }

    fn halt(&mut self, vcpu: VcpuId, view: &View) {
        let vm = view.vcpu(vcpu).vm;
        self.set_active(vcpu, vm, false);
        match self.places[vcpu.index()] {
            Place::On(cpu) => self.refill(cpu, view),
            _ => self.withdraw(vcpu, vm),
        }
    }

    /// Makes the plan: each touched CPU gets whom our record says.
    fn write(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let touched = std::mem::take(&mut self.touched);
        for cpu in (touched & *view.online()).iter() {
            // One that is forbidden here by now will be moved when that is told.
            let wanted = self.cpus[cpu.index()].running;
            let wanted = wanted.filter(|&vcpu| view.vcpu(vcpu).allowed.contains(cpu));
            let until = now + self.quantum_ns;
            match (wanted, view.cpu(cpu).turn) {
                (Some(vcpu), Some(turn)) if turn.vcpu == vcpu => {
                    if turn.until.is_none_or(|until| until <= now) {
                        plan.extend(cpu, until);
                    }
                }
                (Some(vcpu), _) => {
                    plan.because("next of the VM that has this CPU")
                        .run(cpu, vcpu, Some(until));
                }
                (None, Some(_)) => plan.because("nobody waits for this CPU").idle(cpu),
                (None, None) => {}
            }
        }
    }
}

impl Policy for Dynamic {
    fn name(&self) -> &'static str {
        "dynamic"
    }

    fn claims(&self) -> Claims {
        let usual = self.quantum_ns <= QUANTUM;
        Claims {
            ready_max_ns: usual.then_some(ready_max),
            ..Claims::default()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        match *event {
            Event::Arrive { vm } => self.arrive(now, vm, view, plan),
            Event::Leave { vm } => {
                for vcpu in view.vm(vm).vcpus() {
                    self.withdraw(vcpu, vm);
                    self.active[vcpu.index()] = false;
                }
                self.dissolve(vm);
                self.share_out(now, view, plan);
            }
            Event::Wake { vcpu } => self.wake(now, vcpu, view, plan),
            Event::Halt { vcpu } => self.halt(vcpu, view),
            Event::SliceEnd { cpu } => self.end_turn(cpu, view),
            Event::Idle { cpu } => {
                self.lose(cpu, view);
                self.refill(cpu, view);
                if self.cpus[cpu.index()].owner.is_none() {
                    self.share_out(now, view, plan);
                }
            }
            Event::Offline { cpu } => {
                self.lose(cpu, view);
                self.idle.remove(cpu);
                self.share_out(now, view, plan);
            }
            Event::Changed { .. } => self.share_out(now, view, plan),
            Event::Tick => self.tick(now, view, plan),
            Event::LockHint { .. } | Event::Borrowed { .. } => {}
        }
        self.write(now, view, plan);
    }
}

/// See [`Claims::ready_max_ns`]. If every VM can have a CPU, its vCPUs take turns there: each of the others
/// has one at most. One that had no CPU because it slept is heard within a quantum, and gets one at the end
/// of a turn. Nothing is promised where VMs have to lease CPUs.
fn ready_max(load: &Load) -> Nanos {
    if load.vms > load.cpus {
        return Nanos::MAX;
    }
    2 * QUANTUM * (load.vcpus + 2)
}

#[cfg(test)]
mod tests;
