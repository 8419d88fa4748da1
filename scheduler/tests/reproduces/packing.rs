//! Packing jobs that come and go.

use muster_scheduler::sim::record::Keep;

use crate::shipped::{record_for, scenario};

/// The part of all CPU time that is useful, the middle one of three seeds.
fn used(scenario_name: &str, policy: &str) -> f64 {
    let mut scenario = scenario(scenario_name);
    let mut used = [1, 2, 3].map(|seed| {
        scenario.seed = seed;
        let recording = record_for(&scenario, policy, Keep::Totals);
        let work: u64 = recording.vms.iter().map(|vm| vm.work_ns).sum();
        10_000 * work / (recording.duration_ns * u64::from(recording.cpus))
    });
    used.sort_unstable();
    used[1] as f64 / 10_000.0
}

/// The literature's matrix: a job keeps the cells that it was given, and runs in no others.
fn wasted_where_holes_stay(scenario: &str, packing: &str) -> f64 {
    1.0 - used(
        scenario,
        &format!("gang:packing={packing},rows=one,repack=no"),
    )
}

fn holes_that_stay_are_waste(scenario: &str) {
    let [first, best, buddy] =
        ["first", "best", "buddy"].map(|packing| wasted_where_holes_stay(scenario, packing));
    assert!((0.17..=0.4).contains(&first), "first-fit wastes {first}");
    assert!((0.21..=0.51).contains(&buddy), "buddies waste {buddy}");
    assert!(best < first && first < buddy, "{best} {first} {buddy}");
}

fn slots_are_packed_and_partitions_are_not(scenario: &str) {
    let wasted = 1.0 - used(scenario, "space");
    assert!((0.2..=0.37).contains(&wasted), "{wasted} wasted");
    let repacked = used(scenario, "gang:packing=first,rows=one");
    assert!(repacked >= 0.87, "repacking alone: {repacked}");
    for params in [
        "buddy,repack=no",
        "first",
        "best",
        "buddy",
        "buddy,backfill",
    ] {
        let used = used(scenario, &format!("gang:packing={params}"));
        assert!(used >= 0.9, "{params}: {used}");
    }
}

#[test]
fn many_narrow_jobs_are_packed() {
    slots_are_packed_and_partitions_are_not("packing-harmonic");
}

#[test]
fn jobs_of_all_sizes_are_packed() {
    slots_are_packed_and_partitions_are_not("packing-uniform");
}

#[test]
fn many_narrow_jobs_leave_holes_in_a_plain_matrix() {
    holes_that_stay_are_waste("packing-harmonic");
}

#[test]
fn jobs_of_all_sizes_leave_holes_in_a_plain_matrix() {
    holes_that_stay_are_waste("packing-uniform");
}
