//! The policy's only caller.
//!
//! Problem: policies are many, new ones are written by users, and each could start a vCPU twice, on
//! a forbidden CPU, or half a gang.
//!
//! Approach: everything that happens comes in as an [`Input`]. The engine brings its [`View`] up to
//! date, tells the policy by [`Event`]s, checks each plan and takes it over whole or refuses it
//! whole. When all events of an input are dealt with, it compares what each CPU is to serve with what
//! was last ordered, and gives the [`Actuator`] the difference: what changes and changes back within
//! one input costs nothing.
//!
//! Terms: a CPU's *turn* is what the policy gave it; its *occupant* is what the actuator has reported
//! to be on it. Time is charged by occupants, never by turns, and to the nanosecond.

mod apply;
mod caps;
mod units;

use std::collections::{BTreeSet, VecDeque};

use crate::actuator::{Actuator, Switch};
use crate::policy::{Event, Policy};
use crate::view::{LockState, VcpuView, View, VmView};
use crate::vm::VmSpecError;
use crate::{CpuId, CpuSet, Level, Nanos, Plan, RunTimes, Topology, VcpuId, VmId, VmSpec};

pub use apply::Violation;

/// What happens to the host and its guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Only time has passed: see [`Engine::next_deadline`].
    Time,
    /// A VM is to go.
    Leave(VmId),
    /// A halted vCPU has been woken.
    Wake(VcpuId),
    /// A vCPU has halted.
    Halt(VcpuId),
    /// A switch has happened.
    Switched {
        /// Where.
        cpu: CpuId,
        /// What is on it now.
        occupant: Option<VcpuId>,
        /// How long the vCPU that has left stayed on because it held a lock: at most the
        /// [grace](Switch::grace_ns) that was ordered.
        grace_used_ns: Nanos,
    },
    /// What is known of a vCPU's locks.
    Lock {
        /// Whose.
        vcpu: VcpuId,
        /// Its state.
        state: LockState,
    },
    /// A CPU can be used again.
    Online(CpuId),
    /// A CPU can be used no more. What is on it will be reported to leave it.
    Offline(CpuId),
    /// A VM's weight is changed.
    Weight(VmId, u32),
    /// A VM's cap is changed.
    Cap(VmId, Option<u32>),
    /// Where a vCPU may run is changed.
    HardAffinity(VcpuId, CpuSet),
}

/// Why an input could not be dealt with as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The policy broke a rule. Its plan was dropped, what was on the CPUs stays.
    #[error("policy {policy} answered {event:?} with an illegal plan: {violation}")]
    IllegalPlan {
        /// Which policy.
        policy: &'static str,
        /// What it was told.
        event: Event,
        /// The rule.
        violation: Violation,
    },
    /// The VM can't be taken, or can't be changed so.
    #[error("{0}")]
    Vm(#[from] VmSpecError),
    /// The input names a VM, vCPU or CPU that does not exist.
    #[error("{0} does not exist")]
    Unknown(String),
}

/// What a moment may bring that nobody reports. In the order in which they are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    LoanEnd(CpuId),
    CapRefill(VmId),
    CapUsed(VmId),
    SliceEnd(CpuId),
    Tick,
}

/// What has been ordered for a CPU.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    next: Option<(VcpuId, Level)>,
    /// For the switch that is being put together.
    grace_ns: Nanos,
    overhead_ns: Nanos,
    reason: &'static str,
}

/// See the module's head.
#[derive(Debug)]
pub struct Engine {
    now: Nanos,
    view: View,
    policy: Box<dyn Policy>,
    plan: Plan,
    events: VecDeque<Event>,
    deadlines: BTreeSet<(Nanos, Deadline)>,
    orders: Vec<Order>,
    /// CPUs whose order may have changed.
    touched: Vec<CpuId>,
    switches: Vec<Switch>,
    advice: Vec<(VmId, u32)>,
    caps: Vec<Option<caps::Account>>,
    journal: apply::Journal,
    decisions: u64,
}

impl Engine {
    /// An engine for a host without VMs.
    pub fn new(topology: Topology, policy: Box<dyn Policy>) -> Self {
        Self {
            now: 0,
            orders: vec![Order::default(); topology.cpu_count()],
            view: View::new(topology),
            policy,
            plan: Plan::default(),
            events: VecDeque::new(),
            deadlines: BTreeSet::new(),
            touched: Vec::new(),
            switches: Vec::new(),
            advice: Vec::new(),
            caps: Vec::new(),
            journal: apply::Journal::default(),
            decisions: 0,
        }
    }

