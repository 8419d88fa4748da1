//! The law of k^(P-1): what a gang gains over independent CPUs.

use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::{Activity, Keep, Recording};
use muster_scheduler::sim::scenario::Workload;
use muster_scheduler::{MS, Nanos, SECOND, US};

use crate::shipped::{ops, record_for, scenario};

const APART: &str = "pinned:quantum=10ms,vary=100";

fn rate(scenario: &Scenario, policy: &str) -> f64 {
    let recording = record_for(scenario, policy, Keep::Totals);
    ops(&recording) as f64 / recording.duration_ns as f64
}

fn gain(scenario: &mut Scenario) -> f64 {
    let apart = rate(scenario, APART);
    // A gang's rate does not depend on chance: it need not be measured for as long.
    scenario.duration_ns = SECOND;
    rate(scenario, "gang:quantum=10ms") / apart
}

fn gain_is(expected: f64, vcpus: u32, tolerance: f64) {
    let gain = gain(&mut scenario(&format!("phases-{vcpus}")));
    assert!(
        (gain / expected - 1.0).abs() <= tolerance,
        "P = {vcpus}: a gang gains {gain}"
    );
}

#[test]
fn two_vcpus_gain_twice() {
    gain_is(2.0, 2, 0.1);
}

#[test]
fn four_vcpus_gain_eight_times() {
    gain_is(8.0, 4, 0.1);
}

#[test]
fn eight_vcpus_gain_128_times_but_for_barriers_that_need_no_chance() {
    gain_is(128.0, 8, 0.25);
}

/// The shorter the grain beside the turns, the less those barriers weigh; and the longer the run, the
/// less does luck.
#[test]
fn with_a_short_grain_eight_vcpus_gain_128_times_in_the_long_run() {
    let mut scenario = scenario("phases-8");
    for vm in &mut scenario.vms {
        let Workload::Barrier { grain_ns, .. } = &mut vm.workload else {
            panic!("no barrier");
        };
        *grain_ns = 2 * US;
    }
    scenario.duration_ns = 400 * SECOND;
    let gain = gain(&mut scenario);
    assert!((gain / 128.0 - 1.0).abs() <= 0.1, "{gain}");
}

/// How long all vCPUs of a VM had a CPU at the same time, over all VMs.
fn together_ns(recording: &Recording) -> Nanos {
    let mut sum = 0;
    for (vm, outcome) in recording.vms.iter().enumerate() {
        let mut edges: Vec<(Nanos, i32)> = Vec::new();
        for span in &recording.spans {
            let of_vm = span.vcpu.is_some_and(|vcpu| vcpu.vm as usize == vm);
            if of_vm && span.activity != Activity::Switch {
                edges.extend([(span.start_ns, 1), (span.end_ns, -1)]);
            }
        }
        edges.sort_unstable();
        let (mut on, mut since) = (0, 0);
        for (at, step) in edges {
            if on == outcome.times.len() as i32 {
                sum += at - since;
            }
            on += step;
            since = at;
        }
    }
    sum
}

#[test]
fn what_lacks_to_128_are_barriers_that_need_no_chance() {
    let scenario = scenario("phases-8");
    let recording = record_for(&scenario, APART, Keep::Spans);
    assert_eq!(recording.spans_lost, 0);
    let together = together_ns(&recording);
    // Gangs are together half of the time each, so all of it over both.
    let gain = recording.duration_ns as f64 / together as f64;
    assert!((gain / 128.0 - 1.0).abs() <= 0.1, "time together: {gain}");
    // One barrier may be open when the first vCPU leaves, and one is reached by each in its next turn.
    let beyond = ops(&recording) - together / (10 * US);
    let rounds = 2 * recording.duration_ns / (20 * MS);
    let per_round = beyond as f64 / rounds as f64;
    assert!((1.0..2.0).contains(&per_round), "{per_round} in a round");
}
