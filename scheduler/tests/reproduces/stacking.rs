//! Siblings that start one by one may be put on one CPU, for ever.

use muster_scheduler::sim::record::Keep;

use crate::shipped::{ops, record_for, scenario};

/// What a policy has in each of ten starts, in percent of what pinning by hand gives.
fn against_pinning(policy: &str) -> Vec<u64> {
    let mut scenario = scenario("stacking");
    let mut parts: Vec<u64> = (1..=10)
        .map(|seed| {
            scenario.seed = seed;
            let done = |policy| ops(&record_for(&scenario, policy, Keep::Totals));
            100 * done(policy) / done("linux:pin")
        })
        .collect();
    parts.sort_unstable();
    parts
}

#[test]
fn some_starts_put_siblings_on_one_cpu() {
    let parts = against_pinning("linux");
    assert!(parts[0] < 20, "{parts:?}");
    assert!(parts[5] >= 95, "{parts:?}");
}

#[test]
fn gangs_have_no_such_starts() {
    let parts = against_pinning("gang");
    assert!(parts[0] >= 100, "{parts:?}");
}