    /// The host as policies see it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The policy in charge.
    pub fn policy(&self) -> &dyn Policy {
        self.policy.as_ref()
    }

    /// How often the policy was asked.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// How long a vCPU has been in each runstate up to the last input.
    pub fn times(&self, vcpu: VcpuId) -> RunTimes {
        self.view.vcpu(vcpu).times(self.now)
    }

    /// When [`Input::Time`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A VM arrives. `halted` tells for each vCPU whether it waits to be started by another.
    pub fn arrive(
        &mut self,
        now: Nanos,
        spec: VmSpec,
        halted: impl Fn(u32) -> bool,
        actuator: &mut dyn Actuator,
    ) -> Result<VmId, EngineError> {
        self.advance(now);
        spec.check(&self.view.online)?;
        let vm = self.add_vm(spec, halted);
        self.events.push_back(Event::Arrive { vm });
        self.settle(actuator)?;
        Ok(vm)
    }

    /// Something has happened at `now`. An error does not undo what could be dealt with.
    ///
    /// # Panics
    /// If time goes back, or a deadline was missed by another input: inputs come in order.
    pub fn handle(
        &mut self,
        now: Nanos,
        input: Input,
        actuator: &mut dyn Actuator,
    ) -> Result<(), EngineError> {
        self.advance(now);
        self.know(&input)?;
        match input {
            Input::Time => {}
            Input::Leave(vm) => self.remove_vm(vm),
            Input::Wake(vcpu) => self.set_flag(vcpu, |state| state.halted = false),
            Input::Halt(vcpu) => self.set_flag(vcpu, |state| state.halted = true),
            Input::Switched {
                cpu,
                occupant,
                grace_used_ns,
            } => self.occupy(cpu, occupant, grace_used_ns),
            Input::Lock { vcpu, state } => self.set_lock(vcpu, state),
            Input::Online(cpu) => self.set_online(cpu, true),
            Input::Offline(cpu) => self.set_online(cpu, false),
            Input::Weight(vm, weight) => self.amend(vm, |spec| spec.weight = weight)?,
            Input::Cap(vm, cap) => {
                self.amend(vm, |spec| spec.cap_percent = cap)?;
                self.start_cap(vm);
            }
            Input::HardAffinity(vcpu, cpus) => self.set_hard_affinity(vcpu, cpus)?,
        }
        self.settle(actuator)
    }

    /// Puts another policy in charge. vCPUs that keep their CPU under it do not notice.
    pub fn set_policy(
        &mut self,
        now: Nanos,
        policy: Box<dyn Policy>,
        actuator: &mut dyn Actuator,
    ) -> Result<(), EngineError> {
        self.advance(now);
        let settled = self.settle(actuator);
        self.policy = policy;
        for cpu in self.view.topology().cpus().iter() {
            self.set_loan(cpu, None);
            self.set_turn(cpu, None);
        }
        self.deadlines.retain(|&(_, what)| what != Deadline::Tick);
        let vms: Vec<VmId> = self.view.vms().map(|(vm, _)| vm).collect();
        for &vm in &vms {
            for vcpu in self.view.vm(vm).vcpus() {
                self.account(vcpu);
                self.view.vcpu_mut(vcpu).co_stopped = false;
            }
            self.form_units(vm);
        }
        // No event of the old policy's time is left: the new one sees the host as it is.
        self.events.clear();
        self.events
            .extend(vms.into_iter().map(|vm| Event::Arrive { vm }));
        let cpus = self.view.online.iter();
        self.events.extend(cpus.map(|cpu| Event::Idle { cpu }));
        let taken_over = self.settle(actuator);
        settled.and(taken_over)
    }

    fn advance(&mut self, now: Nanos) {
        assert!(now >= self.now, "time goes back from {} to {now}", self.now);
        self.now = now;
        while let Some(&(at, what)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            match what {
                Deadline::LoanEnd(cpu) => self.set_loan(cpu, None),
                Deadline::CapRefill(vm) => self.refill_cap(vm),
                Deadline::CapUsed(vm) => self.throttle(vm),
                Deadline::SliceEnd(cpu) => self.events.push_back(Event::SliceEnd { cpu }),
                Deadline::Tick => self.events.push_back(Event::Tick),
            }
        }
    }

