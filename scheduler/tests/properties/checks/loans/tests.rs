use muster_scheduler::{Claims, MS};

use super::*;
use crate::samples::{Sample, vcpu};

fn sample(until_ns: Nanos, end: Nanos) -> Sample {
    let mut sample = Sample::new(1, 20 * MS, Claims::default());
    sample.vm(2, 256);
    sample.run_at(Level::Boosted, 0, vcpu(0, 1), MS, end);
    let lent = MarkKind::Loan {
        cpu: CpuId(0),
        to: Some(vcpu(0, 1)),
        turn: Some(vcpu(0, 0)),
        until_ns,
        is_debt: true,
    };
    sample.mark(MS, lent).finish();
    sample
}

#[test]
fn a_loan_that_is_given_back_is_right() {
    assert_eq!(sample(2 * MS, 2 * MS + 10).check(check), Ok(1));
}

#[test]
fn a_long_loan_is_found() {
    assert!(sample(6 * MS, 2 * MS).check(check).is_ok());
    assert!(sample(6 * MS + 1, 2 * MS).check(check).is_err());
}

#[test]
fn staying_after_a_loan_is_found() {
    let end = 2 * MS + GRACE_MAX + 11;
    let broken = sample(2 * MS, end).check(check).unwrap_err();
    assert!(broken.seen.contains("vCPU 0.1"), "{broken}");
}

#[test]
fn a_boost_that_nobody_gave_is_found() {
    let mut sample = sample(2 * MS, 2 * MS);
    sample.recording.marks.clear();
    assert!(sample.check(check).is_err());
}

#[test]
fn a_loan_that_ends_at_once_leaves_no_mark_and_may_cost_a_switch() {
    let unmarked = |length| {
        let mut sample = sample(2 * MS, MS + length);
        sample.recording.marks.clear();
        sample.check(check)
    };
    assert_eq!(unmarked(20), Ok(0));
    assert!(unmarked(21).is_err());
}

fn grace(used_ns: Nanos) -> MarkKind {
    MarkKind::Grace {
        vcpu: vcpu(0, 0),
        used_ns,
        turn: None,
    }
}

#[test]
fn a_long_grace_is_found() {
    let mut sample = sample(2 * MS, 2 * MS);
    sample.mark(3 * MS, grace(GRACE_MAX));
    assert!(sample.check(check).is_ok());
    sample.mark(4 * MS, grace(GRACE_MAX + 1));
    assert!(sample.check(check).is_err());
}
