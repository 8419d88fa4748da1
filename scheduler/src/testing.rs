//! A host for unit tests of policies: every switch happens at once and costs nothing.

use crate::engine::{EngineError, Input};
use crate::{
    Actuator, CpuId, Engine, Nanos, Policy, PolicySpec, Switch, Topology, VcpuId, VmId, VmSpec,
};

/// An engine, and a machine that obeys it at once.
#[derive(Debug)]
pub struct Host {
    pub engine: Engine,
    pub now: Nanos,
    pub advice: Vec<(VmId, u32)>,
    /// Every switch so far.
    pub switches: Vec<Switch>,
    /// What the next vCPU that leaves a CPU says of its grace.
    pub grace_used_ns: Nanos,
    /// It obeys no more.
    pub stands_still: bool,
    orders: Orders,
}

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

impl Host {
    /// `cpus` CPUs around one cache, with the policy that `spec` names.
    pub fn new(cpus: usize, spec: &str) -> Self {
        let topology = Topology::flat(cpus);
        let policy = spec.parse::<PolicySpec>().unwrap().build(&topology);
        Self::with(topology, policy)
    }

    pub fn with(topology: Topology, policy: Box<dyn Policy>) -> Self {
        Self {
            engine: Engine::new(topology, policy),
            now: 0,
            advice: Vec::new(),
            switches: Vec::new(),
            grace_used_ns: 0,
            stands_still: false,
            orders: Orders::default(),
        }
    }

    /// A VM whose vCPUs are all ready.
    /// A VM that is called by a letter, in the order of the alphabet.
    pub fn arrive(&mut self, vcpus: u32) -> VmId {
        let (VmId(number), _) = self.engine.next_ids(vcpus);
        let name = char::from(b'A' + (number % 26) as u8);
        self.arrive_as(VmSpec::new(name, vcpus))
    }

    pub fn arrive_as(&mut self, spec: VmSpec) -> VmId {
        let vm = self
            .engine
            .arrive(self.now, spec, |_| false, &mut self.orders);
        self.obey();
        vm.unwrap()
    }

    pub fn input(&mut self, input: Input) {
        self.try_input(input).unwrap();
    }

    pub fn try_input(&mut self, input: Input) -> Result<(), EngineError> {
        let outcome = self.engine.handle(self.now, input, &mut self.orders);
        self.obey();
        outcome
    }

    pub fn leave(&mut self, vm: VmId) {
        self.input(Input::Leave(vm));
    }

    pub fn wake(&mut self, vcpu: VcpuId) {
        self.input(Input::Wake(vcpu));
    }

    pub fn halt(&mut self, vcpu: VcpuId) {
        self.input(Input::Halt(vcpu));
    }

    pub fn set_policy(&mut self, spec: &str) {
        let policy = spec.parse::<PolicySpec>().unwrap();
        self.set_policy_to(policy.build(self.engine.view().topology()));
    }

    pub fn set_policy_to(&mut self, policy: Box<dyn Policy>) {
        self.engine
            .set_policy(self.now, policy, &mut self.orders)
            .unwrap();
        self.obey();
    }

    /// Lets time pass until `until`, deadline by deadline.
    pub fn run_until(&mut self, until: Nanos) {
        while let Some(at) = self.engine.next_deadline().filter(|&at| at <= until) {
            self.now = at;
            self.input(Input::Time);
        }
        self.now = until;
        self.input(Input::Time);
    }

    /// Carries out what was ordered: first everybody leaves, then everybody starts.
    fn obey(&mut self) {
        while !self.stands_still && !self.orders.switches.is_empty() {
            let switches = std::mem::take(&mut self.orders.switches);
            self.switches.extend_from_slice(&switches);
            for next in [false, true] {
                for switch in &switches {
                    let occupant = switch.next.map(|(vcpu, _)| vcpu).filter(|_| next);
                    let cpu = switch.cpu;
                    if next || self.engine.view().cpu(cpu).occupant.is_some() {
                        let input = Input::Switched {
                            cpu,
                            occupant,
                            grace_used_ns: if next {
                                0
                            } else {
                                std::mem::take(&mut self.grace_used_ns)
                            },
                        };
                        self.engine
                            .handle(self.now, input, &mut self.orders)
                            .unwrap();
                    }
                }
            }
        }
        self.advice.append(&mut self.orders.advice);
    }

    /// What is on each CPU: the VM's number and the vCPU's number within it.
    pub fn on_cpus(&self) -> Vec<Option<(u32, u32)>> {
        let view = self.engine.view();
        let cpus = view.topology().cpus();
        let occupants = cpus.iter().map(|cpu| view.cpu(cpu).occupant);
        let named = occupants
            .map(|occupant| occupant.map(|vcpu| (view.vcpu(vcpu).vm.0, view.vcpu(vcpu).index)));
        named.collect()
    }

    /// A VM's vCPU.
    pub fn vcpu(&self, vm: VmId, index: u32) -> VcpuId {
        VcpuId(self.engine.view().vm(vm).first.0 + index)
    }

    /// The CPU that a vCPU is on.
    pub fn cpu_of(&self, vm: VmId, index: u32) -> Option<CpuId> {
        self.engine.view().vcpu(self.vcpu(vm, index)).on_cpu
    }

    /// The CPU time that a VM has had.
    pub fn running_ns(&self, vm: VmId) -> Nanos {
        let view = self.engine.view();
        let vcpus = view.vm(vm).vcpus();
        vcpus.map(|vcpu| view.vcpu(vcpu).running_ns(self.now)).sum()
    }
}