    fn know(&self, input: &Input) -> Result<(), EngineError> {
        let known = match *input {
            Input::Time => Ok(()),
            Input::Leave(vm) | Input::Weight(vm, _) | Input::Cap(vm, _) => {
                self.view.find_vm(vm).map(drop).ok_or(vm.to_string())
            }
            Input::Wake(vcpu)
            | Input::Halt(vcpu)
            | Input::Lock { vcpu, .. }
            | Input::HardAffinity(vcpu, _) => {
                self.view.find_vcpu(vcpu).map(drop).ok_or(vcpu.to_string())
            }
            Input::Switched { cpu, occupant, .. } => match occupant {
                Some(vcpu) if self.view.find_vcpu(vcpu).is_none() => Err(vcpu.to_string()),
                _ => self.know_cpu(cpu),
            },
            Input::Online(cpu) | Input::Offline(cpu) => self.know_cpu(cpu),
        };
        known.map_err(EngineError::Unknown)
    }

    fn know_cpu(&self, cpu: CpuId) -> Result<(), String> {
        let exists = cpu.index() < self.view.cpus.len();
        if exists { Ok(()) } else { Err(cpu.to_string()) }
    }

    /// Tells the policy of everything that has happened, then orders what has changed.
    fn settle(&mut self, actuator: &mut dyn Actuator) -> Result<(), EngineError> {
        let mut outcome = Ok(());
        while let Some(event) = self.events.pop_front() {
            if !self.still_true(&event) {
                continue;
            }
            self.decisions += 1;
            self.plan.clear();
            let (policy, plan) = (&mut self.policy, &mut self.plan);
            policy.on_event(self.now, &event, &self.view, plan);
            if let Err(violation) = self.apply_plan() {
                outcome = outcome.and(Err(EngineError::IllegalPlan {
                    policy: self.policy.name(),
                    event,
                    violation,
                }));
            }
            if let Event::Leave { vm } = event {
                self.forget_vm(vm);
            }
        }
        self.order(actuator);
        outcome
    }

    /// An event may have been overtaken by what was planned for an earlier one of the same moment.
    fn still_true(&self, event: &Event) -> bool {
        match *event {
            Event::SliceEnd { cpu } => {
                let turn = &self.view.cpu(cpu).turn;
                turn.is_some_and(|turn| turn.until.is_some_and(|until| until <= self.now))
            }
            Event::Idle { cpu } => {
                self.view.online.contains(cpu) && self.view.cpu(cpu).turn.is_none()
            }
            Event::Wake { vcpu } => self.view.vcpu(vcpu).runnable(),
            Event::Halt { vcpu } => !self.view.vcpu(vcpu).runnable(),
            _ => true,
        }
    }

    fn order(&mut self, actuator: &mut dyn Actuator) {
        self.switches.clear();
        self.touched.sort_unstable();
        self.touched.dedup();
        for cpu in self.touched.drain(..) {
            let next = self.view.wanted(cpu);
            let order = &mut self.orders[cpu.index()];
            if order.next != next || order.overhead_ns > 0 {
                self.switches.push(Switch {
                    cpu,
                    next,
                    grace_ns: order.grace_ns,
                    overhead_ns: order.overhead_ns,
                    reason: order.reason,
                });
            }
            // Behind a loan the turn begins, and whoever is there leaves for it, when the loan ends.
            let lent = self.view.cpu(cpu).loan.is_some();
            *order = Order {
                next,
                grace_ns: if lent { order.grace_ns } else { 0 },
                ..Order::default()
            };
        }
        if !self.switches.is_empty() {
            actuator.switch(self.now, &self.switches);
        }
        for (vm, cpus) in self.advice.drain(..) {
            actuator.advise(self.now, vm, cpus);
        }
    }

    fn add_vm(&mut self, spec: VmSpec, halted: impl Fn(u32) -> bool) -> VmId {
        let count = spec.vcpus as usize;
        let first = free_run(&self.view.vcpus, count);
        let id = free_run(&self.view.vms, 1);
        let vm = VmId(id as u32);
        grow(&mut self.view.vcpus, first + count);
        grow(&mut self.view.vms, id + 1);
        grow(&mut self.caps, id + 1);
        for index in 0..spec.vcpus {
            self.view.vcpus[first + index as usize] = Some(VcpuView {
                vm,
                index,
                unit: crate::UnitId(u32::MAX),
                allowed: spec.hard_affinity & self.view.online,
                halted: halted(index),
                co_stopped: false,
                throttled: false,
                turn: None,
                loan: None,
                on_cpu: None,
                last_cpu: None,
                left_at: self.now,
                grace_ns: 0,
                lock: LockState::Free,
                hard: spec.hard_affinity,
                since: self.now,
                times: RunTimes::default(),
            });
        }
        self.view.vms[id] = Some(VmView {
            spec,
            first: VcpuId(first as u32),
            arrived: self.now,
            units: Vec::new(),
        });
        self.form_units(vm);
        self.view.revision += 1;
        self.start_cap(vm);
        vm
    }

