//! Loans of CPUs, vCPUs that are held back, and locks.

use super::script::{Script, Stage};
use super::*;
use crate::plan::Change;
use crate::{Granularity, MS, US};

const CPU: [CpuId; 3] = [CpuId(0), CpuId(1), CpuId(2)];
const VCPU: [VcpuId; 3] = [VcpuId(0), VcpuId(1), VcpuId(2)];

/// vCPU 0 has CPU 0, which is lent to vCPU 2 until 4 ms; vCPU 1 has CPU 1.
fn stage() -> Stage {
    let mut stage = Stage::new(3, Granularity::Vcpu);
    stage.host.arrive(3);
    lend(&mut stage);
    stage
}

fn lend(stage: &mut Stage) {
    stage.plan(|plan| {
        plan.run(CPU[0], VCPU[0], None);
        plan.run(CPU[1], VCPU[1], None);
        plan.lend(CPU[0], Some(VCPU[2]), 4 * MS);
    });
    assert_eq!(stage.occupants(), [Some(2), Some(1), None]);
}

/// The CPU is back with the vCPU whose turn it is.
fn is_over(stage: &Stage) {
    assert_eq!(stage.loans(), [None; 3]);
    assert_eq!(stage.view().vcpu(VCPU[2]).loan, None);
    assert_eq!(stage.occupants()[0], stage.turns()[0]);
    stage.check();
}

#[test]
fn a_loan_ends_at_its_time_without_the_policy() {
    let mut stage = stage();
    stage.host.run_until(4 * MS - 1);
    assert_eq!(stage.occupants(), [Some(2), Some(1), None]);
    stage.host.run_until(4 * MS);
    is_over(&stage);
    assert_eq!(stage.script.heard(), []);
    let lent = stage.host.engine.times(VCPU[2]);
    assert_eq!(lent[Runstate::Running], 4 * MS);
}

#[test]
fn a_loan_ends_when_the_borrower_halts() {
    let mut stage = stage();
    stage.host.halt(VCPU[2]);
    is_over(&stage);
    assert_eq!(stage.occupants()[0], Some(0));
}

#[test]
fn a_loan_ends_when_the_borrower_is_held_back() {
    let mut stage = stage();
    stage.plan(|plan| plan.co_stop(VCPU[2], true));
    is_over(&stage);
}

