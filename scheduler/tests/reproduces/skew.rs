//! Relaxed co-scheduling keeps siblings abreast, and costs nothing; strict forms cost a quarter or more.

use muster_scheduler::sim::record::{Keep, Recording};
use muster_scheduler::{MS, US};

use crate::shipped::{record, vm};

/// How often leads are looked at.
const TICK: u64 = MS;
/// How long it may take until a vCPU that is to stop has stopped.
const SWITCH: u64 = 50 * US;

fn useful(recording: &Recording) -> f64 {
    let work: u64 = recording.vms.iter().map(|vm| vm.work_ns).sum();
    work as f64 / recording.duration_ns as f64 / f64::from(recording.cpus)
}

#[test]
fn siblings_are_never_further_apart_than_the_threshold_and_a_tick() {
    let apart = record("skew", "linux", Keep::Totals);
    assert!(vm(&apart, "pair").skew_max_ns > apart.duration_ns / 3);
    let thresholds = [
        (MS, "stop=1ms,start=500us"),
        (3 * MS, "stop=3ms"),
        (10 * MS, "stop=10ms"),
    ];
    // Left to themselves, pinned by hand, and pinned by us.
    for base in ["linux", "linux:pin", "pinned"] {
        for (stop, params) in thresholds {
            let policy = format!("{base}+relaxed:{params}");
            let recording = record("skew", &policy, Keep::Totals);
            let skew = vm(&recording, "pair").skew_max_ns;
            let allowed = stop..=stop + TICK + SWITCH;
            assert!(allowed.contains(&skew), "{policy}: {skew} ns");
            let kept = useful(&recording) / useful(&apart);
            assert!(kept >= 0.97, "{policy}: {kept} of the useful time is left");
        }
    }
}

#[test]
fn all_or_none_leaves_a_quarter_of_the_host_idle() {
    for policy in ["linux+relaxed:strict", "gang"] {
        let recording = record("skew", policy, Keep::Totals);
        let useful = useful(&recording);
        assert!(useful <= 0.75, "{policy}: {useful}");
        let idle = recording.cpu_totals.hole_ns as f64 / (2 * recording.duration_ns) as f64;
        assert!(
            idle >= 0.249,
            "{policy}: {idle} idle though somebody was ready"
        );
    }
}
