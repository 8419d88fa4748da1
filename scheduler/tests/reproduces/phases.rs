//! The law of k^(P-1): what a gang gains over independent CPUs.

use muster_scheduler::SECOND;
use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::Keep;

use crate::shipped::{ops, record_for, scenario};

fn rate(scenario: &Scenario, policy: &str) -> f64 {
    let recording = record_for(scenario, policy, Keep::Totals);
    ops(&recording) as f64 / recording.duration_ns as f64
}

fn gain_is(expected: f64, vcpus: u32) {
    let mut scenario = scenario(&format!("phases-{vcpus}"));
    let apart = rate(&scenario, "pinned:quantum=10ms,vary=100");
    // A gang's rate does not depend on chance: it need not be measured for as long.
    scenario.duration_ns = SECOND;
    let gang = rate(&scenario, "gang:quantum=10ms");
    let gain = gang / apart;
    assert!(
        (gain / expected - 1.0).abs() <= 0.25,
        "P = {vcpus}: a gang gains {gain}"
    );
}

#[test]
fn two_vcpus_gain_twice() {
    gain_is(2.0, 2);
}

#[test]
fn four_vcpus_gain_eight_times() {
    gain_is(8.0, 4);
}

#[test]
fn eight_vcpus_gain_128_times() {
    gain_is(128.0, 8);
}
