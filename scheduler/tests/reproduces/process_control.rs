//! Programs that use as many CPUs as they are told: no worse than gangs, far better than timesharing.

use muster_scheduler::sim::record::{Keep, Recording};
use muster_scheduler::{MS, SECOND};

use crate::shipped::{occupants, ops, record, record_for, scenario};

/// The part of all CPU time that is useful.
fn useful(recording: &Recording) -> f64 {
    let work: u64 = recording.vms.iter().map(|vm| vm.work_ns).sum();
    work as f64 / recording.duration_ns as f64 / f64::from(recording.cpus)
}

fn jobs(wait: &str, policy: &str) -> f64 {
    useful(&record(
        &format!("parallel-jobs-{wait}"),
        policy,
        Keep::Totals,
    ))
}

#[test]
fn parallel_jobs_use_the_host_as_has_been_found() {
    let spinning = jobs("spin", "central:quantum=30ms");
    let blocking = jobs("halt", "central:quantum=30ms");
    let gang = jobs("spin", "gang:quantum=100ms");
    let control = jobs("spin", "dynamic");
    let found = [spinning, blocking, gang, control];
    let published = [0.28, 0.65, 0.71, 0.74];
    for (found, published) in found.iter().zip(published) {
        assert!((found - published).abs() <= 0.08, "{found} for {published}");
    }
    assert!(spinning < blocking && blocking < gang, "{found:?}");
    assert!(gang <= control, "{found:?}");
}

#[test]
fn gangs_and_process_control_hardly_care_how_one_waits() {
    for policy in ["gang:quantum=100ms", "dynamic"] {
        let [spinning, blocking] = ["spin", "halt"].map(|wait| jobs(wait, policy));
        let difference = (spinning - blocking).abs();
        assert!(difference < 0.02, "{policy}: {spinning}, {blocking}");
    }
}

/// The middle one of five seeds.
fn median_ops(policy: &str) -> u64 {
    let mut scenario = scenario("process-control");
    let mut values = [1, 2, 3, 4, 5].map(|seed| {
        scenario.seed = seed;
        ops(&record_for(&scenario, policy, Keep::Totals))
    });
    values.sort_unstable();
    values[2]
}

#[test]
fn process_control_does_more_than_twice_what_timesharing_does() {
    let control = median_ops("dynamic");
    for policy in ["linux", "central"] {
        let timeshared = median_ops(policy);
        assert!(
            control > 2 * timeshared,
            "{policy}: {control} against {timeshared}"
        );
    }
    let gang = median_ops("gang");
    assert!(control >= gang, "{control} against {gang} with gangs");
}

#[test]
fn as_vms_come_each_has_its_part_of_the_host() {
    let recording = record("process-control", "dynamic", Keep::Spans);
    let partitions = [900 * MS, 1_900 * MS, 4 * SECOND].map(|at| {
        let occupants = occupants(&recording, at);
        ["first", "second", "third"].map(|name| {
            let own = occupants.iter().filter(|vcpu| vcpu.starts_with(name));
            own.count()
        })
    });
    assert_eq!(partitions, [[6, 0, 0], [3, 3, 0], [2, 2, 2]]);
}
