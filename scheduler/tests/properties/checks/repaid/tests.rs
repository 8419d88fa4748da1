use muster_scheduler::sim::record::TurnChange;
use muster_scheduler::{Claims, Level, MS, US};

use super::*;
use crate::samples::{Sample, vcpu};

/// Two vCPUs of different VMs take turns of 10 ms on one CPU; the first has had a grace each time.
fn sample(grace_ns: Nanos) -> Sample {
    let repays = Repays {
        limit_ns: 500 * US,
        boost_ns: 80 * US,
        grace_ns: 120 * US,
        worth_ns: 100 * US,
        kept_for_ns: 100 * MS,
        idle: true,
    };
    let claims = Claims {
        repays: Some(repays),
        ..Claims::default()
    };
    let mut sample = Sample::new(1, 90 * MS, claims);
    sample.vm(1, 256).vm(1, 256);
    for turn in 0..8 {
        let (start, who) = (turn * 10 * MS, vcpu((turn % 2) as u32, 0));
        let (at_ns, cpu) = (start, CpuId(0));
        let vcpu_turn = Some(who);
        sample.recording.turns.push(TurnChange {
            at_ns,
            cpu,
            vcpu: vcpu_turn,
        });
        let late = if turn % 2 == 1 { grace_ns } else { 0 };
        let stays = if turn % 2 == 0 { grace_ns } else { 0 };
        sample.run(0, who, start + late, start + 10 * MS + stays);
        if stays > 0 {
            let grace = MarkKind::Grace {
                vcpu: who,
                used_ns: stays,
                turn: Some(vcpu(1, 0)),
            };
            sample.mark(start + 10 * MS + stays, grace);
        }
    }
    sample
}

/// The first pays at its second turn.
fn pay(sample: &mut Sample, ns: Nanos, until: Nanos) {
    sample.mark(
        20 * MS,
        MarkKind::Loan {
            cpu: CpuId(0),
            to: Some(vcpu(1, 0)),
            turn: Some(vcpu(0, 0)),
            until_ns: until,
            is_debt: true,
        },
    );
    sample.mark(until, MarkKind::LoanOver(CpuId(0)));
    sample.recording.marks.sort_by_key(|mark| mark.at_ns);
    let spans = &mut sample.recording.spans;
    let next = spans.iter_mut().find(|span| span.start_ns == 20 * MS);
    next.unwrap().start_ns += ns;
    sample.run_at(Level::Boosted, 0, vcpu(1, 0), 20 * MS, 20 * MS + ns);
}

#[test]
fn what_is_not_worth_a_switch_may_wait() {
    assert_eq!(sample(30 * US).finish().check(check), Ok(4));
}

#[test]
fn a_debt_that_is_not_paid_is_found() {
    let broken = sample(120 * US).finish().check(check).unwrap_err();
    assert_eq!(broken.at_ns, 20 * MS);
    assert!(broken.seen.contains("vCPU 0.0 begins"), "{broken}");
}

#[test]
fn a_payment_counts_as_far_as_it_was_delivered() {
    let mut paid = sample(99 * US);
    pay(&mut paid, 99 * US, 20 * MS + 99 * US);
    // Four times 99, one of them paid: the third turn begins with 99, the fourth with 198.
    let broken = paid.finish().check(check).unwrap_err();
    assert_eq!(broken.at_ns, 60 * MS);
    let mut unpaid = sample(99 * US);
    pay(&mut unpaid, US, 20 * MS + 99 * US);
    let broken = unpaid.finish().check(check).unwrap_err();
    assert_eq!(broken.at_ns, 40 * MS);
}

#[test]
fn a_creditor_that_does_not_wait_need_not_be_paid() {
    let mut sample = sample(120 * US);
    for turn in [2, 4, 6] {
        let start = turn * 10 * MS;
        sample.halt(vcpu(1, 0), start, start + MS);
    }
    assert_eq!(sample.finish().check(check), Ok(4));
}

fn grace(used_ns: Nanos) -> MarkKind {
    MarkKind::Grace {
        vcpu: vcpu(0, 0),
        used_ns,
        turn: Some(vcpu(1, 0)),
    }
}

#[test]
fn borrowing_beyond_the_limit_is_found() {
    let mut sample = sample(0);
    for turn in 2..7 {
        sample.mark(turn * MS, grace(120 * US));
    }
    sample.mark(7 * MS, grace(100 * US)).finish();
    sample.halt(vcpu(1, 0), 80 * MS, 81 * MS).finish();
    let at_limit = sample.check(check).unwrap_err();
    assert_eq!(at_limit.at_ns, 20 * MS);
    sample.mark(8 * MS, grace(1));
    let broken = sample.check(check).unwrap_err();
    assert_eq!(broken.at_ns, 8 * MS);
}

#[test]
fn a_grace_that_is_too_long_is_found() {
    let mut sample = sample(0);
    sample.mark(2 * MS, grace(120 * US)).finish();
    assert!(
        !sample
            .check(check)
            .is_err_and(|broken| broken.at_ns == 2 * MS)
    );
    sample.mark(3 * MS, grace(121 * US));
    let broken = sample.check(check).unwrap_err();
    assert_eq!(broken.at_ns, 3 * MS);
}

#[test]
fn a_boost_that_is_too_long_is_found() {
    for (boost, right) in [(80 * US, true), (81 * US, false)] {
        let mut sample = sample(0);
        pay(&mut sample, boost, 20 * MS + boost);
        let checked = sample.finish().check(check);
        let too_long = |broken: &Broken| broken.seen.contains("at a time");
        assert_eq!(
            checked.as_ref().err().is_some_and(too_long),
            !right,
            "{checked:?}"
        );
    }
}
