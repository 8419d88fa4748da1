use muster_scheduler::Claims;
use muster_scheduler::sim::record::MarkKind;

use super::*;
use crate::samples::{Sample, vcpu};

/// Two vCPUs share a CPU; the second waits for `wait` at first. Promised are 50 ns per vCPU.
fn sample(wait: u64) -> Sample {
    let claims = Claims {
        ready_max_ns: Some(|load| 50 * load.vcpus),
        ..Claims::default()
    };
    let mut sample = Sample::new(1, 1000, claims);
    sample.vm(2, 256).run(0, vcpu(0, 0), 0, wait);
    sample.run(0, vcpu(0, 1), wait, wait + 10);
    sample.halt(vcpu(0, 1), wait + 10, 1000);
    sample.run(0, vcpu(0, 0), wait + 10, 1000).finish();
    sample
}

#[test]
fn waiting_as_long_as_promised_is_right() {
    assert_eq!(sample(120).check(check), Ok(2));
}

#[test]
fn waiting_longer_is_found() {
    let broken = sample(121).check(check).unwrap_err();
    assert_eq!(broken.at_ns, 0);
}

#[test]
fn the_wait_is_counted_anew_when_the_policy_changes() {
    let mut sample = sample(200);
    sample.mark(100, MarkKind::PolicyChange);
    // What is shorter than the promise shows nothing.
    assert_eq!(sample.check(check), Ok(2));
    let mut sample = self::sample(200);
    sample.mark(70, MarkKind::PolicyChange);
    assert_eq!(sample.check(check).unwrap_err().at_ns, 70);
}

#[test]
fn promises_are_void_on_a_disturbed_host() {
    let mut sample = sample(500);
    sample.facts.disturbed = true;
    assert_eq!(sample.check(check), Ok(0));
}
