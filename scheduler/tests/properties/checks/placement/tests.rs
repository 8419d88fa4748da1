use muster_scheduler::sim::record::MarkKind;
use muster_scheduler::{Claims, CpuId, CpuSet};

use super::*;
use crate::samples::{Sample, vcpu};

fn sample() -> Sample {
    let mut sample = Sample::new(2, 100, Claims::default());
    sample.vm(1, 256).run(1, vcpu(0, 0), 10, 60);
    sample
}

#[test]
fn a_vcpu_may_finish_the_switch_on_a_cpu_that_goes() {
    let mut sample = sample();
    sample.mark(50, MarkKind::Online(CpuId(1), false));
    assert_eq!(sample.finish().check(check), Ok(1));
    let mut back = self::sample();
    back.mark(20, MarkKind::Online(CpuId(1), false));
    back.mark(30, MarkKind::Online(CpuId(1), true));
    assert_eq!(back.finish().check(check), Ok(1));
}

#[test]
fn running_on_an_offline_cpu_is_found() {
    let mut sample = sample();
    sample.mark(49, MarkKind::Online(CpuId(1), false));
    let broken = sample.finish().check(check).unwrap_err();
    assert!(broken.seen.contains("offline"), "{broken}");
    let mut back = self::sample();
    back.mark(20, MarkKind::Online(CpuId(1), false));
    back.mark(31, MarkKind::Online(CpuId(1), true));
    assert!(back.finish().check(check).is_err());
}

#[test]
fn running_against_hard_affinity_is_found() {
    let mut sample = sample();
    sample.facts.vms[0].hard = CpuSet::only(CpuId(0));
    let broken = sample.finish().check(check).unwrap_err();
    assert!(broken.seen.contains("affinity"), "{broken}");
}

#[test]
fn running_before_arrival_or_after_leaving_is_found() {
    let mut early = sample();
    early.recording.vms[0].arrived_ns = 11;
    assert!(early.check(check).is_err());
    let mut late = sample();
    late.recording.vms[0].left_ns = Some(59);
    assert!(late.check(check).is_err());
}
