use muster_scheduler::Claims;

use super::*;
use crate::samples::{Sample, vcpu};

fn sample() -> Sample {
    let mut sample = Sample::new(2, 100, Claims::default());
    sample.vm(2, 256).run(0, vcpu(0, 0), 0, 50);
    sample.run(1, vcpu(0, 1), 0, 100);
    sample.run(0, vcpu(0, 0), 60, 100);
    sample
}

#[test]
fn turns_one_after_another_are_right() {
    assert_eq!(sample().finish().check(one_thing_per_cpu), Ok(3));
    assert_eq!(sample().finish().check(one_cpu_per_vcpu), Ok(1));
}

#[test]
fn two_vcpus_on_a_cpu_are_found() {
    let mut sample = sample();
    sample.run(0, vcpu(0, 1), 40, 45).finish();
    let broken = sample.check(one_thing_per_cpu).unwrap_err();
    assert_eq!((broken.property, broken.at_ns), (CPU, 40));
}

#[test]
fn a_vcpu_on_two_cpus_is_found() {
    let mut sample = sample();
    sample.recording.spans[1].vcpu = Some(vcpu(0, 0));
    sample.recording.spans[1].start_ns = 49;
    let broken = sample.finish().check(one_cpu_per_vcpu).unwrap_err();
    assert_eq!((broken.property, broken.at_ns), (VCPU, 49));
}

#[test]
fn spans_after_the_end_or_on_no_cpu_are_found() {
    let mut late = sample();
    late.recording.spans[2].end_ns = 101;
    assert!(late.check(one_thing_per_cpu).is_err());
    let mut nowhere = sample();
    nowhere.recording.spans[1].cpu = muster_scheduler::CpuId(2);
    assert!(nowhere.check(one_thing_per_cpu).is_err());
}
