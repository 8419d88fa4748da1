//! `space`: every VM has CPUs of its own, all of them at once or none.
//!
//! Problem: vCPUs that wait for each other suffer from every switch to somebody else's. If each has a
//! CPU for itself, there is no switch at all.
//!
//! Approach: a VM that arrives is given as many free CPUs as it has vCPUs, close together where
//! there is a choice. If there are not enough, none of its vCPUs starts and it joins a queue. It
//! holds its CPUs until it leaves: one whose vCPU has halted idles. The queue is served first come
//! first served, or smallest CPU-count x run-time first (VMs that do not say how long they run come
//! last). Its head holds up everybody, unless *backfill* lets later ones that fit start before it;
//! after it has been passed a given number of times nobody passes it any more.
//!
//! A VM that is wider than all CPUs it may use is *folded*: it waits until it can have them all, and
//! several of its vCPUs take turns on each. Weights mean nothing here. With smallest first, and
//! behind VMs that never leave, a VM may wait for ever. If CPUs are taken from a VM, it goes back to
//! its old place in the queue.
//!
//! Terms: a *partition* is the set of CPUs that a VM holds; a vCPU's *home* is its CPU in there.
//!
//! Source: Tanenbaum, Modern Operating Systems, "Space Sharing"; Krueger, Lai and Dixit-Radiya, "Job
//! Scheduling Is More Important than Processor Allocation for Hypercube Computers" (1994), on how hard
//! first come first served is to beat.

mod partition;

use std::collections::{BTreeSet, VecDeque};

use crate::params::{Args, Kind, Param, QUANTUM_10};
use crate::policy::{Claims, Event, Granularity, Load, Policy};
use crate::{CpuId, CpuSet, Level, MS, Nanos, Plan, Topology, Turn, VcpuId, View, VmId};
use partition::Fit;

/// A place in the queue: what the VM costs, when it came, who it is.
type Place = (u64, u64, VmId);

/// A VM, from its arrival until it leaves.
#[derive(Debug)]
struct Job {
    place: Place,
    /// How many have started before it although they stood behind it.
    passed: u64,
    /// Each vCPU's CPU; empty while it waits.
    homes: Vec<Option<CpuId>>,
}

/// The longest quantum for which it is promised that nobody starves.
const QUANTUM: Nanos = 10 * MS;

/// What can be set.
pub const PARAMS: &[Param] = &[
    Param {
        name: "order",
        kind: Kind::Choice(&["arrival", "smallest"]),
        meaning: "who starts first: who came first, or who needs least (vCPUs x run time)",
    },
    Param {
        name: "backfill",
        kind: Kind::Count {
            default: 0,
            min: 0,
            max: 1_000_000,
            unit: "VMs",
        },
        meaning: "how many that fit may start before one that stands ahead of them",
    },
    QUANTUM_10,
];

/// See the module's head.
#[derive(Debug)]
pub struct Space {
    shortest_first: bool,
    passed_max: u64,
    quantum_ns: Nanos,
    /// Per VM.
    jobs: Vec<Option<Job>>,
    waiting: BTreeSet<Place>,
    arrivals: u64,
    /// Per CPU: in whose partition it is.
    owners: Vec<Option<VmId>>,
    owned: CpuSet,
    /// Per CPU: the vCPUs whose home it is. The first has the turn. More than one: its VM is folded.
    tenants: Vec<VecDeque<VcpuId>>,
}

