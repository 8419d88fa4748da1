//! Packing jobs that come and go.

use muster_scheduler::sim::record::Keep;

use crate::shipped::record;

/// The part of all CPU time that is useful.
fn used(scenario: &str, policy: &str) -> f64 {
    let recording = record(scenario, policy, Keep::Totals);
    let work: u64 = recording.vms.iter().map(|vm| vm.work_ns).sum();
    work as f64 / recording.duration_ns as f64 / f64::from(recording.cpus)
}

fn slots_are_packed_and_partitions_are_not(scenario: &str) {
    let wasted = 1.0 - used(scenario, "space");
    assert!((0.2..=0.37).contains(&wasted), "{wasted} wasted");
    for packing in ["first", "best", "buddy", "buddy,backfill"] {
        let used = used(scenario, &format!("gang:packing={packing}"));
        assert!(used >= 0.9, "{packing}: {used}");
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
