//! A storm of inputs on the bare engine.
//!
//! Problem: a simulated guest does sensible things. Users change weights, caps and affinities while
//! CPUs go and come, and a host reports whatever it likes, in any order.
//!
//! Approach: random inputs at random times, on a machine that does nothing but carry out switches
//! late. After each input the machine is held to its orders; whenever all orders are carried out,
//! what a policy promises of the moment is looked at.

mod machine;
mod moment;

use std::collections::BTreeMap;

use muster_scheduler::engine::{EngineError, Input};
use muster_scheduler::policy::Load;
use muster_scheduler::view::LockState;
use muster_scheduler::vm::WEIGHT_DEFAULT;
use muster_scheduler::{
    CpuId, CpuSet, Engine, MS, Nanos, Policy, PolicySpec, SECOND, Topology, US, VcpuId, VmId,
    VmSpec,
};

use crate::draw::Draw;
use crate::generator;
use machine::Machine;

/// Most VMs at a time.
const VMS_MAX: usize = 8;

/// The longest calm that is waited for.
const CALM_MAX: Nanos = 60 * SECOND;

/// See the module's head.
#[derive(Debug)]
struct Storm {
    draw: Draw,
    engine: Engine,
    machine: Machine,
    now: Nanos,
    policy: String,
    /// Whether it is looked at afterwards that nobody was forgotten.
    ends_calm: bool,
    /// What has happened so far, for people.
    log: Vec<String>,
}

/// Runs the storm of a seed. The error is what went wrong, after what.
pub fn run(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let cpus = draw.scale(1, 16) as usize;
    let slowest = draw.scale(1, 300 * US);
    let topology = Topology::flat(cpus);
    let (policy, built) = draw_policy(&mut draw, &topology);
    let mut storm = Storm {
        engine: Engine::new(topology, built),
        machine: Machine {
            pending: vec![None; cpus],
            occupants: vec![None; cpus],
            draw: Draw::new(!seed),
            slowest,
        },
        now: 0,
        log: vec![format!("{cpus} CPUs, {policy}")],
        policy,
        ends_calm: seed.is_multiple_of(16),
        draw,
    };
    let blown = storm.blow(300).and_then(|()| storm.calm());
    blown.map_err(|wrong| {
        let tail = storm.log.len().saturating_sub(30);
        let last = storm.log[tail..].join("\n");
        format!(
            "{wrong}\nat {} ns under {}, after\n{}\n{last}",
            storm.now, storm.policy, storm.log[0]
        )
    })
}

fn draw_policy(draw: &mut Draw, topology: &Topology) -> (String, Box<dyn Policy>) {
    let text = generator::policy(draw);
    let spec: PolicySpec = text.parse().expect("a policy that was drawn");
    let built = spec.build(topology);
    (text, built)
}

impl Storm {
    fn blow(&mut self, inputs: u32) -> Result<(), String> {
        for _ in 0..inputs {
            let pause = self.draw.scale(1, 20 * MS);
            self.pass(self.now + pause)?;
            let outcome = self.strike();
            self.judge(outcome)?;
        }
        self.pass(self.now + 200 * MS)
    }

