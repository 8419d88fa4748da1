use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Nanos, VmId, VmSpec};

/// The policies whose queues these tests strain.
const QUEUEING: [&str; 4] = ["affinity", "balance", "central", "hybrid"];

/// A host to which everything happens that can.
struct Storm {
    host: Host,
    rng: Xoshiro256PlusPlus,
    cpus: usize,
    vms: Vec<VmId>,
}

impl Storm {
    fn new(policy: &str, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let cpus = 1 + rng.next_u64() as usize % 6;
        let host = Host::new(cpus, policy);
        Self {
            host,
            rng,
            cpus,
            vms: Vec::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn some_cpus(&mut self) -> CpuSet {
        if self.below(2) == 0 {
            return CpuSet::ALL;
        }
        let cpus = (0..self.cpus as u16).map(CpuId);
        cpus.filter(|_| self.rng.next_u64().is_multiple_of(2))
            .collect()
    }

    fn arrive(&mut self) {
        let spec = VmSpec {
            weight: 1 + self.below(1000) as u32,
            cap_percent: (self.below(4) == 0).then_some(70),
            hard_affinity: self.some_cpus(),
            soft_affinity: self.some_cpus(),
            ..VmSpec::new("vm", 1 + self.below(5) as u32)
        };
        if spec.check(self.host.engine.view().online()).is_ok() {
            let vm = self.host.arrive_as(spec);
            self.vms.push(vm);
        }
    }

    fn with_a_vm(&mut self) {
        if self.vms.is_empty() {
            return;
        }
        let index = self.below(self.vms.len() as u64) as usize;
        let vm = self.vms[index];
        let count = self.host.engine.view().vm(vm).spec.vcpus;
        let number = self.below(count.into()) as u32;
        let vcpu = self.host.vcpu(vm, number);
        match self.below(8) {
            0 => {
                self.vms.swap_remove(index);
                self.host.leave(vm);
            }
            1 => {
                let cpus = self.some_cpus();
                if !(cpus & *self.host.engine.view().online()).is_empty() {
                    self.host.input(Input::HardAffinity(vcpu, cpus));
                }
            }
            2 => {
                let weight = 1 + self.below(1000) as u32;
                self.host.input(Input::Weight(vm, weight));
            }
            3..6 => self.host.wake(vcpu),
            _ => self.host.halt(vcpu),
        }
    }

    fn step(&mut self) {
        // Often at the very moment when slices end.
        let pause = [0, MS, 10 * MS, 10 * MS][self.below(4) as usize];
        let odd: Nanos = if self.below(4) == 0 {
            self.below(MS)
        } else {
            0
        };
        let until = self.host.now + pause + odd;
        while let Some(at) = self.host.engine.next_deadline().filter(|&at| at < until) {
            self.host.run_until(at);
        }
        self.host.now = until;
        match self.below(10) {
            0 | 1 => self.arrive(),
            2 => {
                let cpu = CpuId(self.below(self.cpus as u64) as u16);
                let online = self.host.engine.view().online();
                if !online.contains(cpu) {
                    self.host.input(Input::Online(cpu));
                } else if online.len() > 1 {
                    self.host.input(Input::Offline(cpu));
                }
            }
            _ => self.with_a_vm(),
        }
    }

    /// A CPU without work and a vCPU without a CPU that could have it.
    fn waste(&self) -> Option<String> {
        let view = self.host.engine.view();
        let idle: CpuSet = view
            .online()
            .iter()
            .filter(|&cpu| {
                let turn = view.cpu(cpu).turn;
                turn.is_none_or(|turn| !view.vcpu(turn.vcpu).runnable())
            })
            .collect();
        let mut ready = view
            .vcpus()
            .filter(|(_, state)| state.runnable() && state.turn.is_none());
        let waits = ready.find(|(_, state)| !(state.allowed & idle).is_empty());
        waits.map(|(vcpu, _)| format!("{vcpu} waits while {idle} idle"))
    }
}

#[test]
fn nothing_that_happens_leaves_a_cpu_idle_beside_a_ready_vcpu() {
    for policy in ["affinity", "central", "hybrid"] {
        for seed in 0..300 {
            let mut storm = Storm::new(policy, seed);
            for step in 0..150 {
                storm.step();
                let waste = storm.waste();
                assert_eq!(waste, None, "{policy}, seed {seed}, step {step}");
            }
        }
    }
}

#[test]
fn policies_follow_each_other_in_a_storm_and_nobody_is_forgotten() {
    for seed in 0..300 {
        let mut storm = Storm::new(QUEUEING[seed as usize % 4], seed);
        for _ in 0..5 {
            for _ in 0..30 {
                storm.step();
            }
            let policy = QUEUEING[storm.below(4) as usize];
            storm.host.set_policy(policy);
        }
        // Then all want to run, and everything stays as it is.
        for cpu in 0..storm.cpus as u16 {
            storm.host.input(Input::Online(CpuId(cpu)));
        }
        for vm in storm.vms.clone() {
            storm.host.input(Input::Cap(vm, None));
            storm.host.input(Input::Weight(vm, 256));
            for vcpu in storm.host.engine.view().vm(vm).vcpus() {
                storm.host.wake(vcpu);
            }
        }
        let times = |host: &Host| -> Vec<Nanos> {
            let vcpus = host.engine.view().vcpus();
            vcpus.map(|(_, state)| state.running_ns(host.now)).collect()
        };
        storm.host.run_until(storm.host.now + 2_000 * MS);
        let before = times(&storm.host);
        storm.host.run_until(storm.host.now + 8_000 * MS);
        let after = times(&storm.host);
        let policy = storm.host.engine.policy().name();
        for (vcpu, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!(
                after > before,
                "{policy}, seed {seed}: vcpu{vcpu} has got nothing"
            );
        }
    }
}

#[test]
fn layers_show_the_tables_of_what_they_wrap() {
    let describe = |policy: &str| {
        let mut host = Host::new(2, policy);
        host.arrive(2);
        host.engine.policy().describe(host.engine.view())
    };
    let matrix = describe("gang");
    assert!(!matrix.is_empty());
    for layers in ["gang+relaxed", "gang+smart", "gang+smart+relaxed"] {
        assert!(describe(layers).starts_with(&matrix), "{layers}");
    }
}
