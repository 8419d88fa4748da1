//! Spin locks: who is stopped while holding one.

use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::Keep;
use muster_scheduler::sim::scenario::Workload;
use muster_scheduler::{Nanos, US};

use crate::shipped::{median_ops_under_linux, ops, record, record_for, scenario};

/// Holders preempted and locks taken, without the layer and with it.
fn effect(scenario: &Scenario, policy: &str) -> [[u64; 2]; 2] {
    let runs = [policy.to_owned(), format!("{policy}+smart")];
    let runs = runs.map(|policy| record_for(scenario, &policy, Keep::Totals));
    let preempted = runs
        .each_ref()
        .map(|run| run.vms.iter().map(|vm| vm.holder_preemptions).sum());
    [preempted, runs.each_ref().map(ops)]
}

/// At least 85 % fewer holders are stopped, and throughput does not suffer, for each of these times
/// with and without the lock. Gives what throughput gains, in percent, by policy.
fn holders_finish_with(name: &str, (critical, outside): (Nanos, Nanos)) -> [u64; 2] {
    let mut scenario = scenario(name);
    for vm in &mut scenario.vms {
        let Workload::Lock {
            critical_ns,
            outside_ns,
            ..
        } = &mut vm.workload
        else {
            panic!("{name} has no lock");
        };
        (*critical_ns, *outside_ns) = (critical, outside);
    }
    ["linux:pin", "pinned:quantum=4ms,vary=50"].map(|policy| {
        let [[before, after], [plain, smart]] = effect(&scenario, policy);
        let case = format!("{name}, {critical} ns, {outside} ns, {policy}");
        assert!(before >= 15, "{case}: {before} holders preempted");
        assert!(
            after * 100 <= before * 15,
            "{case}: {after} of {before} are left"
        );
        assert!(smart * 100 >= plain * 97, "{case}: {smart} against {plain}");
        100 * smart / plain
    })
}

/// From 2 to 50 us, for a twentieth to a half of the time.
fn holders_finish(name: &str) {
    for times in [
        (5 * US, 5 * US),
        (20 * US, 20 * US),
        (2 * US, 38 * US),
        (10 * US, 30 * US),
    ] {
        holders_finish_with(name, times);
    }
    let often = [(2 * US, 2 * US), (50 * US, 50 * US)];
    let often = often.map(|times| holders_finish_with(name, times));
    let rarely = holders_finish_with(name, (50 * US, 950 * US));
    // The more a lock is used, the more is won.
    for policy in [0, 1] {
        assert!(rarely[policy] <= 105, "{name}: {rarely:?}");
        let most = often.map(|gains| gains[policy]);
        assert!(
            most.iter().all(|&gain| gain >= 110),
            "{name}: {most:?} against {rarely:?}"
        );
    }
}

#[test]
fn holders_of_a_test_and_set_lock_finish_first() {
    holders_finish("locks-tas");
}

#[test]
fn holders_of_a_ticket_lock_finish_first() {
    holders_finish("locks-ticket");
}

#[test]
fn holders_of_a_queue_lock_finish_first() {
    holders_finish("locks-queue");
}

#[test]
fn a_wide_vm_with_a_ticket_lock_has_three_times_the_throughput() {
    let linux = median_ops_under_linux("locks-wide");
    for policy in ["gang", "gang+smart", "linux+smart"] {
        let better = ops(&record("locks-wide", policy, Keep::Totals));
        assert!(better >= 3 * linux, "{policy}: {better} against {linux}");
    }
}