    /// Afterwards nobody has been forgotten: whoever is ready runs within twice the time that is
    /// promised for hosts without affinities. Some seeds only, for that may be long.
    fn calm(&mut self) -> Result<(), String> {
        if !self.ends_calm {
            return Ok(());
        }
        let cpus = self.machine.pending.len();
        for cpu in (0..cpus).map(|cpu| CpuId(cpu as u16)) {
            let outcome = self
                .engine
                .handle(self.now, Input::Online(cpu), &mut self.machine);
            self.judge(outcome)?;
        }
        let Some(longest) = self.engine.policy().claims().ready_max_ns else {
            return Ok(());
        };
        let before: Vec<(VcpuId, Nanos)> = self.running();
        // Affinities may leave all the same CPU.
        let vms = self.engine.view().vms();
        let vms = vms.map(|(_, vm)| (u64::from(vm.spec.vcpus), u64::from(vm.spec.weight)));
        let Some(load) = Load::new(1, &vms.collect::<Vec<_>>()) else {
            return Ok(());
        };
        let time = longest(&load).saturating_mul(2);
        if time > CALM_MAX {
            return Ok(());
        }
        self.pass(self.now + time)?;
        let after: BTreeMap<VcpuId, Nanos> = self.running().into_iter().collect();
        let starved = before.iter().find(|(vcpu, ran)| {
            let view = self.engine.view().vcpu(*vcpu);
            let capped = self.engine.view().vm(view.vm).spec.cap_percent.is_some();
            view.runnable() && !capped && after[vcpu] == *ran
        });
        match starved {
            Some((vcpu, _)) => Err(format!("{vcpu} is forgotten, promised for {load:?}")),
            None => Ok(()),
        }
    }

    /// How long each vCPU has run.
    fn running(&self) -> Vec<(VcpuId, Nanos)> {
        let vcpus = self.engine.view().vcpus();
        vcpus
            .map(|(id, vcpu)| (id, vcpu.running_ns(self.now)))
            .collect()
    }

    /// Lets time pass: deadlines and switches.
    fn pass(&mut self, until: Nanos) -> Result<(), String> {
        loop {
            let deadline = self.engine.next_deadline();
            let switch = self.machine.pending.iter().flatten().map(|&(at, _)| at);
            let next = deadline.into_iter().chain(switch).min();
            let Some(at) = next.filter(|&at| at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                let outcome = self.engine.handle(self.now, Input::Time, &mut self.machine);
                self.judge(outcome)?;
            }
            self.carry_out()?;
        }
        self.now = until;
        Ok(())
    }

    /// Carries out a switch that is due: the old vCPU leaves, and the new one starts once it is off
    /// every other CPU.
    fn carry_out(&mut self) -> Result<(), String> {
        let due = |pending: &Option<(Nanos, Option<VcpuId>)>| {
            pending.is_some_and(|(at, _)| at <= self.now)
        };
        let Some(index) = self.machine.pending.iter().position(due) else {
            return Ok(());
        };
        let (_, next) = self.machine.pending[index].expect("it is due");
        let present = self.machine.occupants[index];
        if present == next {
            self.machine.pending[index] = None;
            return Ok(());
        }
        if present.is_some() {
            return self.report(index, None);
        }
        let elsewhere = self.machine.occupants.contains(&next);
        if next.is_some() && elsewhere {
            self.machine.pending[index] = Some((self.now + US, next));
            return Ok(());
        }
        self.machine.pending[index] = None;
        self.report(index, next)
    }

    fn report(&mut self, index: usize, occupant: Option<VcpuId>) -> Result<(), String> {
        self.machine.occupants[index] = occupant;
        let input = Input::Switched {
            cpu: CpuId(index as u16),
            occupant,
            grace_used_ns: 0,
        };
        let outcome = self.engine.handle(self.now, input, &mut self.machine);
        self.judge(outcome)
    }

    /// Something happens.
    fn strike(&mut self) -> Result<(), EngineError> {
        let vms: Vec<VmId> = self.engine.view().vms().map(|(vm, _)| vm).collect();
        let vcpus: Vec<VcpuId> = self.engine.view().vcpus().map(|(vcpu, _)| vcpu).collect();
        let some_vm = self.draw.between(0, vms.len().max(1) as u64 - 1) as usize;
        let some_vcpu = self.draw.between(0, vcpus.len().max(1) as u64 - 1) as usize;
        let cpu = CpuId(self.draw.between(0, self.machine.pending.len() as u64 - 1) as u16);
        let kind = self.draw.between(0, 99);
        if vms.is_empty() || (kind < 10 && vms.len() < VMS_MAX) {
            return self.arrive();
        }
        let (vm, vcpu) = (vms[some_vm], vcpus[some_vcpu]);
        let input = match kind {
            0..15 => Input::Leave(vm),
            15..45 => Input::Halt(vcpu),
            45..75 => Input::Wake(vcpu),
            75..80 => Input::Online(cpu),
            80..84 => Input::Offline(cpu),
            84..87 => Input::Weight(vm, self.weight()),
            87..89 => Input::Cap(vm, self.draw.chance(50).then_some(30)),
            89..93 => Input::HardAffinity(vcpu, self.some_cpus()),
            93..97 => Input::Lock {
                vcpu,
                state: self.some_lock_state(),
            },
            _ => return self.change_policy(),
        };
        if let Input::Leave(vm) = input {
            self.evict(vm);
        }
        self.log.push(format!("{} {input:?}", self.now));
        self.engine.handle(self.now, input, &mut self.machine)
    }

