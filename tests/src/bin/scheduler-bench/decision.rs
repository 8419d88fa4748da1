//! What an engine's decision costs.
//!
//! vCPUs halt and wake at random, about as often as slices end, on a machine that carries out every
//! switch at once. All time that passes is the engine's and the policy's, and a little of this loop.

use std::time::{Duration, Instant};

use muster_scheduler::engine::Input;
use muster_scheduler::{
    Actuator, Engine, MS, Nanos, PolicySpec, Switch, Topology, US, VcpuId, VmId, VmSpec,
};

/// vCPUs of each VM.
const VM_VCPUS: u32 = 4;
/// Between two halts or wakes, divided by the number of vCPUs: each does one in this time.
const CHANGE_EVERY: Nanos = 4 * MS;
const MEASURE: Duration = Duration::from_millis(300);
const WARM_UP_CHANGES: u32 = 2_000;

pub struct Cost {
    pub ns_per_decision: f64,
    pub decisions: u64,
}

#[derive(Default)]
struct Orders(Vec<Switch>);

impl Actuator for Orders {
    fn switch(&mut self, _now: Nanos, switches: &[Switch]) {
        self.0.extend_from_slice(switches);
    }

    fn advise(&mut self, _now: Nanos, _vm: VmId, _cpus: u32) {}
}

struct Host {
    engine: Engine,
    orders: Orders,
    vcpus: u32,
    now: Nanos,
    random: u64,
}

pub fn measure(policy: &PolicySpec, cpus: usize, vcpus: u32) -> Cost {
    let topology = Topology::flat(cpus);
    let policy = policy.build(&topology);
    let mut host = Host {
        engine: Engine::new(topology, policy),
        orders: Orders::default(),
        vcpus,
        now: 0,
        random: 0x9e37_79b9_7f4a_7c15,
    };
    for number in 0..vcpus / VM_VCPUS {
        let vm = VmSpec::new(format!("vm{number}"), VM_VCPUS);
        let arrived = host.engine.arrive(0, vm, |_| false, &mut host.orders);
        arrived.expect("a plain VM is taken");
        host.obey();
    }
    for _ in 0..WARM_UP_CHANGES {
        host.change();
    }
    let (before, start) = (host.engine.decisions(), Instant::now());
    while start.elapsed() < MEASURE {
        for _ in 0..100 {
            host.change();
        }
    }
    let elapsed = start.elapsed();
    let decisions = host.engine.decisions() - before;
    Cost {
        ns_per_decision: elapsed.as_nanos() as f64 / decisions as f64,
        decisions,
    }
}

impl Host {
    /// Xorshift: quick, and good enough to pick a vCPU.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Lets time pass up to the next halt or wake of some vCPU, and does that.
    fn change(&mut self) {
        let gap = CHANGE_EVERY / Nanos::from(self.vcpus);
        let next = self.now + gap / 2 + self.random() % (gap + US);
        while let Some(at) = self.engine.next_deadline().filter(|&at| at <= next) {
            self.now = at;
            self.input(Input::Time);
        }
        self.now = next;
        let vcpu = VcpuId((self.random() % u64::from(self.vcpus)) as u32);
        let halted = self.engine.view().vcpu(vcpu).halted;
        self.input(if halted {
            Input::Wake(vcpu)
        } else {
            Input::Halt(vcpu)
        });
    }

    fn input(&mut self, input: Input) {
        let dealt_with = self.engine.handle(self.now, input, &mut self.orders);
        dealt_with.expect("shipped policies make legal plans");
        self.obey();
    }

    /// Carries out what was ordered: everybody leaves, then everybody starts.
    fn obey(&mut self) {
        while !self.orders.0.is_empty() {
            let switches = std::mem::take(&mut self.orders.0);
            for start in [false, true] {
                for switch in &switches {
                    let (cpu, now) = (switch.cpu, self.now);
                    let occupant = switch.next.map(|(vcpu, _)| vcpu).filter(|_| start);
                    let input = Input::Switched {
                        cpu,
                        occupant,
                        grace_used_ns: 0,
                    };
                    let reported = self.engine.handle(now, input, &mut self.orders);
                    reported.expect("reports are true");
                }
            }
        }
    }
}