    /// Takes everything from a VM and has the policy told.
    fn remove_vm(&mut self, vm: VmId) {
        let mut freed = Vec::new();
        for vcpu in self.view.vm(vm).vcpus() {
            self.account(vcpu);
            if let Some(cpu) = self.view.vcpu(vcpu).loan {
                self.set_loan(cpu, None);
            }
            if let Some(cpu) = self.view.vcpu(vcpu).turn {
                self.set_loan(cpu, None);
                self.set_turn(cpu, None);
                freed.push(cpu);
            }
            let state = self.view.vcpu_mut(vcpu);
            state.halted = true;
        }
        self.stop_cap(vm);
        self.events.push_back(Event::Leave { vm });
        let idle = freed.into_iter().map(|cpu| Event::Idle { cpu });
        self.events.extend(idle);
    }

    /// After the policy has been told: a VM that has left is forgotten.
    fn forget_vm(&mut self, vm: VmId) {
        let gone = self.view.vms[vm.index()].take().expect("it was there");
        for unit in &gone.units {
            self.view.units[unit.index()] = None;
        }
        self.view.revision += 1;
        for vcpu in gone.vcpus() {
            // A policy that was asked before it heard of the leaving may have given it a turn.
            if let Some(cpu) = self.view.vcpu(vcpu).turn {
                self.set_turn(cpu, None);
                self.events.push_back(Event::Idle { cpu });
            }
            if let Some(cpu) = self.view.vcpu(vcpu).on_cpu {
                self.view.cpus[cpu.index()].occupant = None;
                self.touched.push(cpu);
            }
            self.view.vcpus[vcpu.index()] = None;
        }
        let is_of = |vcpu: VcpuId| (gone.first.0..gone.first.0 + gone.spec.vcpus).contains(&vcpu.0);
        self.events.retain(|event| match *event {
            Event::Wake { vcpu } | Event::Halt { vcpu } | Event::LockHint { vcpu } => !is_of(vcpu),
            Event::Changed { vm: other } => other != vm,
            _ => true,
        });
    }

    /// Changes what makes a vCPU runnable, and has the policy told if that makes a difference.
    fn set_flag(&mut self, vcpu: VcpuId, change: impl FnOnce(&mut VcpuView)) {
        self.account(vcpu);
        let state = self.view.vcpu_mut(vcpu);
        let before = state.runnable();
        change(state);
        let after = state.runnable();
        let (turn, loan) = (state.turn, state.loan);
        self.touched.extend(turn);
        if before == after {
            return;
        }
        if !after && let Some(cpu) = loan {
            self.set_loan(cpu, None);
        }
        self.recount_cap(self.view.vcpu(vcpu).vm);
        self.events.push_back(if after {
            Event::Wake { vcpu }
        } else {
            Event::Halt { vcpu }
        });
    }

    fn set_lock(&mut self, vcpu: VcpuId, lock: LockState) {
        let state = self.view.vcpu_mut(vcpu);
        state.lock = lock;
        let (loan, off_cpu) = (state.loan, state.on_cpu.is_none());
        let for_lock = |cpu: &CpuId| self.view.cpu(*cpu).loan.is_some_and(|loan| loan.for_lock);
        match (lock, loan.filter(for_lock)) {
            // It was lent a CPU to get here.
            (LockState::Free, Some(cpu)) => self.set_loan(cpu, None),
            (LockState::Holding { .. }, _) if !off_cpu => {}
            (LockState::Free, None) => {}
            _ => self.events.push_back(Event::LockHint { vcpu }),
        }
    }

    /// A switch has happened: time is charged differently from now on.
    ///
    /// # Panics
    /// If the vCPU is on another CPU too: no actuator may let that happen.
    fn occupy(&mut self, cpu: CpuId, occupant: Option<VcpuId>, grace_used_ns: Nanos) {
        let before = self.view.cpus[cpu.index()].occupant;
        if before == occupant {
            return;
        }
        if let Some(vcpu) = before {
            self.account(vcpu);
            let now = self.now;
            let state = self.view.vcpu_mut(vcpu);
            state.on_cpu = None;
            state.left_at = now;
            state.grace_ns += grace_used_ns;
            let (vm, lock) = (state.vm, state.lock);
            self.recount_cap(vm);
            if matches!(lock, LockState::Holding { .. }) && self.policy.wants_lock_hints() {
                self.events.push_back(Event::LockHint { vcpu });
            }
        }
        if let Some(vcpu) = occupant {
            self.account(vcpu);
            let state = self.view.vcpu_mut(vcpu);
            let elsewhere = state.on_cpu.replace(cpu);
            assert_eq!(elsewhere, None, "{vcpu} starts on {cpu} while on another");
            state.last_cpu = Some(cpu);
            let vm = state.vm;
            self.recount_cap(vm);
        }
        self.view.cpus[cpu.index()].occupant = occupant;
    }