    fn arrive(&mut self) -> Result<(), EngineError> {
        let widest = self.machine.pending.len() as u64 * 3 / 2 + 1;
        let mut spec = VmSpec::new("vm", self.draw.scale(1, widest) as u32);
        spec.weight = self.weight();
        if self.draw.chance(20) {
            spec.hard_affinity = self.some_cpus();
        }
        if self.draw.chance(20) {
            spec.soft_affinity = self.some_cpus();
        }
        if self.draw.chance(10) {
            spec.cap_percent = Some(self.draw.between(1, 200) as u32);
        }
        let halted = self.draw.chance(30);
        self.log.push(format!("{} arrive {spec:?}", self.now));
        let halted = |index: u32| halted && index > 0;
        let arrived = self
            .engine
            .arrive(self.now, spec, halted, &mut self.machine);
        match arrived {
            // Its CPUs are offline at present.
            Err(EngineError::Vm(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// A VM that goes is on no CPU any more; the engine knows by itself.
    fn evict(&mut self, vm: VmId) {
        let view = self.engine.view();
        for occupant in &mut self.machine.occupants {
            let is_of = |vcpu: &VcpuId| view.vcpu(*vcpu).vm == vm;
            if occupant.as_ref().is_some_and(is_of) {
                *occupant = None;
            }
        }
    }

    fn change_policy(&mut self) -> Result<(), EngineError> {
        let topology = self.engine.view().topology().clone();
        let (text, built) = draw_policy(&mut self.draw, &topology);
        self.log.push(format!("{} swap {text}", self.now));
        self.policy = text;
        self.engine.set_policy(self.now, built, &mut self.machine)
    }

    /// All are equal where nobody may starve afterwards: a debt from times of little weight is paid
    /// for long.
    fn weight(&mut self) -> u32 {
        let weight = self.draw.scale(1, 10_000) as u32;
        if self.ends_calm {
            WEIGHT_DEFAULT
        } else {
            weight
        }
    }

    fn some_cpus(&mut self) -> CpuSet {
        let cpus = self.machine.pending.len() as u64;
        let count = self.draw.between(1, cpus);
        let draws = (0..count).map(|_| CpuId(self.draw.between(0, cpus - 1) as u16));
        draws.collect()
    }

    fn some_lock_state(&mut self) -> LockState {
        match self.draw.between(0, 2) {
            0 => LockState::Free,
            1 => LockState::Waiting,
            _ => LockState::Holding { since: self.now },
        }
    }

    /// Looks at what an input has led to.
    fn judge(&self, outcome: Result<(), EngineError>) -> Result<(), String> {
        match outcome {
            // An affinity without a CPU that is online is refused, as it should be.
            Ok(()) | Err(EngineError::Vm(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        let view = self.engine.view();
        if self.machine.pending.iter().any(Option::is_some) {
            return Ok(());
        }
        moment::check_occupants(view, &self.machine.occupants)?;
        let claims = self.engine.policy().claims();
        if claims.work_conserving {
            moment::check_conservation(view)?;
        }
        if claims.gangs {
            moment::check_gangs(view)?;
        }
        Ok(())
    }
}
