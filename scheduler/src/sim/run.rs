//! The run itself: what happens next, until the time is over.
//!
//! Approach: whichever is due first, a deadline of the engine's or an event of the simulator's own.
//! When it is dealt with, the CPUs that it touched are served, then what the engine has ordered
//! meanwhile is begun, until nothing is left to do at this moment.

mod arrivals;
mod measures;
mod watch;

use std::mem;

use crate::engine::{EngineError, Input};
use crate::{Actuator, CpuId, Engine, Nanos, PolicySpec, Switch, VcpuId, VmId};

use super::guest::Vcpu;
use super::machine::Cpu;
use super::queue::{Happening, Queue, Token};
use super::random::{Purpose, Stream};
use super::record::{Keep, MarkKind, Recording};
use super::recorder::Recorder;
use super::scenario::{Scenario, VCPUS_TOTAL_MAX};

use arrivals::Vm;
use watch::Watch;

/// Why a run was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The engine refused something: a policy has broken a rule.
    #[error("seed {seed}, at {at_ns} ns: {error}")]
    Engine {
        /// In which run.
        seed: u64,
        /// When.
        at_ns: Nanos,
        /// What.
        error: EngineError,
    },
    /// VMs arrive faster than they leave.
    #[error(
        "seed {seed}, at {at_ns} ns: vm[{group}].arrivals: more than {VCPUS_TOTAL_MAX} vCPUs would be there at \
         once: expected VMs that arrive less often, have less work, or leave"
    )]
    Crowded {
        /// In which run.
        seed: u64,
        /// When.
        at_ns: Nanos,
        /// The last one to arrive is of this group.
        group: u32,
    },
}

/// Runs a scenario under a policy.
pub fn run(
    scenario: &Scenario,
    policy: &PolicySpec,
    seed: u64,
    keep: Keep,
) -> Result<Recording, RunError> {
    let mut run = Run::new(scenario, policy, seed, keep);
    run.schedule_beginnings();
    run.go()?;
    Ok(run.recording(policy))
}

/// What the engine has ordered and was not begun yet.
#[derive(Debug, Default)]
struct Orders {
    switches: Vec<Switch>,
    advice: Vec<(VmId, u32)>,
}

impl Actuator for Orders {
    fn switch(&mut self, _now: Nanos, switches: &[Switch]) {
        self.switches.extend_from_slice(switches);
    }

    fn advise(&mut self, _now: Nanos, vm: VmId, cpus: u32) {
        self.advice.push((vm, cpus));
    }
}