impl Space {
    /// From `space:order=,backfill=,quantum=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        Self {
            shortest_first: args.choice("order") == "smallest",
            passed_max: args.count("backfill"),
            quantum_ns: args.duration("quantum"),
            jobs: Vec::new(),
            waiting: BTreeSet::new(),
            arrivals: 0,
            owners: vec![None; topology.cpu_count()],
            owned: CpuSet::EMPTY,
            tenants: vec![VecDeque::new(); topology.cpu_count()],
        }
    }

    fn enter(&mut self, vm: VmId, view: &View) {
        let spec = &view.vm(vm).spec;
        let cost = match spec.run_time_ns {
            _ if !self.shortest_first => 0,
            Some(run_time) => run_time.saturating_mul(u64::from(spec.vcpus)),
            None => u64::MAX,
        };
        let place = (cost, self.arrivals, vm);
        self.arrivals += 1;
        if self.jobs.len() <= vm.index() {
            self.jobs.resize_with(vm.index() + 1, || None);
        }
        self.jobs[vm.index()] = Some(Job {
            place,
            passed: 0,
            homes: Vec::new(),
        });
        self.waiting.insert(place);
    }

    /// Gives up a VM's partition.
    fn vacate(&mut self, vm: VmId) -> CpuSet {
        let job = self.jobs[vm.index()].as_mut().expect("it has entered");
        let homes = std::mem::take(&mut job.homes);
        let cpus: CpuSet = homes.into_iter().flatten().collect();
        for cpu in cpus.iter() {
            self.owners[cpu.index()] = None;
            self.tenants[cpu.index()].clear();
        }
        self.owned = self.owned - cpus;
        cpus
    }

    /// If something was taken from the VM's partition, the rest goes too and the VM waits again.
    fn review(&mut self, vm: VmId, view: &View, plan: &mut Plan) {
        let job = self.jobs[vm.index()].as_ref().expect("it has entered");
        if job.homes.is_empty() || self.is_whole(&job.homes, vm, view) {
            return;
        }
        self.waiting.insert(job.place);
        plan.because("its VM's partition has lost a part");
        for cpu in (self.vacate(vm) & *view.online()).iter() {
            plan.idle(cpu);
        }
    }

    /// Whether the partition is still as it was given.
    fn is_whole(&self, homes: &[Option<CpuId>], vm: VmId, view: &View) -> bool {
        view.vm(vm).vcpus().zip(homes).all(|(vcpu, &home)| {
            let allowed = view.vcpu(vcpu).allowed;
            home.map_or(allowed.is_empty(), |cpu| {
                let turn = view.cpu(cpu).turn.map(|turn| turn.vcpu);
                allowed.contains(cpu) && turn == self.tenants[cpu.index()].front().copied()
            })
        })
    }

    /// Starts whom the queue's order and the free CPUs allow.
    fn start_waiting(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let mut passed: Vec<VmId> = Vec::new();
        for place in self.waiting.iter().copied().collect::<Vec<_>>() {
            let free = *view.online() - self.owned;
            if free.is_empty()
                || passed
                    .iter()
                    .any(|&vm| self.job(vm).passed >= self.passed_max)
            {
                return;
            }
            let vm = place.2;
            match partition::fit(vm, view, &free) {
                Fit::Now(homes) => {
                    self.waiting.remove(&place);
                    self.start(now, vm, homes, view, plan);
                    for &vm in &passed {
                        self.job(vm).passed += 1;
                    }
                }
                Fit::Later => passed.push(vm),
                Fit::Never => {}
            }
        }
    }

    fn job(&mut self, vm: VmId) -> &mut Job {
        self.jobs[vm.index()].as_mut().expect("it has entered")
    }

    fn start(
        &mut self,
        now: Nanos,
        vm: VmId,
        homes: Vec<Option<CpuId>>,
        view: &View,
        plan: &mut Plan,
    ) {
        for (vcpu, home) in view.vm(vm).vcpus().zip(&homes) {
            if let Some(cpu) = *home {
                self.owners[cpu.index()] = Some(vm);
                self.owned.insert(cpu);
                self.tenants[cpu.index()].push_back(vcpu);
            }
        }
        let job = self.job(vm);
        job.passed = 0;
        job.homes = homes;
        let cpus: CpuSet = job.homes.iter().flatten().copied().collect();
        let level = match view.vm(vm).units.len() {
            1 => Level::Slot,
            _ => Level::Fair,
        };
        plan.because("its VM's partition is complete");
        for cpu in cpus.iter() {
            let tenants = &mut self.tenants[cpu.index()];
            if let Some(ready) = first_ready(tenants, 0, view) {
                tenants.rotate_left(ready);
            }
            plan.turn(
                cpu,
                Turn {
                    vcpu: tenants[0],
                    until: (tenants.len() > 1).then_some(now + self.quantum_ns),
                    level,
                },
            );
        }
    }

    /// The turn on a CPU of a folded VM goes to the next of its tenants that can use it.
    fn rotate(&mut self, now: Nanos, cpu: CpuId, view: &View, plan: &mut Plan) {
        let tenants = &mut self.tenants[cpu.index()];
        let turn = view.cpu(cpu).turn.map(|turn| turn.vcpu);
        if turn != tenants.front().copied() {
            // It has just been taken away; that will be told next.
            return;
        }
        let until = now + self.quantum_ns;
        if let Some(next) = first_ready(tenants, 1, view)
            && view.vcpu(tenants[next]).allowed.contains(cpu)
        {
            tenants.rotate_left(next);
            plan.because("next of the folded VM's vCPUs on this CPU");
            plan.run(cpu, tenants[0], Some(until));
        } else if tenants.len() > 1 {
            plan.extend(cpu, until);
        }
    }

    fn home(&self, vcpu: VcpuId, view: &View) -> Option<CpuId> {
        let state = view.vcpu(vcpu);
        let job = self.jobs[state.vm.index()].as_ref()?;
        job.homes.get(state.index as usize).copied().flatten()
    }
}

