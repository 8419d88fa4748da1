//! A policy that does what a test says.

use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::engine::Deadline;
use crate::policy::{Claims, Granularity};
use crate::testing::Host;

#[derive(Debug, Default)]
struct Lines {
    next: Option<Plan>,
    heard: Vec<Event>,
}

/// See the module's head. A clone is the same policy.
#[derive(Debug, Clone)]
pub struct Script {
    lines: Arc<Mutex<Lines>>,
    granularity: Granularity,
    wants_lock_hints: bool,
}

impl Script {
    pub fn new(granularity: Granularity) -> Self {
        Self {
            lines: Arc::default(),
            granularity,
            wants_lock_hints: true,
        }
    }

    pub fn without_lock_hints() -> Self {
        Self {
            wants_lock_hints: false,
            ..Self::new(Granularity::Vcpu)
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }

    /// What it answers to the next event.
    pub fn say(&self, plan: Plan) {
        self.lines().next = Some(plan);
    }

    /// What it was told since it was last asked.
    pub fn heard(&self) -> Vec<Event> {
        std::mem::take(&mut self.lines().heard)
    }
}

impl Policy for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn granularity(&self) -> Granularity {
        self.granularity
    }

    fn wants_lock_hints(&self) -> bool {
        self.wants_lock_hints
    }

    fn claims(&self) -> Claims {
        Claims::default()
    }

    fn on_event(&mut self, _now: Nanos, event: &Event, _view: &View, plan: &mut Plan) {
        let mut lines = self.lines();
        lines.heard.push(*event);
        *plan = lines.next.take().unwrap_or_default();
    }
}

/// A host that obeys at once, under a [`Script`].
pub struct Stage {
    pub host: Host,
    pub script: Script,
}

impl Stage {
    pub fn new(cpus: usize, granularity: Granularity) -> Self {
        Self::with(cpus, Script::new(granularity))
    }

    pub fn with(cpus: usize, script: Script) -> Self {
        let host = Host::with(Topology::flat(cpus), Box::new(script.clone()));
        Self { host, script }
    }

    /// Has the policy write this plan, on an event that changes nothing.
    pub fn try_plan(&mut self, write: impl FnOnce(&mut Plan)) -> Result<(), EngineError> {
        let mut plan = Plan::default();
        write(&mut plan);
        self.script.say(plan);
        let (vm, weight) = {
            let (vm, state) = self.view().vms().next().expect("a VM");
            (vm, state.spec.weight)
        };
        self.host.try_input(Input::Weight(vm, weight))
    }

    pub fn plan(&mut self, write: impl FnOnce(&mut Plan)) {
        self.try_plan(write).unwrap();
        self.script.heard();
    }

    /// The rule that a plan breaks.
    pub fn violation(&mut self, write: impl FnOnce(&mut Plan)) -> String {
        match self.try_plan(write) {
            Err(EngineError::IllegalPlan { violation, .. }) => violation.to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub fn view(&self) -> &View {
        self.host.engine.view()
    }

    /// Whose turn it is on each CPU.
    pub fn turns(&self) -> Vec<Option<u32>> {
        let turns = self.view().cpus.iter().map(|cpu| cpu.turn);
        turns.map(|turn| turn.map(|turn| turn.vcpu.0)).collect()
    }

    /// Who is on each CPU.
    pub fn occupants(&self) -> Vec<Option<u32>> {
        let cpus = self.view().cpus.iter();
        cpus.map(|cpu| cpu.occupant.map(|vcpu| vcpu.0)).collect()
    }

    /// To whom each CPU is lent, if it is.
    pub fn loans(&self) -> Vec<Option<Option<u32>>> {
        let cpus = self.view().cpus.iter();
        cpus.map(|cpu| cpu.loan.map(|loan| loan.to.map(|vcpu| vcpu.0)))
            .collect()
    }

    /// The members of a VM's units.
    pub fn units(&self, vm: VmId) -> Vec<Vec<u32>> {
        let units = self.view().vm(vm).units.iter();
        let members = units.map(|&unit| self.view().unit(unit).members.iter());
        members
            .map(|members| members.map(|vcpu| vcpu.0).collect())
            .collect()
    }

    /// All that a refused plan must leave as it was.
    pub fn state(&self) -> String {
        let engine = &self.host.engine;
        let view = engine.view();
        format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
            view.cpus,
            view.vcpus,
            view.units,
            engine.deadlines,
            self.host.switches,
            self.host.advice
        )
    }

    /// Checks that the two sides of every turn and loan agree, and that all ends will be noticed.
    pub fn check(&self) {
        check(&self.host.engine);
    }
}

/// Checks that the two sides of every turn and loan agree, and that all ends will be noticed.
pub fn check(engine: &Engine) {
    let view = engine.view();
    for cpu in view.topology().cpus().iter() {
        let state = view.cpu(cpu);
        if let Some(turn) = state.turn {
            assert_eq!(view.vcpu(turn.vcpu).turn, Some(cpu), "turn on {cpu}");
        }
        if let Some(vcpu) = state.loan.and_then(|loan| loan.to) {
            assert_eq!(view.vcpu(vcpu).loan, Some(cpu), "loan of {cpu}");
        }
        let slice = state.turn.and_then(|turn| turn.until);
        let slice = slice.filter(|&until| until > engine.now);
        assert_eq!(deadline(engine, Deadline::SliceEnd(cpu)), slice, "{cpu}");
        let loan = state.loan.map(|loan| loan.until);
        assert_eq!(deadline(engine, Deadline::LoanEnd(cpu)), loan, "{cpu}");
    }
    for (vcpu, state) in view.vcpus() {
        if let Some(cpu) = state.turn {
            assert_eq!(view.cpu(cpu).turn.map(|turn| turn.vcpu), Some(vcpu));
        }
        if let Some(cpu) = state.loan {
            assert_eq!(view.cpu(cpu).loan.and_then(|loan| loan.to), Some(vcpu));
            assert_eq!(state.turn, None, "{vcpu} borrows beside its turn");
        }
        assert_eq!(
            state.times(engine.now).total(),
            engine.now - view.vm(state.vm).arrived
        );
    }
}

/// When this is due; it must not be there twice.
fn deadline(engine: &Engine, what: Deadline) -> Option<Nanos> {
    let mut found = engine.deadlines.iter().filter(|&&(_, other)| other == what);
    let at = found.next().map(|&(at, _)| at);
    assert_eq!(found.next(), None, "{what:?} is there twice");
    at
}
