use muster_scheduler::sim::record::MarkKind;
use muster_scheduler::{Claims, CpuId, CpuSet};

use super::*;
use crate::samples::{Sample, vcpu};

/// One vCPU runs, the other waits between 100 and `start` beside an idle CPU.
fn sample(start: u64) -> Sample {
    let claims = Claims {
        work_conserving: true,
        ..Claims::default()
    };
    let mut sample = Sample::new(2, 1000, claims);
    sample.vm(2, 256).run(0, vcpu(0, 0), 0, 1000);
    sample.halt(vcpu(0, 1), 0, 100);
    sample.run(1, vcpu(0, 1), start, 1000).finish();
    sample
}

#[test]
fn idling_for_two_switches_is_right() {
    // The idle time before is looked at, too: it is one with the time after.
    assert_eq!(sample(120).check(check), Ok(1));
}

#[test]
fn idling_while_somebody_is_ready_is_found() {
    let broken = sample(121).check(check).unwrap_err();
    assert_eq!(broken.at_ns, 100);
}

#[test]
fn waiting_for_another_cpu_is_right() {
    let mut elsewhere = sample(500);
    elsewhere.facts.vms[0].hard = CpuSet::only(CpuId(0));
    assert_eq!(elsewhere.check(check), Ok(1));
    let mut offline = sample(500);
    offline.mark(0, MarkKind::Online(CpuId(1), false));
    offline.mark(490, MarkKind::Online(CpuId(1), true));
    assert_eq!(offline.check(check), Ok(0));
}

#[test]
fn a_policy_that_promises_nothing_is_not_held_to_it() {
    let mut sample = sample(500);
    sample.facts.reigns[0].claims.work_conserving = false;
    assert_eq!(sample.check(check), Ok(0));
}
