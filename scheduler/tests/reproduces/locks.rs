//! Spin locks: who is stopped while holding one.

use muster_scheduler::sim::record::Keep;

use crate::shipped::{median_ops_under_linux, ops, record};

/// Holders preempted and locks taken, without the layer and with it.
fn effect(scenario: &str, policy: &str) -> [[u64; 2]; 2] {
    let runs = [policy.to_owned(), format!("{policy}+smart")];
    let runs = runs.map(|policy| record(scenario, &policy, Keep::Totals));
    let preempted = runs
        .each_ref()
        .map(|run| run.vms.iter().map(|vm| vm.holder_preemptions).sum());
    [preempted, runs.each_ref().map(ops)]
}

/// At least 85 % fewer holders are stopped, and throughput does not suffer.
fn holders_finish(scenario: &str) {
    for policy in ["linux:pin", "pinned:quantum=4ms,vary=50"] {
        let [[before, after], [plain, smart]] = effect(scenario, policy);
        assert!(
            before >= 20,
            "{scenario}, {policy}: {before} holders preempted"
        );
        assert!(
            after * 100 <= before * 15,
            "{scenario}, {policy}: {after} of {before} are left"
        );
        assert!(
            smart * 100 >= plain * 97,
            "{scenario}, {policy}: {smart} against {plain}"
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
