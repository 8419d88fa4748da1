//! VMs that come and go, policies that follow each other, and inputs that make no sense.

use super::script::{Script, Stage};
use super::*;
use crate::{Granularity, MS};

const CPU: [CpuId; 2] = [CpuId(0), CpuId(1)];

#[test]
fn a_policy_hears_of_a_leaving_while_the_vm_is_there_and_then_of_its_cpus() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    let vm = stage.host.arrive(2);
    stage.plan(|plan| {
        plan.run(CPU[0], VcpuId(0), Some(MS));
        plan.run(CPU[1], VcpuId(1), None);
    });
    stage.host.leave(vm);
    let idle = |cpu| Event::Idle { cpu };
    assert_eq!(
        stage.script.heard(),
        [Event::Leave { vm }, idle(CPU[0]), idle(CPU[1])]
    );
    assert_eq!(stage.occupants(), [None, None]);
    assert_eq!(stage.host.engine.next_deadline(), None);
    assert!(stage.view().find_vm(vm).is_none());
    assert!(stage.view().units.iter().all(Option::is_none));
}

#[test]
fn numbers_are_used_again_and_nothing_is_left_of_who_had_them() {
    let mut stage = Stage::new(2, Granularity::Gang);
    let capped = VmSpec {
        cap_percent: Some(10),
        ..VmSpec::new("vm", 2)
    };
    let (leaves, stays) = (stage.host.arrive_as(capped), stage.host.arrive(1));
    stage.host.input(Input::Lock {
        vcpu: VcpuId(0),
        state: LockState::Waiting,
    });
    stage.host.halt(VcpuId(1));
    stage.host.run_until(5 * MS);
    stage.host.leave(leaves);
    // Three have no room where two were.
    let three = stage.host.arrive(3);
    assert_eq!(three, leaves);
    assert_eq!(stage.view().vm(three).first, VcpuId(3));
    let two = stage.host.arrive(2);
    assert_eq!(stage.view().vm(two).first, VcpuId(0));
    stage.host.run_until(6 * MS);
    for vcpu in stage.view().vm(two).vcpus() {
        let state = stage.view().vcpu(vcpu);
        assert!(state.runnable());
        assert_eq!((state.lock, state.last_cpu), (LockState::Free, None));
        assert_eq!(stage.host.engine.times(vcpu).total(), MS);
    }
    assert_eq!(stage.units(stays), [[2]]);
    assert_eq!(stage.units(two), [[0, 1]]);
    stage.check();
}

#[test]
fn reports_about_who_has_left_come_too_late_and_do_no_harm() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    let (leaves, _) = (stage.host.arrive(1), stage.host.arrive(1));
    stage.plan(|plan| {
        plan.run(CPU[0], VcpuId(0), None);
        plan.run(CPU[1], VcpuId(1), None);
    });
    stage.host.leave(leaves);
    let before = stage.state();
    let late = |occupant| Input::Switched {
        cpu: CPU[0],
        occupant,
        grace_used_ns: 0,
    };
    let error = stage.host.try_input(late(Some(VcpuId(0)))).unwrap_err();
    assert_eq!(error.to_string(), "vcpu0 does not exist");
    stage.host.input(late(None));
    assert_eq!(stage.state(), before);
}

