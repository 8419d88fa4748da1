//! Two, three and four VMs, each as wide as a large host: where gangs gain most.

use muster_scheduler::sim::record::Keep;

use crate::shipped::{ops, record_for, scenario};

/// What gangs gain over Linux's scheduler with 2, 3 and 4 VMs, the middle one of three seeds.
fn gains(kind: &str) -> [f64; 3] {
    [2, 3, 4].map(|vms| {
        let mut scenario = scenario(&format!("overcommit-{kind}-{vms}"));
        assert_eq!(scenario.vms[0].count, vms);
        let mut gains = [1, 2, 3].map(|seed| {
            scenario.seed = seed;
            let done = |policy| ops(&record_for(&scenario, policy, Keep::Totals));
            10_000 * done("gang") / done("linux")
        });
        gains.sort_unstable();
        gains[1] as f64 / 10_000.0 - 1.0
    })
}

#[test]
fn where_locks_are_wanted_gangs_gain_most_with_two_vms() {
    let gains = gains("locks");
    assert!(
        gains.iter().all(|gain| (0.03..0.2).contains(gain)),
        "{gains:?}"
    );
    assert!(gains[0] > gains[1] && gains[0] > gains[2], "{gains:?}");
}

#[test]
fn where_vcpus_interrupt_each_other_the_gain_stops_growing_with_three_vms() {
    let gains = gains("messages");
    assert!((0.2..0.6).contains(&gains[0]), "{gains:?}");
    // It does not fade with four, as was published of boosts within the host's queues.
    assert!(gains[1] > gains[0], "{gains:?}");
    let more = gains[2] - gains[1];
    assert!(more < (gains[1] - gains[0]) / 2.0, "{gains:?}");
}
