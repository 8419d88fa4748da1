//! Plans that break a rule are refused whole.

use super::script::Stage;
use super::*;
use crate::plan::{Change, GRACE_MAX, LOAN_MAX};
use crate::testing::Host;
use crate::{CpuSet, Granularity, MS};

const CPU: [CpuId; 4] = [CpuId(0), CpuId(1), CpuId(2), CpuId(3)];
const VCPU: [VcpuId; 4] = [VcpuId(0), VcpuId(1), VcpuId(2), VcpuId(3)];

/// vCPU 0 has CPU 0 until 10 ms; vCPU 1 has CPU 1, which is lent to vCPU 2; vCPU 3 has halted and may
/// run on CPU 0 only. CPU 2 is free, CPU 3 offline.
fn stage() -> Stage {
    let mut stage = Stage::new(4, Granularity::Vcpu);
    stage.host.arrive(2);
    stage.host.arrive(2);
    stage.host.input(Input::Offline(CPU[3]));
    stage
        .host
        .input(Input::HardAffinity(VCPU[3], CpuSet::only(CPU[0])));
    stage.host.halt(VCPU[3]);
    stage.host.run_until(MS);
    stage.plan(|plan| {
        plan.run(CPU[0], VCPU[0], Some(10 * MS));
        plan.run(CPU[1], VCPU[1], None);
        plan.lend(CPU[1], Some(VCPU[2]), 3 * MS);
    });
    stage
}

/// Changes that are legal, and would disturb everything.
fn disturb(plan: &mut Plan) {
    plan.run(CPU[0], VCPU[1], Some(5 * MS));
    plan.run(CPU[1], VCPU[0], Some(6 * MS));
    plan.lend(CPU[1], None, 2 * MS);
    plan.extend(CPU[1], 7 * MS);
    plan.co_stop(VCPU[0], true);
    plan.advise(VmId(1), 1);
    plan.tick(2 * MS);
}

type Write = fn(&mut Plan);

const ILLEGAL: &[(Write, &str)] = &[
    (|plan| plan.run(CPU[3], VCPU[2], None), "cpu3 is not online"),
    (|plan| plan.idle(CPU[3]), "cpu3 is not online"),
    (|plan| plan.idle(CpuId(77)), "cpu77 is not online"),
    (|plan| plan.extend(CPU[3], 2 * MS), "cpu3 is not online"),
    (|plan| plan.lend(CPU[3], None, 2 * MS), "cpu3 is not online"),
    (|plan| plan.take_back(CPU[3]), "cpu3 is not online"),
    (
        |plan| plan.run(CPU[2], VcpuId(9), None),
        "vcpu9 does not exist",
    ),
    (
        |plan| plan.lend(CPU[2], Some(VcpuId(9)), 2 * MS),
        "vcpu9 does not exist",
    ),
    (|plan| plan.co_stop(VcpuId(9), true), "vcpu9 does not exist"),
    (|plan| plan.advise(VmId(7), 1), "vm7 does not exist"),
    (
        |plan| plan.run(CPU[2], VCPU[3], None),
        "vcpu3 may not run on cpu2: its hard affinity forbids it",
    ),
    (
        |plan| plan.lend(CPU[2], Some(VCPU[3]), 2 * MS),
        "vcpu3 may not run on cpu2: its hard affinity forbids it",
    ),
    (
        |plan| plan.run(CPU[2], VCPU[0], None),
        "vcpu0 would be on cpu1 and cpu2 at once",
    ),
    (
        |plan| plan.lend(CPU[2], Some(VCPU[0]), 2 * MS),
        "vcpu0 would be on cpu1 and cpu2 at once",
    ),
    (
        |plan| {
            plan.lend(CPU[0], Some(VCPU[2]), 2 * MS);
            plan.lend(CPU[2], Some(VCPU[2]), 2 * MS);
        },
        "vcpu2 would be on cpu0 and cpu2 at once",
    ),
    (
        |plan| plan.run(CPU[2], VCPU[2], Some(MS)),
        "1000000 ns is not in the future (now: 1000000 ns)",
    ),
    (
        |plan| plan.extend(CPU[0], MS),
        "1000000 ns is not in the future (now: 1000000 ns)",
    ),
    (
        |plan| plan.lend(CPU[2], None, 0),
        "0 ns is not in the future (now: 1000000 ns)",
    ),
    (
        |plan| plan.tick(MS),
        "1000000 ns is not in the future (now: 1000000 ns)",
    ),
    (
        |plan| plan.extend(CPU[2], 2 * MS),
        "cpu2 has no turn whose end could be moved",
    ),
    (
        |plan| {
            let (vcpu, until) = (VCPU[2], None);
            let level = Level::Boosted;
            plan.turn(CPU[2], crate::Turn { vcpu, until, level });
        },
        "vcpu2 was given a turn at the level of loans",
    ),
    (
        |plan| plan.lend(CPU[2], None, MS + LOAN_MAX + 1),
        "a loan of 5000001 ns: the longest is 5000000 ns",
    ),
    (
        |plan| {
            plan.idle(CPU[2]);
            let Some(Change::Assign { grace_ns, .. }) = plan.changes_mut().last_mut() else {
                unreachable!("it is the last");
            };
            *grace_ns = GRACE_MAX + 1;
        },
        "a grace of 500001 ns: the longest is 500000 ns",
    ),
    (
        |plan| plan.lend(CPU[0], Some(VCPU[3]), 2 * MS),
        "vcpu3 was lent a CPU and is not runnable",
    ),
];

