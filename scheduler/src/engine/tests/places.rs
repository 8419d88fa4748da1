//! CPUs that come and go, hard affinities, and the units that follow from them.

use super::script::Stage;
use super::*;
use crate::{CpuSet, Granularity, MS, Turn};

fn cpus(ids: &[u16]) -> CpuSet {
    ids.iter().map(|&id| CpuId(id)).collect()
}

fn idle(cpu: u16) -> Event {
    Event::Idle { cpu: CpuId(cpu) }
}

/// Gives each CPU of a list the vCPU beside it, at the level of gangs.
fn slots(stage: &mut Stage, places: &[(u16, u32)]) {
    stage.plan(|plan| {
        for &(cpu, vcpu) in places {
            let (vcpu, until, level) = (VcpuId(vcpu), None, Level::Slot);
            plan.turn(CpuId(cpu), Turn { vcpu, until, level });
        }
    });
}

#[test]
fn a_cpu_that_goes_takes_its_turn_and_its_loan_along() {
    let mut stage = Stage::new(3, Granularity::Vcpu);
    stage.host.arrive(3);
    stage.plan(|plan| {
        plan.run(CpuId(0), VcpuId(0), Some(5 * MS));
        plan.run(CpuId(1), VcpuId(1), None);
        plan.lend(CpuId(0), Some(VcpuId(2)), 2 * MS);
    });
    assert_eq!(stage.occupants(), [Some(2), Some(1), None]);
    stage.host.input(Input::Offline(CpuId(0)));
    assert_eq!(stage.script.heard(), [Event::Offline { cpu: CpuId(0) }]);
    assert_eq!(stage.turns(), [None, Some(1), None]);
    assert_eq!(stage.occupants(), [None, Some(1), None]);
    assert_eq!(stage.view().vcpu(VcpuId(0)).allowed, cpus(&[1, 2]));
    stage.check();
    // It comes back empty. What is so already is no news.
    stage.host.input(Input::Online(CpuId(0)));
    stage.host.input(Input::Online(CpuId(0)));
    assert_eq!(stage.script.heard(), [idle(0)]);
    assert_eq!(stage.view().vcpu(VcpuId(0)).allowed, cpus(&[0, 1, 2]));
}

#[test]
fn the_rest_of_a_gang_does_not_run_on_without_the_cpu_that_has_gone() {
    let mut stage = Stage::new(4, Granularity::Gang);
    stage.host.arrive(3);
    stage.host.arrive(1);
    slots(&mut stage, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    stage.host.input(Input::Offline(CpuId(1)));
    let heard = stage.script.heard();
    let gone = Event::Offline { cpu: CpuId(1) };
    assert_eq!(heard, [idle(0), idle(2), gone]);
    assert_eq!(stage.turns(), [None, None, None, Some(3)]);
    stage.check();
}

#[test]
fn a_turn_in_a_hole_goes_alone() {
    let mut stage = Stage::new(3, Granularity::Gang);
    stage.host.arrive(2);
    stage.plan(|plan| {
        for id in 0..2 {
            let (vcpu, until, level) = (VcpuId(id), None, Level::Backfill);
            plan.turn(CpuId(id as u16), Turn { vcpu, until, level });
        }
    });
    stage.host.input(Input::Offline(CpuId(0)));
    assert_eq!(stage.turns(), [None, Some(1), None]);
}

#[test]
fn who_may_not_be_where_it_is_leaves_and_its_gang_with_it() {
    let mut stage = Stage::new(3, Granularity::Gang);
    let vm = stage.host.arrive(2);
    slots(&mut stage, &[(0, 0), (1, 1)]);
    // What stays allowed is no trouble.
    stage
        .host
        .input(Input::HardAffinity(VcpuId(0), cpus(&[0, 2])));
    assert_eq!(stage.script.heard(), [Event::Changed { vm }]);
    assert_eq!(stage.turns(), [Some(0), Some(1), None]);
    stage.host.input(Input::HardAffinity(VcpuId(0), cpus(&[2])));
    assert_eq!(
        stage.script.heard(),
        [idle(1), idle(0), Event::Changed { vm }]
    );
    assert_eq!(stage.turns(), [None, None, None]);
    assert_eq!(stage.occupants(), [None, None, None]);
    stage.check();
}

#[test]
fn a_borrower_that_may_not_be_there_any_more_gives_the_cpu_back() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    stage.host.arrive(2);
    stage.plan(|plan| {
        plan.run(CpuId(0), VcpuId(0), None);
        plan.lend(CpuId(0), Some(VcpuId(1)), 5 * MS);
    });
    stage.host.input(Input::HardAffinity(VcpuId(1), cpus(&[1])));
    assert_eq!(stage.occupants(), [Some(0), None]);
    stage.check();
}

