use muster_scheduler::{Claims, MS, SECOND, US};

use super::*;
use crate::samples::{Sample, vcpu};

/// Two VMs with one vCPU each share a CPU for 10 s; the first, of `weight`, gets `part`, in 100 us.
fn sample(weight: u32, part: Nanos) -> Sample {
    let part = part * 100 * US;
    let claims = Claims {
        fair_within_ns: Some(10 * SECOND),
        ..Claims::default()
    };
    let mut sample = Sample::new(1, 10 * SECOND, claims);
    sample.vm(1, weight).vm(1, 100);
    sample.run(0, vcpu(0, 0), 0, part);
    sample.run(0, vcpu(1, 0), part, 10 * SECOND).finish();
    sample
}

#[test]
fn shares_by_weight_are_right() {
    assert_eq!(sample(100, 50_000).check(check), Ok(1));
    assert_eq!(sample(300, 75_000).check(check), Ok(1));
    assert_eq!(sample(300, 75_500).check(check), Ok(1));
}

#[test]
fn shares_against_weight_are_found() {
    assert!(sample(100, 75_000).check(check).is_err());
    assert!(sample(300, 50_000).check(check).is_err());
    assert!(sample(300, 76_000).check(check).is_err());
}

#[test]
fn a_vm_that_is_due_nearly_a_whole_cpu_has_no_less() {
    assert!(sample(1000, 90_800).check(check).is_ok());
    assert!(sample(1000, 90_500).check(check).is_err());
}

#[test]
fn who_is_due_only_a_few_turns_is_promised_no_share() {
    assert!(sample(2400, 97_000).check(check).is_err());
    assert_eq!(sample(2410, 97_000).check(check), Ok(0));
}

#[test]
fn a_vm_that_halts_has_no_claim() {
    let mut sample = sample(100, 30_000);
    sample.halt(vcpu(0, 0), 3 * SECOND, 3100 * MS);
    sample.recording.vms[0].times[0] = muster_scheduler::RunTimes::default();
    assert_eq!(sample.finish().check(check), Ok(0));
}

#[test]
fn what_a_narrow_vm_cannot_use_goes_to_the_others() {
    let claim = |weight, most| Claimant {
        vm: 0,
        weight,
        most,
        got: 100,
    };
    let due = entitled(&[claim(8, 100), claim(1, 400), claim(1, 400)]);
    assert_eq!(due, [100, 100, 100]);
    let due = entitled(&[claim(1, 400), claim(3, 400)]);
    assert_eq!(due, [50, 150]);
}

#[test]
fn evenness_is_one_for_equals_and_less_for_others() {
    assert_eq!(jain(&[7, 7, 7]), 1_000_000);
    assert_eq!(jain(&[1, 0, 0, 0]), 250_000);
}

#[test]
fn windows_reach_the_end() {
    let windows: Vec<_> = windows(Stretch::new(10, 35), 10).collect();
    let starts: Vec<_> = windows.iter().map(|window| window.start).collect();
    assert_eq!(starts, [10, 15, 20, 25]);
}
