//! What people write about scheduling: policies, topologies and scenario files.

use std::fmt::Display;
use std::str::{FromStr, from_utf8};

use muster_scheduler::cpu_set::CPUS_MAX;
use muster_scheduler::registry::ENTRIES;
use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::shipped::SHIPPED;
use muster_scheduler::topology::TopologySpec;
use muster_scheduler::{PolicySpec, Topology};

/// What a text means, if anything; else there must be one line that says why.
fn parsed<T: FromStr<Err: Display>>(bytes: &[u8]) -> Option<T> {
    accepted(from_utf8(bytes).ok()?.parse())
}

fn accepted<T>(result: Result<T, impl Display>) -> Option<T> {
    let error = result.map_err(|error| error.to_string());
    error.inspect_err(|error| one_line(error)).ok()
}

fn one_line(error: &str) {
    assert!(!error.trim().is_empty(), "refused without a word");
    assert!(!error.contains('\n'), "more than a line: {error:?}");
}

/// Parses the text of a policy. A policy can be made from what is accepted, and its name means the
/// same again.
pub fn run_policy(bytes: &[u8]) {
    let Some(spec) = parsed::<PolicySpec>(bytes) else {
        return;
    };
    assert!(spec.quantum() != Some(0), "{spec}");
    let again: PolicySpec = spec.to_string().parse().expect("it was accepted before");
    assert_eq!(again.to_string(), spec.to_string());
    let policy = spec.build(&Topology::flat(3));
    assert!(!policy.name().is_empty());
}

/// Parses the text of a topology. A host of it has as many CPUs as it says, within bounds.
pub fn run_topology(bytes: &[u8]) {
    let Some(spec) = parsed::<TopologySpec>(bytes) else {
        return;
    };
    let Some(host) = accepted(spec.build()) else {
        return;
    };
    let cpus = spec.nodes * spec.llcs * spec.cores * spec.threads;
    assert_eq!(host.cpu_count(), cpus);
    assert!((1..=CPUS_MAX).contains(&cpus), "{cpus} CPUs");
    assert_eq!(host.nodes().len(), spec.nodes);
    assert_eq!(host.cores().len() * spec.threads, cpus);
}

/// Parses a scenario file. The engine would take each VM of what is accepted, and its times can be
/// added up.
pub fn run_scenario(bytes: &[u8]) {
    let Some(text) = from_utf8(bytes).ok() else {
        return;
    };
    let Some(scenario) = accepted(Scenario::parse(text)) else {
        return;
    };
    assert!(scenario.duration_ns > 0 && scenario.total_ns() >= scenario.duration_ns);
    assert!(!scenario.policies.is_empty() && !scenario.vms.is_empty());
    for vm in &scenario.vms {
        vm.spec
            .check(&scenario.topology.cpus())
            .expect("the scenario was accepted");
        assert!((1..=vm.spec.vcpus).contains(&vm.active), "{vm:?}");
    }
}

/// Every policy with all that can be set, and every layer around another policy.
pub fn policy_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for entry in ENTRIES {
        let params = entry.params.iter();
        let params = params.map(|param| format!("{}={}", param.name, param.kind.default_text()));
        let params = params.collect::<Vec<_>>().join(",");
        let separator = if params.is_empty() { "" } else { ":" };
        let alone = format!("{}{separator}{params}", entry.name);
        seeds.push(alone.clone().into_bytes());
        seeds.push(format!("pinned:quantum=3ms+{alone}").into_bytes());
    }
    seeds
}

/// Hosts of several forms.
pub fn topology_seeds() -> Vec<Vec<u8>> {
    [
        "1",
        "1024",
        "nodes=2,llcs=2,cores=8,threads=2",
        "threads=2,cores=3",
        " llcs = 4 ",
        "cores=1025",
        "nodes=4294967296,llcs=4294967296",
        "sockets=2",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A scenario with all that there is, and those that come with muster.
pub fn scenario_seeds() -> Vec<Vec<u8>> {
    let shipped = SHIPPED.iter().map(|shipped| shipped.text);
    let all = std::iter::once(EVERYTHING).chain(shipped);
    all.map(|text| text.as_bytes().to_vec()).collect()
}

const EVERYTHING: &str = r#"
name = "everything"
about = "a bit of all"
duration = "2s"
warm-up = "100ms"
seed = 7
baseline = "pinned:quantum=4ms"
policies = ["pinned", "pinned:quantum=20ms"]
[host]
topology = "llcs=2,cores=2,threads=2"
costs = { actuation = "1us", jitter = "2us", switch = "3us", ipi = "4us", smt = 70 }
steal = { every = "50ms", length = "2ms" }
[[vm]]
name = "jobs"
vcpus = 4
weight = 512
cap = 150
hard-affinity = "0-5"
soft-affinity = "0-1"
arrive = "1ms"
leave = "1s"
work = "10ms"
run-time = "known"
working-set = "256KiB"
cooperative = true
arrivals = { every = "20ms", sizes = "harmonic", vary-work = true }
workload = { kind = "barrier", grain = "1ms", imbalance = 10, wait = "spin-then-halt" }
[[vm]]
count = 3
vcpus = 2
[vm.workload]
kind = "phases"
[[vm.workload.phase]]
ops = 3
kind = "lock"
lock = "ticket"
[[vm.workload.phase]]
kind = "messages"
to = "all"
[faults]
late = 1
lost = 3
never-halt = 5
offline-every = "6ms"
[[swap]]
at = "500ms"
policy = "pinned"
[[offline]]
cpu = 7
at = "1ms"
until = "2ms"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_reach_deep() {
        let policies = policy_seeds();
        let accepted = policies
            .iter()
            .filter(|seed| parsed::<PolicySpec>(seed).is_some());
        // A base alone, or a layer alone and around another.
        assert!(accepted.count() >= ENTRIES.len());
        let hosts = topology_seeds();
        let hosts = hosts.iter().map(|seed| {
            let spec = parsed::<TopologySpec>(seed);
            spec.is_some_and(|spec| spec.build().is_ok())
        });
        let accepted: Vec<bool> = hosts.collect();
        assert_eq!(
            accepted,
            [true, true, true, true, true, false, false, false]
        );
        for seed in scenario_seeds() {
            Scenario::parse(from_utf8(&seed).unwrap()).unwrap();
        }
    }
}