    fn set_online(&mut self, cpu: CpuId, online: bool) {
        if self.view.online.contains(cpu) == online {
            return;
        }
        if online {
            self.view.online.insert(cpu);
        } else {
            self.view.online.remove(cpu);
            self.set_loan(cpu, None);
            self.drop_turn(cpu);
        }
        for vcpu in (0..self.view.vcpus.len() as u32).map(VcpuId) {
            let online = self.view.online;
            if let Some(state) = self.view.vcpus[vcpu.index()].as_mut() {
                state.allowed = state.hard & online;
            }
        }
        self.view.revision += 1;
        self.events.push_back(if online {
            Event::Idle { cpu }
        } else {
            Event::Offline { cpu }
        });
        let vms: Vec<VmId> = self.view.vms().map(|(vm, _)| vm).collect();
        for vm in vms {
            if self.form_units(vm) {
                self.events.push_back(Event::Changed { vm });
            }
        }
    }

    fn amend(&mut self, vm: VmId, change: impl FnOnce(&mut VmSpec)) -> Result<(), EngineError> {
        let mut spec = self.view.vm(vm).spec.clone();
        change(&mut spec);
        spec.check(&self.view.topology().cpus())?;
        let state = self.view.vms[vm.index()].as_mut().expect("it is known");
        state.spec = spec;
        self.view.revision += 1;
        self.events.push_back(Event::Changed { vm });
        Ok(())
    }

    fn set_hard_affinity(&mut self, vcpu: VcpuId, cpus: CpuSet) -> Result<(), EngineError> {
        let allowed = cpus & self.view.online;
        if allowed.is_empty() {
            return Err(EngineError::Vm(VmSpecError::HardAffinity {
                affinity: Box::new(cpus),
                cpus: Box::new(self.view.online),
            }));
        }
        let state = self.view.vcpu_mut(vcpu);
        state.hard = cpus;
        state.allowed = allowed;
        let (vm, turn, loan) = (state.vm, state.turn, state.loan);
        self.view.revision += 1;
        if let Some(cpu) = loan.filter(|&cpu| !allowed.contains(cpu)) {
            self.set_loan(cpu, None);
        }
        if let Some(cpu) = turn.filter(|&cpu| !allowed.contains(cpu)) {
            self.drop_turn(cpu);
            self.events.push_back(Event::Idle { cpu });
        }
        self.form_units(vm);
        self.events.push_back(Event::Changed { vm });
        Ok(())
    }

    /// Takes the turn from a CPU, and from the rest of its gang, which may not run split.
    fn drop_turn(&mut self, cpu: CpuId) {
        let Some(turn) = self.view.cpu(cpu).turn else {
            return;
        };
        self.set_turn(cpu, None);
        if turn.level != Level::Slot {
            return;
        }
        let unit = self.view.vcpu(turn.vcpu).unit;
        for member in self.view.unit(unit).members.clone() {
            if let Some(other) = self.view.vcpu(member).turn
                && self
                    .view
                    .cpu(other)
                    .turn
                    .is_some_and(|turn| turn.level == Level::Slot)
            {
                self.set_turn(other, None);
                self.events.push_back(Event::Idle { cpu: other });
            }
        }
    }

    /// Charges a vCPU for the time since the last change of its runstate.
    fn account(&mut self, vcpu: VcpuId) {
        let now = self.now;
        let state = self.view.vcpu_mut(vcpu);
        state.times = state.times(now);
        state.since = now;
    }
}

/// The first place in `slots` from which on `count` are free.
fn free_run<T>(slots: &[Option<T>], count: usize) -> usize {
    let mut start = 0;
    for (index, slot) in slots.iter().enumerate() {
        if index - start == count {
            break;
        }
        if slot.is_some() {
            start = index + 1;
        }
    }
    start
}

fn grow<T>(slots: &mut Vec<Option<T>>, len: usize) {
    if slots.len() < len {
        slots.resize_with(len, || None);
    }
}

#[cfg(test)]
mod tests;