/// A run that is going on.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    seed: u64,
    pub(super) now: Nanos,
    pub(super) engine: Engine,
    orders: Orders,
    pub(super) queue: Queue,
    pub(super) cpus: Vec<Cpu>,
    /// By the engine's number.
    pub(super) vcpus: Vec<Option<Vcpu>>,
    /// In order of arrival.
    pub(super) vms: Vec<Vm<'a>>,
    /// CPUs to be served.
    pub(super) touched: Vec<CpuId>,
    pub(super) recorder: Recorder,
    pub(super) faults: Stream,
    pub(super) has_smt: bool,
    outages: Stream,
    samples: Stream,
    /// When each group's next VM arrives.
    arrivals: Vec<Stream>,
    events: u64,
    /// Decisions before measuring began.
    decisions_before: u64,
    watch: Watch,
    /// vCPUs that are there.
    present: u64,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, policy: &PolicySpec, seed: u64, keep: Keep) -> Self {
        let topology = scenario.topology.clone();
        let stream = |purpose, of| Stream::new(seed, purpose, [of, 0, 0]);
        let cpus = (0..topology.cpu_count() as u32).map(|cpu| {
            let jitter = stream(Purpose::Actuation, cpu);
            Cpu::new(jitter, stream(Purpose::Steal, cpu))
        });
        let groups = 0..scenario.vms.len() as u32;
        Self {
            scenario,
            seed,
            now: 0,
            orders: Orders::default(),
            queue: Queue::default(),
            cpus: cpus.collect(),
            vcpus: Vec::new(),
            vms: Vec::new(),
            touched: Vec::new(),
            recorder: Recorder::new(topology.cpu_count(), keep),
            faults: stream(Purpose::Faults, 0),
            has_smt: topology.cores().len() < topology.cpu_count(),
            outages: stream(Purpose::Outages, 0),
            samples: stream(Purpose::Samples, 0),
            arrivals: groups
                .map(|group| stream(Purpose::Arrivals, group))
                .collect(),
            events: 0,
            decisions_before: 0,
            watch: Watch::new(topology.cpu_count(), keep),
            present: 0,
            engine: Engine::new(topology.clone(), policy.build(&topology)),
        }
    }

    /// Everything of which the time is known from the beginning.
    fn schedule_beginnings(&mut self) {
        let scenario = self.scenario;
        if scenario.warm_up_ns > 0 {
            self.queue.push(scenario.warm_up_ns, Happening::Measure);
        }
        if let Some(steal) = scenario.steal {
            for index in 0..self.cpus.len() {
                let at = self.cpus[index].steal.exponential(steal.every_ns);
                self.queue.push(at, Happening::Steal(CpuId(index as u16)));
            }
        }
        for (index, swap) in scenario.swaps.iter().enumerate() {
            self.queue.push(swap.at_ns, Happening::Swap(index as u32));
        }
        for outage in &scenario.outages {
            self.queue
                .push(outage.at_ns, Happening::Offline(outage.cpu));
            if let Some(until) = outage.until_ns {
                self.queue.push(until, Happening::Online(outage.cpu));
            }
        }
        if let Some(every) = scenario.faults.offline_every_ns {
            let at = self.outages.exponential(every);
            self.queue.push(at, Happening::Outage);
        }
        self.schedule_arrivals();
    }

    fn go(&mut self) -> Result<(), RunError> {
        let end = self.scenario.total_ns();
        loop {
            let deadline = self.engine.next_deadline();
            let event = self.queue.next_at();
            let next = [deadline, event].into_iter().flatten().min();
            let Some(at) = next.filter(|&at| at < end) else {
                self.now = end;
                return Ok(());
            };
            self.now = at;
            self.events += 1;
            if deadline == Some(at) {
                self.input(Input::Time)?;
            } else if let Some((_, token, what)) = self.queue.pop() {
                self.happen(token, what)?;
            }
            self.settle_moment()?;
            self.observe();
        }
    }

    fn happen(&mut self, token: Token, what: Happening) -> Result<(), RunError> {
        match what {
            Happening::Stop(_) | Happening::Start(_) => self.step(token, what),
            Happening::Progress(cpu) => self.progress(token, cpu),
            Happening::Steal(cpu) => {
                self.steal(cpu);
                Ok(())
            }
            Happening::StealOver(cpu) => {
                self.give_back(cpu);
                Ok(())
            }
            Happening::Wake(vcpu) => self.wake(token, vcpu),
            Happening::Message(vcpu, sender, vm) => self.deliver(vcpu, sender, vm),
            Happening::Arrive(group, number) => self.arrive(group, number),
            Happening::ArriveNext(group, number) => self.arrive_next(group, number),
            Happening::Leave(vm) => self.leave(vm),
            Happening::Offline(cpu) => self.set_online(cpu, false),
            Happening::Online(cpu) => self.set_online(cpu, true),
            Happening::Outage => self.outage(),
            Happening::Swap(index) => self.swap(index),
            Happening::Measure => {
                self.measure();
                Ok(())
            }
        }
    }

    /// Does what is to be done at this moment because of what has happened.
    fn settle_moment(&mut self) -> Result<(), RunError> {
        loop {
            let mut index = 0;
            while let Some(&cpu) = self.touched.get(index) {
                index += 1;
                self.serve(cpu)?;
            }
            self.touched.clear();
            if self.orders.switches.is_empty() && self.orders.advice.is_empty() {
                return Ok(());
            }
            let mut switches = mem::take(&mut self.orders.switches);
            for switch in &switches {
                self.order(switch);
            }
            switches.clear();
            if self.orders.switches.is_empty() {
                // Its memory is used again.
                self.orders.switches = switches;
            }
            for (vm, cpus) in mem::take(&mut self.orders.advice) {
                let number = self.vms.iter().rposition(|other| other.id == vm);
                self.advise(number.expect("it has arrived") as u32, cpus)?;
            }
        }
    }

    /// Tells the engine.
    pub(super) fn input(&mut self, input: Input) -> Result<(), RunError> {
        let told = self.engine.handle(self.now, input, &mut self.orders);
        self.watch.note(&self.engine);
        told.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: EngineError) -> RunError {
        RunError::Engine {
            seed: self.seed,
            at_ns: self.now,
            error,
        }
    }

    /// A vCPU that exists.
    pub(super) fn vcpu(&mut self, vcpu: VcpuId) -> &mut Vcpu {
        self.vcpus[vcpu.index()].as_mut().expect("it is there")
    }

    /// The VM of a vCPU that exists.
    pub(super) fn vm_of(&mut self, vcpu: VcpuId) -> &mut Vm<'a> {
        let number = self.vcpu(vcpu).vm;
        &mut self.vms[number as usize]
    }

    fn set_online(&mut self, cpu: CpuId, online: bool) -> Result<(), RunError> {
        let present = *self.engine.view().online();
        let is_last = !online && present.len() == 1;
        if present.contains(cpu) == online || is_last {
            return Ok(());
        }
        self.recorder.mark(self.now, MarkKind::Online(cpu, online));
        self.deny_grace(cpu);
        self.input(if online {
            Input::Online(cpu)
        } else {
            Input::Offline(cpu)
        })
    }

    /// Some CPU goes away for a while.
    fn outage(&mut self) -> Result<(), RunError> {
        let now = self.now;
        let faults = &self.scenario.faults;
        let every = faults.offline_every_ns.expect("only then there are any");
        let length = self.outages.exponential(faults.offline_for_ns);
        let next = self.outages.exponential(every);
        let cpu = CpuId(self.outages.below(self.cpus.len() as u64) as u16);
        self.queue.push(now + next, Happening::Outage);
        self.queue.push(now + length, Happening::Online(cpu));
        self.set_online(cpu, false)
    }

    fn swap(&mut self, index: u32) -> Result<(), RunError> {
        let policy = &self.scenario.swaps[index as usize].policy;
        let policy = policy.build(&self.scenario.topology);
        self.recorder.mark(self.now, MarkKind::PolicyChange);
        let told = self.engine.set_policy(self.now, policy, &mut self.orders);
        self.watch.note(&self.engine);
        told.map_err(|error| self.refused(error))?;
        self.report_all_locks()
    }
}

#[cfg(test)]
mod rough_tests;
#[cfg(test)]
mod tests;
