//! Shares of CPU time in proportion to weights.

use muster_scheduler::Runstate;
use muster_scheduler::sim::record::{Keep, Recording};
use muster_scheduler::sim::report::Report;

use crate::shipped::{record, vm};

/// CPUs that a VM had on average.
fn cpus(recording: &Recording, name: &str) -> f64 {
    let times = vm(recording, name).times.iter();
    let running: u64 = times.map(|times| times[Runstate::Running]).sum();
    running as f64 / recording.duration_ns as f64
}

/// The largest part by which a VM has more or less than its due, and Jain's index.
fn unfairness(scenario: &str, policy: &str, due: &[(&str, f64)]) -> (f64, f64) {
    let recording = record(scenario, policy, Keep::Totals);
    let errors = due
        .iter()
        .map(|&(name, due)| (cpus(&recording, name) / due - 1.0).abs());
    let error = errors.fold(0.0, f64::max);
    let report = Report::new(&[recording]);
    (error, report.policies[0].fairness.unwrap())
}

fn shares_are_fair(scenario: &str, due: &[(&str, f64)], policies: &[&str]) {
    for policy in ["central", "hybrid", "affinity"].iter().chain(policies) {
        let (error, jain) = unfairness(scenario, policy, due);
        assert!(error <= 0.02, "{policy}: {error} off");
        assert!(jain >= 0.98, "{policy}: {jain}");
    }
}

#[test]
fn equal_vms_have_equal_shares() {
    let others = ["linux", "linux:pin", "gang:shares=time", "gang"];
    shares_are_fair("fair-equal", &[("a", 2.0), ("b", 2.0)], &others);
}

#[test]
fn twice_the_weight_is_twice_the_share() {
    let due = [("heavy", 8.0 / 3.0), ("light", 4.0 / 3.0)];
    let others = ["linux", "linux:pin", "gang:shares=time", "gang"];
    shares_are_fair("fair-weights", &due, &others);
}

#[test]
fn a_halted_member_does_not_cost_its_siblings_their_share() {
    let due = [("a", 2.0), ("b", 2.0)];
    shares_are_fair("fair-halting", &due, &["linux"]);
    // A gang has its slots, and leaves some of their CPUs to nobody.
    let gang = record("fair-halting", "gang:shares=time", Keep::Totals);
    let [a, b] = ["a", "b"].map(|name| cpus(&gang, name));
    assert!((a / 1.5 - 1.0).abs() <= 0.02, "{a}");
    assert!((b / 2.0 - 1.0).abs() <= 0.02, "{b}");
}

#[test]
fn wide_and_narrow_vms_of_equal_weight_have_equal_shares() {
    let third = 4.0 / 3.0;
    let due = [("wide", third), ("narrow-0", third), ("narrow-1", third)];
    shares_are_fair("fair-widths", &due, &["gang:shares=time"]);
    // Where a weight counts for each vCPU, or slots are shared, the wide one has twice as much.
    for policy in ["linux", "gang"] {
        let (error, jain) = unfairness("fair-widths", policy, &due);
        assert!((error - 0.5).abs() <= 0.02, "{policy}: {error} off");
        assert!(jain < 0.9, "{policy}: {jain}");
    }
}
