//! Runs in which everything happens, under every policy: nothing panics, nothing is lost, and the
//! same seed gives the same run.

use super::*;
use crate::registry;

const ROUGH: &str = r#"
    name = "rough"
    duration = "400ms"
    warm-up = "50ms"
    [host]
    topology = "nodes=2,cores=2,threads=2"
    steal = { every = "5ms", length = "200us" }
    [faults]
    late = 2
    lost = 2
    never-halt = 5
    offline-every = "50ms"
    [[offline]]
    cpu = 3
    at = "20ms"
    until = "200ms"
    [[swap]]
    at = "300ms"
    policy = "pinned:quantum=3ms"
    [[vm]]
    name = "barrier"
    vcpus = 4
    working-set = "512KiB"
    workload = { kind = "barrier", wait = "spin-then-halt", imbalance = 20 }
    [[vm]]
    name = "tas"
    vcpus = 3
    cap = 120
    workload = { kind = "lock", locks = 2, critical = "20us" }
    [[vm]]
    name = "ticket"
    vcpus = 3
    workload = { kind = "lock", lock = "ticket", wait = "spin-then-halt" }
    [[vm]]
    name = "mutex"
    vcpus = 3
    active = 2
    weight = 512
    workload = { kind = "lock", wait = "halt" }
    [[vm]]
    name = "queue"
    vcpus = 2
    hard-affinity = "1-3"
    cooperative = true
    workload = { kind = "lock", lock = "queue" }
    [[vm]]
    name = "pair"
    vcpus = 2
    workload = { kind = "request-reply", wait = "halt" }
    [[vm]]
    name = "timer"
    hard-affinity = "3"
    workload = { kind = "timer" }
    [[vm]]
    name = "shootdown"
    vcpus = 3
    arrive = "30ms"
    leave = "250ms"
    [vm.workload]
    kind = "phases"
    [[vm.workload.phase]]
    kind = "messages"
    to = "all"
    ops = 5
    [[vm.workload.phase]]
    kind = "barrier"
    [[vm.workload.phase]]
    kind = "io"
    [[vm.workload.phase]]
    kind = "timer"
    ops = 2
    [[vm]]
    name = "jobs"
    vcpus = 8
    work = "2ms"
    run-time = "known"
    cooperative = true
    arrivals = { every = "10ms", sizes = "harmonic", vary-work = true }
    workload = { kind = "barrier", grain = "500us" }
"#;

fn every_policy() -> Vec<String> {
    let names = registry::ENTRIES.iter().map(|entry| match entry.role {
        registry::Role::Base(_) => vec![entry.name.to_owned()],
        registry::Role::Layer(_) => vec![entry.name.to_owned(), format!("gang+{}", entry.name)],
    });
    names.flatten().collect()
}

#[test]
fn rough_runs_end_and_account_for_all_time() {
    let scenario = Scenario::parse(ROUGH).unwrap();
    for policy in every_policy() {
        for seed in 0..5 {
            let spec = policy.parse().unwrap();
            let recording = run(&scenario, &spec, seed, Keep::Spans)
                .unwrap_or_else(|error| panic!("{policy}: {error}"));
            let totals = run(&scenario, &spec, seed, Keep::Totals).unwrap();
            assert_eq!(recording.hash, totals.hash, "{policy} seed {seed}");
            assert_eq!(recording.vms, totals.vms, "{policy} seed {seed}");
            let end = scenario.total_ns();
            for vm in &recording.vms {
                let begin = vm.arrived_ns.max(scenario.warm_up_ns);
                let present = vm.left_ns.unwrap_or(end).saturating_sub(begin);
                for times in &vm.times {
                    assert_eq!(times.total(), present, "{policy} seed {seed} {}", vm.name);
                }
            }
            let worked = recording.vms.iter().filter(|vm| vm.ops > 0).count();
            assert!(worked > 5, "{policy} seed {seed}: {worked}");
        }
    }
}

#[test]
fn another_policy_sees_the_same_jobs() {
    let scenario = Scenario::parse(ROUGH).unwrap();
    let jobs = |policy: &str| {
        let recording = run(&scenario, &policy.parse().unwrap(), 3, Keep::Totals).unwrap();
        let jobs = recording.vms.into_iter();
        let jobs = jobs.filter(|vm| vm.name.starts_with("jobs-"));
        let jobs = jobs.map(|vm| (vm.name, vm.arrived_ns, vm.times.len()));
        jobs.collect::<Vec<_>>()
    };
    let (pinned, central) = (jobs("pinned"), jobs("central"));
    assert!(pinned.len() > 20, "{}", pinned.len());
    assert_eq!(pinned, central);
}

#[test]
fn seeds_differ() {
    let scenario = Scenario::parse(ROUGH).unwrap();
    let hash = |seed| {
        let recording = run(&scenario, &scenario.baseline, seed, Keep::Totals);
        recording.unwrap().hash
    };
    assert_ne!(hash(1), hash(2));
}

#[test]
fn vms_that_pile_up_end_the_run_with_a_reason() {
    let text = "name = \"test\"\nduration = \"1s\"\n[[vm]]\nvcpus = 1024\narrivals = { every = \"5ms\" }\n";
    let scenario = Scenario::parse(text).unwrap();
    let error = run(&scenario, &"pinned".parse().unwrap(), 1, Keep::Totals).unwrap_err();
    let error = error.to_string();
    let (at, why) = error.split_once(" ns: ").unwrap();
    assert!(at.starts_with("seed 1, at "), "{error}");
    let expected =
        "vm[0].arrivals: more than 65536 vCPUs would be there at once: expected VMs that";
    assert!(why.starts_with(expected), "{error}");
    // Those that leave make room.
    let text = text.replace("arrivals", "work = \"1us\"\narrivals");
    let scenario = Scenario::parse(&text).unwrap();
    run(&scenario, &"pinned".parse().unwrap(), 1, Keep::Totals).unwrap();
}
