//! What a policy promises as it stands, with the VMs and CPUs that it has at present.
//!
//! Problem: what is promised may depend on the VMs, so that a policy can be asked only once it has them.
//!
//! Approach: an engine of its own is brought to where a run was, on a machine that does nothing.

use muster_scheduler::engine::Input;
use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::{MarkKind, Recording};
use muster_scheduler::{
    Actuator, Claims, Engine, Nanos, PolicySpec, Switch, Topology, VmId, VmSpec,
};

use crate::facts::Reign;

/// Nothing needs to be carried out to know what is promised.
struct Nobody;

impl Actuator for Nobody {
    fn switch(&mut self, _now: Nanos, _switches: &[Switch]) {}

    fn advise(&mut self, _now: Nanos, _vm: VmId, _cpus: u32) {}
}

/// What a policy promises to these VMs.
pub fn to<'a>(
    vms: impl Iterator<Item = &'a VmSpec>,
    policy: &PolicySpec,
    topology: &Topology,
) -> Claims {
    let mut engine = Engine::new(topology.clone(), policy.build(topology));
    for vm in vms {
        arrive(&mut engine, 0, vm);
    }
    engine.policy().claims()
}

/// What was promised from when on in a run: anew whenever VMs, CPUs or the policy have changed.
pub fn over(scenario: &Scenario, policy: &PolicySpec, recording: &Recording) -> Vec<Reign> {
    let topology = &scenario.topology;
    let mut engine = Engine::new(topology.clone(), policy.build(topology));
    let mut swaps = scenario.swaps.clone();
    swaps.sort_by_key(|swap| swap.at_ns);
    let mut swaps = swaps.iter();
    let mut vms: Vec<VmId> = Vec::new();
    let claims = engine.policy().claims();
    let mut reigns = vec![Reign { from: 0, claims }];
    for mark in &recording.marks {
        let now = mark.at_ns;
        let input = match mark.kind {
            MarkKind::Arrive { vm } => {
                vms.push(arrive(&mut engine, now, spec(scenario, recording, vm)));
                Input::Time
            }
            MarkKind::Leave { vm } => Input::Leave(vms[vm as usize]),
            MarkKind::Online(cpu, true) => Input::Online(cpu),
            MarkKind::Online(cpu, false) => Input::Offline(cpu),
            MarkKind::PolicyChange => {
                let next = swaps.next().expect("a change that was asked for");
                let changed = engine.set_policy(now, next.policy.build(topology), &mut Nobody);
                changed.expect("a policy that takes over");
                Input::Time
            }
            _ => continue,
        };
        let told = engine.handle(now, input, &mut Nobody);
        told.expect("a policy that goes on");
        let claims = engine.policy().claims();
        reigns.push(Reign { from: now, claims });
    }
    reigns
}

/// What was asked for a VM of a run.
pub fn spec<'a>(scenario: &'a Scenario, recording: &Recording, vm: u32) -> &'a VmSpec {
    let name = &recording.vms[vm as usize].name;
    let mut groups = scenario.vms.iter();
    let group = groups.find(|group| name.starts_with(&group.spec.name));
    &group.expect("a VM of the scenario").spec
}

fn arrive(engine: &mut Engine, now: Nanos, spec: &VmSpec) -> VmId {
    let arrived = engine.arrive(now, spec.clone(), |_| false, &mut Nobody);
    arrived.expect("a VM that was taken")
}
