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
mod changed;
mod input;
mod loans;
mod places;
mod switched;
mod units;
mod vms;

use std::collections::{BTreeSet, VecDeque};

use crate::actuator::{Actuator, Switch};
use crate::policy::{Event, Policy};
use crate::view::{CpuView, LockState, VcpuView, View};
use crate::{CpuId, Level, Nanos, Plan, RunTimes, Runstate, Topology, VcpuId, VmId, VmSpec};

pub use apply::Violation;
pub use changed::Changed;
pub use input::{EngineError, Input};

/// What a moment may bring that nobody reports. In the order in which they are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    LoanEnd(CpuId),
    CapRefill(VmId),
    CapUsed(VmId),
    SliceEnd(CpuId),
    Tick,
}

/// How many events a moment may have for each CPU and vCPU.
const PATIENCE: usize = 100;

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
    changed: Changed,
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
            changed: Changed::default(),
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
        let arrived = spec.check(&self.view.online).map(|()| {
            let vm = self.add_vm(spec, halted);
            self.events.push_back(Event::Arrive { vm });
            vm
        });
        let settled = self.settle(actuator);
        let vm = arrived?;
        settled.map(|()| vm)
    }

    /// Something has happened at `now`. An error does not undo what could be dealt with. What was due
    /// before `now` is dealt with first, as if it were due now.
    ///
    /// # Panics
    /// If time goes back.
    pub fn handle(
        &mut self,
        now: Nanos,
        input: Input,
        actuator: &mut dyn Actuator,
    ) -> Result<(), EngineError> {
        self.advance(now);
        // The policy hears of what was due even if the input can't be taken.
        let taken = self.take_in(input);
        let settled = self.settle(actuator);
        taken.and(settled)
    }

    fn take_in(&mut self, input: Input) -> Result<(), EngineError> {
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
        Ok(())
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
        self.changed.clear();
        while let Some(&(at, what)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            match what {
                Deadline::LoanEnd(cpu) => self.set_loan(cpu, None),
                Deadline::CapRefill(vm) => self.start_cap(vm),
                Deadline::CapUsed(vm) => self.throttle(vm),
                Deadline::SliceEnd(cpu) => self.events.push_back(Event::SliceEnd { cpu }),
                Deadline::Tick => self.events.push_back(Event::Tick),
            }
        }
    }

    /// Tells the policy of everything that has happened, then orders what has changed.
    fn settle(&mut self, actuator: &mut dyn Actuator) -> Result<(), EngineError> {
        let mut outcome = Ok(());
        let mut patience = PATIENCE * (1 + self.view.vcpus.len() + self.view.cpus.len());
        while let Some(event) = self.events.pop_front() {
            if !self.still_true(&event) {
                continue;
            }
            // A policy's plans can bring about events, and so go on for ever.
            if patience > 0 {
                patience -= 1;
                outcome = outcome.and(self.ask(event));
            } else {
                let policy = self.policy.name();
                outcome = outcome.and(Err(EngineError::Restless { policy }));
            }
            if let Event::Leave { vm } = event {
                self.forget_vm(vm);
            }
        }
        self.order(actuator);
        outcome
    }

    /// Tells the policy of an event, and takes its plan over.
    fn ask(&mut self, event: Event) -> Result<(), EngineError> {
        self.decisions += 1;
        self.plan.clear();
        let (policy, plan) = (&mut self.policy, &mut self.plan);
        policy.on_event(self.now, &event, &self.view, plan);
        self.apply_plan()
            .map_err(|violation| EngineError::IllegalPlan {
                policy: self.policy.name(),
                event,
                violation,
            })
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
        self.changed.cpus.extend_from_slice(&self.touched);
        for cpu in self.touched.drain(..) {
            let next = self.view.wanted(cpu);
            let CpuView { loan, occupant, .. } = *self.view.cpu(cpu);
            let order = &mut self.orders[cpu.index()];
            if order.next != next || order.overhead_ns > 0 {
                // Who goes on makes way for nobody: what it stays would be no grace.
                let goes_on = next.is_some_and(|(vcpu, _)| Some(vcpu) == occupant);
                self.switches.push(Switch {
                    cpu,
                    next,
                    grace_ns: if goes_on { 0 } else { order.grace_ns },
                    overhead_ns: order.overhead_ns,
                    reason: order.reason,
                });
            }
            // Behind a loan the turn begins, and who is there and is lent the CPU leaves for it, when the
            // loan ends.
            let lent = loan.is_some_and(|loan| loan.to.is_some() && loan.to == occupant);
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

    /// Changes what makes a vCPU runnable, and has the policy told if that makes a difference.
    fn set_flag(&mut self, vcpu: VcpuId, change: impl FnOnce(&mut VcpuView)) {
        self.account(vcpu);
        let state = self.view.vcpu_mut(vcpu);
        let before = state.runnable();
        let ran = state.runstate() == Runstate::Running;
        change(state);
        let after = state.runnable();
        let runs = state.runstate() == Runstate::Running;
        let (vm, turn, loan) = (state.vm, state.turn, state.loan);
        self.count_for_cap(vm, ran, runs);
        self.touched.extend(turn);
        if before == after {
            return;
        }
        if !after && let Some(cpu) = loan {
            self.set_loan(cpu, None);
        }
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
            _ if !self.policy.wants_lock_hints() => {}
            _ => self.events.push_back(Event::LockHint { vcpu }),
        }
    }
}

#[cfg(test)]
mod tests;