#[test]
fn inputs_that_name_what_does_not_exist_are_told() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    stage.host.arrive(1);
    stage.script.heard();
    let before = stage.state();
    let (vm, vcpu, cpu) = (VmId(5), VcpuId(6), CpuId(7));
    let switched = |cpu, occupant| Input::Switched {
        cpu,
        occupant,
        grace_used_ns: 0,
    };
    let unknown = [
        (Input::Leave(vm), "vm5"),
        (Input::Weight(vm, 1), "vm5"),
        (Input::Cap(vm, None), "vm5"),
        (Input::Wake(vcpu), "vcpu6"),
        (Input::Halt(vcpu), "vcpu6"),
        (Input::HardAffinity(vcpu, crate::CpuSet::ALL), "vcpu6"),
        (
            Input::Lock {
                vcpu,
                state: LockState::Free,
            },
            "vcpu6",
        ),
        (switched(CPU[0], Some(vcpu)), "vcpu6"),
        (switched(cpu, None), "cpu7"),
        (switched(cpu, Some(VcpuId(0))), "cpu7"),
        (Input::Online(cpu), "cpu7"),
        (Input::Offline(cpu), "cpu7"),
    ];
    for (input, name) in unknown {
        let error = stage.host.try_input(input.clone()).unwrap_err();
        assert_eq!(error, EngineError::Unknown(name.to_owned()), "{input:?}");
    }
    let weight = stage.host.try_input(Input::Weight(VmId(0), 0)).unwrap_err();
    assert_eq!(weight.to_string(), "weight 0: allowed are 1 to 10000");
    let cap = stage
        .host
        .try_input(Input::Cap(VmId(0), Some(0)))
        .unwrap_err();
    assert!(cap.to_string().starts_with("a cap of 0 %"));
    assert_eq!(stage.script.heard(), []);
    assert_eq!(stage.state(), before);
}

#[test]
fn cpus_that_a_new_policy_leaves_as_they_are_do_not_switch() {
    let mut stage = Stage::new(2, Granularity::Gang);
    stage.host.arrive(2);
    stage.plan(|plan| {
        for id in 0..2 {
            plan.run(CpuId(id), VcpuId(id.into()), None);
        }
        plan.co_stop(VcpuId(1), true);
        plan.tick(MS);
    });
    let before = stage.host.switches.len();
    let next = Script::new(Granularity::Vcpu);
    let mut plan = Plan::default();
    plan.run(CPU[0], VcpuId(0), None);
    next.say(plan);
    stage.host.set_policy_to(Box::new(next.clone()));
    let arrive = Event::Arrive { vm: VmId(0) };
    // CPU 0 is taken already when its turn comes to be told.
    assert_eq!(next.heard(), [arrive, Event::Idle { cpu: CPU[1] }]);
    assert_eq!(
        stage.host.switches.len(),
        before,
        "CPU 0 goes on, CPU 1 idled before"
    );
    assert_eq!(stage.turns(), [Some(0), None]);
    assert_eq!(stage.units(VmId(0)), [[0], [1]]);
    assert!(stage.view().vcpu(VcpuId(1)).runnable());
    stage.host.run_until(2 * MS);
    assert_eq!(next.heard(), [], "the old policy's tick is forgotten");
    assert_eq!(stage.script.heard(), []);
}

#[test]
fn a_new_policy_is_told_of_the_cpus_that_it_leaves_free() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    stage.host.arrive(1);
    stage.plan(|plan| {
        plan.run(CPU[0], VcpuId(0), None);
        plan.lend(CPU[1], None, MS);
    });
    stage
        .host
        .set_policy_to(Box::new(Script::new(Granularity::Vcpu)));
    assert_eq!(stage.occupants(), [None, None]);
    assert_eq!(stage.loans(), [None, None]);
    stage.check();
}

#[test]
#[should_panic(expected = "time goes back from 5 to 4")]
fn time_does_not_go_back() {
    let mut stage = Stage::new(1, Granularity::Vcpu);
    stage.host.run_until(5);
    stage.host.now = 4;
    stage.host.input(Input::Time);
}

#[test]
#[should_panic(expected = "vcpu0 starts on cpu1 while on another")]
fn an_actuator_that_has_a_vcpu_on_two_cpus_is_stopped() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    stage.host.arrive(1);
    stage.plan(|plan| plan.run(CPU[0], VcpuId(0), None));
    stage.host.input(Input::Switched {
        cpu: CPU[1],
        occupant: Some(VcpuId(0)),
        grace_used_ns: 0,
    });
}
