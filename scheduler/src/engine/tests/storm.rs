//! Random plans, legal and illegal, on a host that is late, against a model of the rules.

use std::collections::BTreeMap;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::model::{Cap, Member, Model};
use super::script::{Script, check};
use super::*;
use crate::vm::CAP_PERIOD;
use crate::{Granularity, MS, Turn, US};

const CPUS: u16 = 4;

/// Switches that have not happened yet.
#[derive(Debug, Default)]
struct Late(BTreeMap<CpuId, Option<VcpuId>>);

impl Actuator for Late {
    fn switch(&mut self, _now: Nanos, switches: &[Switch]) {
        let ordered = switches
            .iter()
            .map(|switch| (switch.cpu, switch.next.map(|(vcpu, _)| vcpu)));
        self.0.extend(ordered);
    }

    fn advise(&mut self, _now: Nanos, _vm: VmId, _cpus: u32) {}
}

struct Storm {
    rng: Xoshiro256PlusPlus,
    engine: Engine,
    script: Script,
    late: Late,
    model: Model,
    /// What each CPU was last ordered to serve.
    ordered: BTreeMap<CpuId, Option<VcpuId>>,
    refused: u32,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let gangs = seed.is_multiple_of(2);
        let granularity = if gangs {
            Granularity::Gang
        } else {
            Granularity::Vcpu
        };
        let script = Script::new(granularity);
        let topology = Topology::flat(CPUS.into());
        let online = topology.cpus();
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            engine: Engine::new(topology, Box::new(script.clone())),
            script,
            late: Late::default(),
            model: Model {
                gangs,
                online,
                ..Model::default()
            },
            ordered: BTreeMap::new(),
            refused: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    /// Lets time pass, from one thing that is due to the next.
    fn pass(&mut self, until: Nanos) {
        while self.model.now < until {
            let due = self
                .engine
                .next_deadline()
                .filter(|&at| at > self.model.now);
            self.model.pass(due.unwrap_or(until).min(until));
            self.input(Input::Time).unwrap();
        }
    }

    fn input(&mut self, input: Input) -> Result<(), EngineError> {
        let outcome = self.engine.handle(self.model.now, input, &mut self.late);
        self.ordered
            .extend(self.late.0.iter().map(|(&cpu, &next)| (cpu, next)));
        outcome
    }

    /// One switch that was ordered happens, unless the vCPU is still elsewhere.
    fn switch(&mut self) {
        let pending: Vec<_> = self
            .late
            .0
            .iter()
            .map(|(&cpu, &next)| (cpu, next))
            .collect();
        if pending.is_empty() {
            return;
        }
        let (cpu, next) = pending[self.below(pending.len() as u64) as usize];
        let elsewhere = self
            .model
            .occupants
            .iter()
            .any(|(&on, &vcpu)| on != cpu && Some(vcpu) == next);
        let occupant = next.filter(|_| !elsewhere);
        if !elsewhere {
            self.late.0.remove(&cpu);
        }
        self.model.occupants.remove(&cpu);
        self.model
            .occupants
            .extend(occupant.map(|vcpu| (cpu, vcpu)));
        let grace_used_ns = 0;
        self.input(Input::Switched {
            cpu,
            occupant,
            grace_used_ns,
        })
        .unwrap();
    }

    fn arrive(&mut self) {
        let vcpus = 1 + self.below(3) as u32;
        let cap_percent = (self.below(3) == 0).then_some(20);
        let spec = VmSpec {
            cap_percent,
            ..VmSpec::new("vm", vcpus)
        };
        let now = self.model.now;
        let vm = self
            .engine
            .arrive(now, spec, |_| false, &mut self.late)
            .unwrap();
        if cap_percent.is_some() {
            let (budget, refill_at) = (CAP_PERIOD / 5, now + CAP_PERIOD);
            self.model.caps.insert(
                vm,
                Cap {
                    budget,
                    used: 0,
                    refill_at,
                },
            );
        }
        for vcpu in self.engine.view().vm(vm).vcpus() {
            let (halted, stopped) = (false, false);
            let (allowed, times) = (self.model.online, RunTimes::default());
            self.model.vcpus.insert(
                vcpu,
                Member {
                    vm,
                    allowed,
                    halted,
                    stopped,
                    times,
                },
            );
        }
    }

    fn leave(&mut self, vm: VmId) {
        self.input(Input::Leave(vm)).unwrap();
        let model = &mut self.model;
        let is_of = |vcpu: VcpuId| model.vcpus[&vcpu].vm == vm;
        let lent = |cpu: &CpuId| model.turns.get(cpu).is_some_and(|turn| is_of(turn.vcpu));
        model
            .loans
            .retain(|cpu, (to, _)| !lent(cpu) && !to.is_some_and(is_of));
        model.turns.retain(|_, turn| !is_of(turn.vcpu));
        model.occupants.retain(|_, vcpu| !is_of(*vcpu));
        self.late.0.retain(|_, next| !next.is_some_and(is_of));
        model.caps.remove(&vm);
        model.vcpus.retain(|_, member| member.vm != vm);
    }

