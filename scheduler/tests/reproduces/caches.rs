//! Caches that others have used meanwhile: what it costs, and what affinity saves.

use muster_scheduler::sim::record::{Keep, Recording};

use crate::shipped::{ops, record};

/// The part of all CPU time that goes into filling caches.
fn refilling(recording: &Recording) -> f64 {
    let refill: u64 = recording.vms.iter().map(|vm| vm.refill_ns).sum();
    refill as f64 / recording.duration_ns as f64 / f64::from(recording.cpus)
}

#[test]
fn what_cold_caches_cost_falls_as_turns_get_longer() {
    for policy in ["central", "affinity"] {
        let products = [1, 3, 10, 30, 100].map(|quantum| {
            let policy = format!("{policy}:quantum={quantum}ms");
            let recording = record("cache-quantum", &policy, Keep::Totals);
            refilling(&recording) * f64::from(quantum)
        });
        let first = products[0];
        assert!(first > 0.04, "{policy}: {products:?}");
        let near = |product: &f64| (product / first - 1.0).abs() <= 0.2;
        assert!(products.iter().all(near), "{policy}: {products:?}");
    }
}

#[test]
fn affinity_gains_a_little_and_never_loses() {
    let [central, hybrid, affinity] = ["central", "hybrid", "affinity"].map(|policy| {
        let policy = format!("{policy}:quantum=30ms");
        record("cache-affinity", &policy, Keep::Totals)
    });
    for better in [&hybrid, &affinity] {
        let policy = &better.policy;
        let refill = refilling(better) / refilling(&central);
        assert!(
            refill <= 0.7,
            "{policy}: {refill} of the time for filling caches"
        );
        // Operations differ in length: work is what they have in common.
        let work = |recording: &Recording| recording.vms.iter().map(|vm| vm.work_ns).sum::<u64>();
        let gain = work(better) as f64 / work(&central) as f64 - 1.0;
        assert!((0.0..=0.1).contains(&gain), "{policy} gains {gain}");
        assert!(ops(better) > ops(&central), "{policy}");
    }
}
