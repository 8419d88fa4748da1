use muster_scheduler::Claims;

use super::*;
use crate::samples::{Sample, vcpu};

fn sample() -> Sample {
    let mut sample = Sample::new(1, 100, Claims::default());
    sample.vm(2, 256).run(0, vcpu(0, 0), 0, 50);
    sample.run(0, vcpu(0, 1), 50, 80).halt(vcpu(0, 1), 80, 100);
    sample.finish();
    sample
}

#[test]
fn what_adds_up_is_right() {
    assert_eq!(sample().check(check), Ok(2));
}

#[test]
fn a_lost_nanosecond_is_found() {
    let mut sample = sample();
    sample.recording.vms[0].times[1][Runstate::Running] -= 1;
    assert!(sample.check(check).is_err());
}

#[test]
fn time_that_is_charged_and_not_served_is_found() {
    let mut sample = sample();
    sample.recording.spans[1].end_ns = 79;
    sample.recording.vms[0].work_ns -= 1;
    let broken = sample.check(check).unwrap_err();
    assert!(broken.seen.contains("is charged"), "{broken}");
}

#[test]
fn time_that_is_served_and_not_charged_is_found() {
    let mut sample = sample();
    let first = &mut sample.recording.runstates[0];
    first.state = Some(Runstate::Ready);
    assert!(sample.check(check).is_err());
}

#[test]
fn a_gap_between_runstates_is_found() {
    let mut sample = sample();
    sample.recording.runstates.remove(0);
    assert!(sample.check(check).is_err());
}

#[test]
fn totals_that_differ_from_spans_are_found() {
    let mut spun = sample();
    spun.recording.spans[0].activity = Activity::Spin;
    let broken = spun.check(check).unwrap_err();
    assert!(broken.seen.contains("in total"), "{broken}");
    let mut held = sample();
    held.recording.cpu_totals.held_ns = 1;
    assert!(held.check(check).is_err());
}

#[test]
fn work_of_a_halted_vcpu_is_found() {
    let mut sample = sample();
    for change in &mut sample.recording.runstates {
        if change.vcpu == vcpu(0, 0) && change.state == Some(Runstate::Running) {
            change.state = Some(Runstate::Halted);
        }
    }
    let times = &mut sample.recording.vms[0].times[0];
    times[Runstate::Halted] = std::mem::take(&mut times[Runstate::Running]);
    let broken = sample.check(check).unwrap_err();
    assert!(broken.seen.contains("halted while"), "{broken}");
}
