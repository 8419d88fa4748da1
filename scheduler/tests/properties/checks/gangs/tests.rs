use muster_scheduler::{Claims, MS};

use super::*;
use crate::samples::{Sample, vcpu};

/// What switches may differ by.
const SLACK: Nanos = 20 + GRACE_MAX;

/// A gang of two whose second member leaves `early` before the first.
fn sample(early: Nanos) -> Sample {
    let claims = Claims {
        gangs: true,
        ..Claims::default()
    };
    let mut sample = Sample::new(2, 20 * MS, claims);
    sample.vm(2, 256);
    sample.run_at(Level::Slot, 0, vcpu(0, 0), 2 * MS, 10 * MS);
    sample.run_at(Level::Slot, 1, vcpu(0, 1), 2 * MS, 10 * MS - early);
    sample.finish();
    sample
}

#[test]
fn a_gang_that_starts_and_ends_together_is_right() {
    assert_eq!(sample(0).check(check), Ok(1));
    assert_eq!(sample(SLACK).check(check), Ok(1));
}

#[test]
fn a_member_that_leaves_early_is_found() {
    let broken = sample(SLACK + 1).check(check).unwrap_err();
    assert_eq!(broken.at_ns, 10 * MS - SLACK - 1);
    assert!(broken.seen.starts_with("vCPU 0.1"), "{broken}");
}

#[test]
fn a_member_whose_cpu_is_lent_is_excused() {
    let mut sample = sample(3 * MS);
    let lent = MarkKind::Loan {
        cpu: muster_scheduler::CpuId(1),
        to: None,
        turn: Some(vcpu(0, 1)),
        until_ns: 10 * MS,
        is_debt: false,
    };
    sample.mark(7 * MS, lent);
    assert_eq!(sample.check(check), Ok(1));
}

#[test]
fn a_halted_member_may_be_away() {
    let mut sample = sample(3 * MS);
    sample.halt(vcpu(0, 1), 7 * MS, 10 * MS);
    sample.recording.vms[0].times[1] = muster_scheduler::RunTimes::default();
    assert_eq!(sample.finish().check(check), Ok(1));
    let mut woken = self::sample(3 * MS);
    woken.halt(vcpu(0, 1), 7 * MS, 9 * MS);
    woken.recording.vms[0].times[1] = muster_scheduler::RunTimes::default();
    assert!(woken.finish().check(check).is_err());
}

#[test]
fn who_wakes_may_wait_for_a_switch_each_time() {
    let halted_but = |waits: [Nanos; 2]| {
        let mut sample = sample(3 * MS);
        sample.halt(vcpu(0, 1), 7 * MS, 8 * MS - waits[0]);
        sample.halt(vcpu(0, 1), 8 * MS, 9 * MS - waits[1]);
        sample.halt(vcpu(0, 1), 9 * MS, 10 * MS);
        sample.finish().check(check)
    };
    assert_eq!(halted_but([SLACK; 2]), Ok(1));
    let broken = halted_but([SLACK, SLACK + 1]).unwrap_err();
    assert_eq!(broken.at_ns, 9 * MS - SLACK - 1);
}

#[test]
fn holes_may_be_filled_by_parts_of_a_gang() {
    let mut sample = sample(3 * MS);
    sample.recording.spans[0].level = Some(Level::Backfill);
    sample.recording.spans[1].level = Some(Level::Backfill);
    assert_eq!(sample.check(check), Ok(0));
}

#[test]
fn a_wide_vm_is_a_narrow_gang_and_full_ones() {
    let units = units(0, 8, 3);
    let units: Vec<Vec<u32>> = units
        .iter()
        .map(|unit| unit.iter().map(|vcpu| vcpu.index).collect())
        .collect();
    assert_eq!(units, [vec![0, 1], vec![2, 3, 4], vec![5, 6, 7]]);
    assert_eq!(self::units(0, 4, 1), Vec::<Vec<VcpuRef>>::new());
}