/// The place of the first of these from `start` on that could run.
fn first_ready(tenants: &VecDeque<VcpuId>, start: usize, view: &View) -> Option<usize> {
    (start..tenants.len()).find(|&index| view.vcpu(tenants[index]).runnable())
}

impl Policy for Space {
    fn name(&self) -> &'static str {
        "space"
    }

    fn granularity(&self) -> Granularity {
        Granularity::Gang
    }

    fn claims(&self) -> Claims {
        let usual = self.quantum_ns <= QUANTUM;
        Claims {
            gangs: true,
            ready_max_ns: usual.then_some(ready_max),
            ..Claims::default()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        match *event {
            Event::Arrive { vm } => {
                self.enter(vm, view);
                self.start_waiting(now, view, plan);
            }
            Event::Leave { vm } => {
                self.vacate(vm);
                let job = self.jobs[vm.index()].take().expect("it has entered");
                self.waiting.remove(&job.place);
                self.start_waiting(now, view, plan);
            }
            Event::Idle { cpu } | Event::Offline { cpu } => {
                if let Some(vm) = self.owners[cpu.index()] {
                    self.review(vm, view, plan);
                }
                self.start_waiting(now, view, plan);
            }
            Event::Changed { vm } => {
                self.review(vm, view, plan);
                self.start_waiting(now, view, plan);
            }
            Event::SliceEnd { cpu } => self.rotate(now, cpu, view, plan),
            Event::Halt { vcpu } | Event::Wake { vcpu } => {
                let Some(cpu) = self.home(vcpu, view) else {
                    return;
                };
                let tenants = &self.tenants[cpu.index()];
                if tenants.len() > 1 && !view.vcpu(tenants[0]).runnable() {
                    self.rotate(now, cpu, view, plan);
                }
            }
            Event::Tick | Event::LockHint { .. } | Event::Borrowed { .. } => {}
        }
    }
}

/// See [`Claims::ready_max_ns`]. If there is a CPU for everybody, everybody has one at once; but a VM that was
/// folded when there were fewer stays so. Else who comes late waits until others leave.
fn ready_max(load: &Load) -> Nanos {
    if load.vcpus > load.cpus {
        return Nanos::MAX;
    }
    QUANTUM * load.vcpus
}

#[cfg(test)]
mod tests;