#[test]
fn a_refused_plan_leaves_everything_as_it_was() {
    for (index, (illegal, message)) in ILLEGAL.iter().enumerate() {
        let mut stage = stage();
        let before = stage.state();
        let outcome = stage.try_plan(|plan| {
            disturb(plan);
            illegal(plan);
        });
        let expected = format!(
            "policy script answered Changed {{ vm: VmId(0) }} with an illegal plan: {message}"
        );
        assert_eq!(outcome.unwrap_err().to_string(), expected, "case {index}");
        assert_eq!(stage.state(), before, "case {index}: {message}");
        stage.check();
        // What was refused is forgotten: the same without the offence is taken.
        stage.try_plan(disturb).unwrap();
        assert_eq!(stage.turns(), [Some(1), Some(0), None, None]);
    }
}

#[test]
fn a_part_of_a_gang_is_refused_and_the_gang_keeps_its_slot() {
    let mut stage = Stage::new(3, Granularity::Gang);
    stage.host.arrive(3);
    stage.host.arrive(2);
    let slot = |plan: &mut Plan, cpu: CpuId, vcpu: VcpuId| {
        let (until, level) = (None, Level::Slot);
        plan.turn(cpu, crate::Turn { vcpu, until, level });
    };
    stage.plan(|plan| (0..3).for_each(|index| slot(plan, CPU[index], VCPU[index])));
    let before = stage.state();
    let split = "unit0 would run split: 2 of its 3 members have a turn";
    assert_eq!(stage.violation(|plan| plan.idle(CPU[2])), split);
    // At a lower level it counts as left out.
    assert_eq!(
        stage.violation(|plan| plan.run(CPU[2], VCPU[2], None)),
        split
    );
    let half = stage.violation(|plan| {
        (0..3).for_each(|index| plan.idle(CPU[index]));
        slot(plan, CPU[0], VcpuId(4));
    });
    assert_eq!(
        half,
        "unit1 would run split: 1 of its 2 members have a turn"
    );
    assert_eq!(stage.state(), before);
    // One that has halted may be left out, and alone at the lowest level any may run.
    stage.host.halt(VCPU[2]);
    stage.plan(|plan| {
        let (vcpu, until, level) = (VcpuId(4), None, Level::Backfill);
        plan.turn(CPU[2], crate::Turn { vcpu, until, level });
    });
    assert_eq!(stage.turns(), [Some(0), Some(1), Some(4)]);
    // Once it has woken, and the policy knows, it is missed.
    stage.host.wake(VCPU[2]);
    assert_eq!(stage.violation(|plan| plan.extend(CPU[0], MS)), split);
}

#[test]
fn while_a_wake_is_not_told_yet_the_vcpu_is_not_missed() {
    let mut stage = Stage::new(2, Granularity::Gang);
    stage.host.arrive(2);
    stage.host.halt(VCPU[1]);
    let slot = |plan: &mut Plan, until| {
        let (vcpu, level) = (VCPU[0], Level::Slot);
        plan.turn(CPU[0], crate::Turn { vcpu, until, level });
    };
    stage.plan(|plan| slot(plan, Some(MS)));
    // The end of the slice and the wake-up are one input. The policy hears of the former first.
    let mut next = Plan::default();
    slot(&mut next, Some(2 * MS));
    stage.script.say(next);
    stage.host.now = MS;
    stage.host.wake(VCPU[1]);
    let slice_end = Event::SliceEnd { cpu: CPU[0] };
    assert_eq!(
        stage.script.heard(),
        [slice_end, Event::Wake { vcpu: VCPU[1] }]
    );
    assert_eq!(stage.turns(), [Some(0), None]);
}

#[test]
fn a_slice_that_has_ended_does_not_end_again_because_a_plan_is_refused() {
    let mut stage = stage();
    stage.host.run_until(9 * MS);
    let mut illegal = Plan::default();
    illegal.idle(CPU[0]);
    illegal.run(CPU[2], VCPU[1], None);
    stage.script.say(illegal);
    stage.host.now = 10 * MS;
    assert!(stage.host.try_input(Input::Time).is_err());
    assert_eq!(stage.script.heard(), [Event::SliceEnd { cpu: CPU[0] }]);
    assert_eq!(stage.occupants(), [Some(0), Some(1), None, None]);
    assert_eq!(stage.host.engine.next_deadline(), None);
}

#[test]
fn two_vcpus_change_places_in_one_plan() {
    let mut stage = stage();
    stage.plan(|plan| {
        plan.run(CPU[0], VCPU[1], None);
        plan.run(CPU[1], VCPU[0], None);
    });
    assert_eq!(stage.occupants(), [Some(1), Some(0), None, None]);
    stage.check();
}

/// Stops who may run, and lets go who was stopped.
#[derive(Debug)]
struct Fickle;

impl Policy for Fickle {
    fn name(&self) -> &'static str {
        "fickle"
    }

    fn claims(&self) -> crate::Claims {
        crate::Claims::default()
    }

    fn on_event(&mut self, _now: Nanos, event: &Event, _view: &View, plan: &mut Plan) {
        match *event {
            Event::Halt { vcpu } => plan.co_stop(vcpu, false),
            Event::Wake { vcpu } => plan.co_stop(vcpu, true),
            _ => {}
        }
    }
}

#[test]
fn a_policy_that_does_not_settle_is_stopped() {
    let mut host = Host::with(Topology::flat(1), Box::new(Fickle));
    let vm = host.arrive(2);
    host.halt(host.vcpu(vm, 0));
    let refused = host.try_input(Input::Wake(host.vcpu(vm, 0)));
    assert_eq!(refused, Err(EngineError::Restless { policy: "fickle" }));
    host.leave(vm);
    assert!(host.engine.view().find_vm(vm).is_none());
}