#[test]
fn an_affinity_without_a_cpu_that_is_online_is_refused() {
    let mut stage = Stage::new(2, Granularity::Vcpu);
    let vm = stage.host.arrive(1);
    stage.host.input(Input::Offline(CpuId(1)));
    stage.script.heard();
    let error = stage
        .host
        .try_input(Input::HardAffinity(VcpuId(0), cpus(&[1])));
    assert_eq!(
        error.unwrap_err().to_string(),
        "hard affinity 1: none of these CPUs is online (online: 0)"
    );
    assert_eq!(stage.script.heard(), []);
    // A CPU that goes is not asked: its vCPU waits for it.
    stage.host.input(Input::HardAffinity(VcpuId(0), cpus(&[0])));
    stage.host.input(Input::Online(CpuId(1)));
    stage.host.input(Input::Offline(CpuId(0)));
    assert!(stage.view().vcpu(VcpuId(0)).allowed.is_empty());
    assert_eq!(stage.units(vm), [[0]]);
}

#[test]
fn what_was_due_is_told_although_the_input_is_refused() {
    let mut stage = Stage::new(1, Granularity::Vcpu);
    stage.host.arrive(1);
    stage.plan(|plan| plan.run(CpuId(0), VcpuId(0), Some(MS)));
    stage.host.now = MS;
    let error = stage
        .host
        .try_input(Input::HardAffinity(VcpuId(0), CpuSet::EMPTY));
    assert!(matches!(error, Err(EngineError::Vm(_))));
    assert_eq!(stage.script.heard(), [Event::SliceEnd { cpu: CpuId(0) }]);
}

#[test]
fn a_vm_that_is_wider_than_the_host_is_a_narrow_unit_and_full_ones() {
    let mut stage = Stage::new(6, Granularity::Gang);
    let (six, seven, twelve) = (
        stage.host.arrive(6),
        stage.host.arrive(7),
        stage.host.arrive(12),
    );
    let whole = |from: u32, to: u32| (from..to).collect::<Vec<u32>>();
    assert_eq!(stage.units(six), [whole(0, 6)]);
    assert_eq!(stage.units(seven), [whole(6, 7), whole(7, 13)]);
    assert_eq!(stage.units(twelve), [whole(13, 19), whole(19, 25)]);
    // With a CPU less, all are formed anew, and whoever had a slot has lost it.
    slots(
        &mut stage,
        &[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)],
    );
    stage.host.input(Input::Offline(CpuId(5)));
    assert_eq!(stage.units(six), [whole(0, 1), whole(1, 6)]);
    assert_eq!(stage.units(seven), [whole(6, 8), whole(8, 13)]);
    assert_eq!(stage.turns(), [None; 6]);
    let heard = stage.script.heard();
    assert!((0..3).all(|vm| heard.contains(&Event::Changed { vm: VmId(vm) })));
    stage.host.input(Input::Online(CpuId(5)));
    assert_eq!(stage.units(seven), [whole(6, 7), whole(7, 13)]);
    stage.check();
}

#[test]
fn a_unit_has_a_cpu_for_each_member_however_odd_the_affinities() {
    let mut stage = Stage::new(4, Granularity::Gang);
    let vm = stage.host.arrive(4);
    // Each of them greedily on its first CPU would leave one out; together they fit.
    for (vcpu, allowed) in [
        (0, cpus(&[0])),
        (1, cpus(&[0, 1])),
        (2, cpus(&[1, 2])),
        (3, cpus(&[0, 1, 2, 3])),
    ] {
        stage.host.input(Input::HardAffinity(VcpuId(vcpu), allowed));
    }
    assert_eq!(stage.units(vm), [vec![0, 1, 2, 3]]);
    // Three for two CPUs: one must be alone.
    stage
        .host
        .input(Input::HardAffinity(VcpuId(2), cpus(&[0, 1])));
    assert_eq!(stage.units(vm), [vec![0], vec![1, 2, 3]]);
    // All on one CPU: each alone.
    for vcpu in 0..4 {
        stage
            .host
            .input(Input::HardAffinity(VcpuId(vcpu), cpus(&[3])));
    }
    assert_eq!(stage.units(vm), [[0], [1], [2], [3]]);
}

#[test]
fn a_gang_without_any_cpu_waits_vcpu_by_vcpu() {
    let mut stage = Stage::new(2, Granularity::Gang);
    let spec = VmSpec {
        hard_affinity: cpus(&[1]),
        ..VmSpec::new("vm", 2)
    };
    let vm = stage.host.arrive_as(spec);
    stage.host.input(Input::Offline(CpuId(1)));
    assert_eq!(stage.units(vm), [[0], [1]]);
    assert!(
        stage
            .view()
            .vcpus()
            .all(|(_, state)| state.allowed.is_empty())
    );
}