    fn some_vcpu(&mut self) -> VcpuId {
        let vcpus: Vec<VcpuId> = self.model.vcpus.keys().copied().collect();
        vcpus[self.below(vcpus.len() as u64) as usize]
    }

    fn some_time(&mut self) -> Nanos {
        // Seldom too early or too late.
        self.model.now + self.below(6 * MS)
    }

    fn some_plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut cpus: Vec<CpuId> = (0..CPUS).map(CpuId).collect();
        let victim = self.some_vcpu();
        let gang: Vec<VcpuId> = self
            .engine
            .view()
            .vm(self.model.vcpus[&victim].vm)
            .vcpus()
            .collect();
        let levels = [Level::Slot, Level::Fair, Level::Backfill];
        let level = levels[self.below(3) as usize];
        if level == Level::Slot {
            for vcpu in gang {
                let until = (self.below(2) == 0).then(|| self.some_time());
                let index = self.below(cpus.len() as u64) as usize;
                plan.turn(cpus.remove(index), Turn { vcpu, until, level });
            }
        } else {
            for _ in 0..self.below(3) {
                let index = self.below(cpus.len() as u64) as usize;
                let (vcpu, until) = (self.some_vcpu(), None);
                let turn = (self.below(4) > 0).then_some(Turn { vcpu, until, level });
                match turn {
                    Some(turn) => plan.turn(cpus.remove(index), turn),
                    None => plan.idle(cpus.remove(index)),
                }
            }
        }
        let mut cpus: Vec<CpuId> = (0..CPUS).map(CpuId).collect();
        for _ in 0..self.below(3) {
            let index = self.below(cpus.len() as u64) as usize;
            let (cpu, vcpu, until) = (cpus.remove(index), self.some_vcpu(), self.some_time());
            match self.below(5) {
                0 => plan.extend(cpu, until),
                1 => plan.take_back(cpu),
                2 => plan.lend(cpu, None, until),
                _ => plan.lend(cpu, Some(vcpu), until),
            }
        }
        if self.below(4) == 0 {
            let stop = self.below(2) == 0;
            plan.co_stop(self.some_vcpu(), stop);
        }
        plan
    }

    fn plan(&mut self) {
        let plan = self.some_plan();
        let after = self.model.after(plan.changes());
        self.script.say(plan.clone());
        let vcpu = self.some_vcpu();
        let vm = self.model.vcpus[&vcpu].vm;
        let outcome = self.input(Input::Weight(vm, 256));
        assert_eq!(
            outcome.is_ok(),
            after.is_some(),
            "{plan:#?}\n{outcome:?}\n{:#?}",
            self.model
        );
        match after {
            Some(after) => self.model = after,
            None => self.refused += 1,
        }
    }

    fn strike(&mut self) {
        let vms = self.engine.view().vms().count() as u64;
        match self.below(20) {
            0 | 1 if vms < 5 => self.arrive(),
            _ if vms == 0 => self.arrive(),
            2 => {
                let vcpu = self.some_vcpu();
                let vm = self.model.vcpus[&vcpu].vm;
                self.leave(vm);
            }
            3..=7 => {
                let (vcpu, halted) = (self.some_vcpu(), self.below(3) == 0);
                self.model.vcpus.get_mut(&vcpu).unwrap().halted = halted;
                self.model.end_loans();
                let input = if halted {
                    Input::Halt(vcpu)
                } else {
                    Input::Wake(vcpu)
                };
                self.input(input).unwrap();
            }
            8..=11 => self.switch(),
            _ => self.plan(),
        }
    }

    fn judge(&self) {
        check(&self.engine);
        let (view, model) = (self.engine.view(), &self.model);
        for cpu in view.topology().cpus().iter() {
            let state = view.cpu(cpu);
            assert_eq!(state.turn, model.turns.get(&cpu).copied(), "{cpu}");
            let loan = state.loan.map(|loan| (loan.to, loan.until));
            assert_eq!(loan, model.loans.get(&cpu).copied(), "{cpu}");
            assert_eq!(state.occupant, model.occupants.get(&cpu).copied(), "{cpu}");
            let ordered = self.ordered.get(&cpu).copied().flatten();
            assert_eq!(
                ordered,
                model.wanted(cpu),
                "{cpu} was not ordered what it is to serve"
            );
        }
        assert_eq!(view.vcpus().count(), model.vcpus.len());
        for (vcpu, state) in view.vcpus() {
            assert_eq!(state.runnable(), model.runnable(vcpu), "{vcpu}");
            assert_eq!(self.engine.times(vcpu), model.vcpus[&vcpu].times, "{vcpu}");
        }
    }
}

#[test]
fn random_plans_do_what_a_model_says() {
    let (mut plans, mut refused) = (0, 0);
    for seed in 0..400 {
        let mut storm = Storm::new(seed);
        for _ in 0..150 {
            let pause = [0, US, MS, 10 * MS][storm.below(4) as usize];
            let until = storm.model.now + storm.below(1 + pause);
            storm.pass(until);
            storm.strike();
            storm.judge();
        }
        plans += 75;
        refused += storm.refused;
    }
    // Both kinds were there in numbers.
    assert!(
        refused > plans / 10 && refused < plans * 9 / 10,
        "{refused} of {plans}"
    );
}