#[test]
fn a_loan_ends_when_the_borrower_gets_its_own_turn() {
    let mut stage = stage();
    stage.plan(|plan| plan.run(CPU[2], VCPU[2], None));
    is_over(&stage);
    assert_eq!(stage.occupants(), [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_loan_ends_when_the_cpu_is_given_away() {
    let mut stage = stage();
    stage.plan(|plan| {
        plan.run(CPU[0], VCPU[1], None);
        plan.idle(CPU[1]);
    });
    is_over(&stage);
    assert_eq!(stage.occupants(), [Some(1), None, None]);
}

#[test]
fn a_loan_ends_when_it_is_taken_back_and_when_either_vm_leaves() {
    let mut stage = stage();
    stage.plan(|plan| plan.take_back(CPU[0]));
    is_over(&stage);
    let mut stage = Stage::new(3, Granularity::Vcpu);
    let (lender, borrower) = (stage.host.arrive(2), stage.host.arrive(1));
    lend(&mut stage);
    stage.host.leave(borrower);
    assert_eq!(stage.occupants(), [Some(0), Some(1), None]);
    stage.host.arrive(1);
    lend(&mut stage);
    stage.host.leave(lender);
    assert_eq!(stage.occupants(), [None; 3]);
    stage.check();
}

#[test]
fn a_new_loan_of_the_cpu_replaces_the_old_one() {
    let mut stage = stage();
    stage.plan(|plan| plan.lend(CPU[0], None, 2 * MS));
    assert_eq!(stage.occupants(), [None, Some(1), None]);
    stage.check();
    stage.host.run_until(2 * MS);
    is_over(&stage);
}

#[test]
fn a_loan_for_a_lock_ends_with_the_lock_and_any_other_does_not() {
    let free = Input::Lock {
        vcpu: VCPU[2],
        state: LockState::Free,
    };
    let mut other = stage();
    other.host.input(free.clone());
    assert_eq!(other.loans()[0], Some(Some(2)));
    let mut stage = Stage::new(3, Granularity::Vcpu);
    stage.host.arrive(3);
    let state = LockState::Holding { since: 0 };
    stage.host.input(Input::Lock {
        vcpu: VCPU[2],
        state,
    });
    lend(&mut stage);
    stage.host.input(free);
    is_over(&stage);
}

#[test]
fn a_turn_goes_on_behind_a_loan() {
    let mut stage = stage();
    stage.plan(|plan| plan.extend(CPU[0], MS));
    stage.host.run_until(MS);
    assert_eq!(stage.script.heard(), [Event::SliceEnd { cpu: CPU[0] }]);
    assert_eq!(stage.occupants()[0], Some(2));
}

#[test]
fn who_is_held_back_leaves_its_cpu_and_keeps_its_turn() {
    let mut stage = stage();
    stage.plan(|plan| plan.co_stop(VCPU[1], true));
    assert_eq!(stage.turns()[1], Some(1));
    assert_eq!(stage.occupants()[1], None);
    stage.host.run_until(3 * MS);
    stage.script.heard();
    stage.plan(|plan| plan.co_stop(VCPU[1], false));
    assert_eq!(stage.occupants()[1], Some(1));
    stage.host.run_until(5 * MS);
    let times = stage.host.engine.times(VCPU[1]);
    assert_eq!(times[Runstate::CoStopped], 3 * MS);
    assert_eq!(times[Runstate::Running], 2 * MS);
    assert_eq!(times[Runstate::Ready], 0);
}

#[test]
fn a_co_stop_is_told_as_a_halt_and_its_end_as_a_wake() {
    let mut stage = stage();
    stage.try_plan(|plan| plan.co_stop(VCPU[1], true)).unwrap();
    assert_eq!(stage.script.heard()[1..], [Event::Halt { vcpu: VCPU[1] }]);
    // Twice the same is no news; nor is what happens meanwhile.
    stage.try_plan(|plan| plan.co_stop(VCPU[1], true)).unwrap();
    assert_eq!(stage.script.heard().len(), 1);
    stage.host.halt(VCPU[1]);
    stage.host.wake(VCPU[1]);
    assert_eq!(stage.script.heard(), []);
    stage.try_plan(|plan| plan.co_stop(VCPU[1], false)).unwrap();
    assert_eq!(stage.script.heard()[1..], [Event::Wake { vcpu: VCPU[1] }]);
}

#[test]
fn lock_hints_are_for_policies_that_want_them() {
    for (script, wants) in [
        (Script::new(Granularity::Vcpu), true),
        (Script::without_lock_hints(), false),
    ] {
        let mut stage = Stage::with(1, script);
        stage.host.arrive(2);
        stage.plan(|plan| plan.run(CPU[0], VCPU[0], None));
        let hint = |vcpu| {
            if wants {
                vec![Event::LockHint { vcpu }]
            } else {
                vec![]
            }
        };
        let lock = |vcpu, state| Input::Lock { vcpu, state };
        stage.host.input(lock(VCPU[1], LockState::Waiting));
        assert_eq!(stage.script.heard(), hint(VCPU[1]));
        // Nothing is wrong with a holder that runs.
        stage
            .host
            .input(lock(VCPU[0], LockState::Holding { since: 0 }));
        assert_eq!(stage.script.heard(), []);
        stage.try_plan(|plan| plan.idle(CPU[0])).unwrap();
        assert_eq!(stage.script.heard()[1..], hint(VCPU[0]));
        stage.host.input(lock(VCPU[1], LockState::Free));
        assert_eq!(stage.script.heard(), []);
    }
}

#[test]
fn grace_that_was_used_is_added_up() {
    let mut stage = stage();
    for used in [7 * US, 5 * US] {
        stage.plan(|plan| plan.run(CPU[1], VCPU[1], None));
        stage.host.grace_used_ns = used;
        stage.plan(|plan| plan.idle(CPU[1]));
    }
    assert_eq!(stage.view().vcpu(VCPU[1]).grace_ns, 12 * US);
}

/// vCPU 0 goes on with its CPU, where vCPU 1 begins a turn: it is lent it for 400 us, after some work
/// of the scheduler's.
fn goes_on() -> Stage {
    let mut stage = Stage::new(1, Granularity::Vcpu);
    stage.host.arrive(2);
    stage.plan(|plan| plan.run(CPU[0], VCPU[0], None));
    stage.host.run_until(MS);
    stage.host.stands_still = true;
    stage.plan(|plan| {
        plan.run(CPU[0], VCPU[1], None);
        plan.overhead(CPU[0], US);
        let Some(Change::Assign { grace_ns, .. }) = plan.changes_mut().last_mut() else {
            unreachable!("it has just been planned");
        };
        *grace_ns = 200 * US;
        plan.lend_as_debt(CPU[0], Some(VCPU[0]), MS + 400 * US);
    });
    stage
}

#[test]
fn who_goes_on_has_no_grace_before_its_loan_ends() {
    let mut stage = goes_on();
    stage.host.stands_still = false;
    stage.host.run_until(2 * MS);
    let orders: Vec<(u32, Nanos)> = stage
        .host
        .switches
        .iter()
        .filter_map(|switch| Some((switch.next?.0.0, switch.grace_ns)))
        .collect();
    assert_eq!(orders, [(0, 0), (0, 0), (1, 200 * US)]);
}

#[test]
fn what_is_had_of_a_loan_is_told_once_whatever_is_said_of_grace() {
    let left = |grace_used_ns| Input::Switched {
        cpu: CPU[0],
        occupant: None,
        grace_used_ns,
    };
    let borrowed = |ns| Event::Borrowed {
        by: Some(VCPU[0]),
        from: Some(VCPU[1]),
        ns,
    };
    for (used, before_the_loan) in [(120 * US, 0), (150 * US, 0), (180 * US, 30 * US)] {
        let mut stage = goes_on();
        stage.host.now += 150 * US;
        stage.host.input(left(used));
        let told = [borrowed(before_the_loan)];
        assert_eq!(
            stage.script.heard(),
            told[..usize::from(before_the_loan > 0)]
        );
        stage.host.run_until(2 * MS);
        assert_eq!(stage.script.heard(), [borrowed(150 * US)]);
    }
}
