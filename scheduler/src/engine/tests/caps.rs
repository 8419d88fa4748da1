//! Caps.

use super::script::Stage;
use super::*;
use crate::vm::CAP_PERIOD;
use crate::{Granularity, MS};

/// A capped VM with a CPU for each of its vCPUs.
fn stage(vcpus: u32, cap_percent: u32) -> Stage {
    let mut stage = Stage::new(vcpus as usize, Granularity::Vcpu);
    let spec = VmSpec {
        cap_percent: Some(cap_percent),
        ..VmSpec::new("vm", vcpus)
    };
    stage.host.arrive_as(spec);
    stage.plan(|plan| {
        for id in 0..vcpus {
            plan.run(CpuId(id as u16), VcpuId(id), None);
        }
    });
    stage
}

#[test]
fn several_vcpus_use_a_cap_up_together_and_are_stopped_and_started_together() {
    let mut stage = stage(3, 60);
    stage.host.run_until(20 * MS - 1);
    assert_eq!(stage.occupants(), [Some(0), Some(1), Some(2)]);
    stage.host.run_until(20 * MS);
    assert_eq!(stage.occupants(), [None; 3]);
    let vcpus = [VcpuId(0), VcpuId(1), VcpuId(2)];
    let halts = vcpus.map(|vcpu| Event::Halt { vcpu });
    assert_eq!(stage.script.heard(), halts);
    // A throttled vCPU could run and has no CPU: that is steal.
    stage.host.run_until(CAP_PERIOD);
    assert_eq!(stage.host.engine.times(VcpuId(0))[Runstate::Ready], 80 * MS);
    assert_eq!(stage.occupants(), [Some(0), Some(1), Some(2)]);
    assert_eq!(stage.script.heard(), vcpus.map(|vcpu| Event::Wake { vcpu }));
    stage.host.run_until(10 * CAP_PERIOD);
    assert_eq!(stage.host.running_ns(VmId(0)), 600 * MS);
}

#[test]
fn a_cap_that_does_not_divide_evenly_is_over_by_less_than_its_vcpus() {
    let mut stage = stage(7, 50);
    stage.host.run_until(CAP_PERIOD - 1);
    let used = stage.host.running_ns(VmId(0));
    assert!((50 * MS..50 * MS + 7).contains(&used), "{used}");
}

#[test]
fn who_halts_uses_nothing_up() {
    let mut stage = stage(2, 60);
    stage.host.run_until(10 * MS);
    stage.host.halt(VcpuId(1));
    stage.host.run_until(30 * MS);
    // 10 + 10 + 20 of 60 ms are used.
    stage.host.wake(VcpuId(1));
    stage.host.run_until(40 * MS - 1);
    assert_eq!(stage.occupants(), [Some(0), Some(1)]);
    stage.host.run_until(40 * MS);
    assert_eq!(stage.occupants(), [None; 2]);
    stage.host.run_until(CAP_PERIOD - 1);
    assert_eq!(stage.host.running_ns(VmId(0)), 60 * MS);
}

#[test]
fn who_wakes_with_the_cap_used_up_waits_for_the_next_period() {
    let mut stage = stage(2, 10);
    stage.host.halt(VcpuId(1));
    stage.host.run_until(50 * MS);
    stage.script.heard();
    stage.host.wake(VcpuId(1));
    assert_eq!(stage.script.heard(), []);
    assert_eq!(stage.occupants(), [None; 2]);
    stage.host.run_until(CAP_PERIOD);
    assert_eq!(stage.occupants(), [Some(0), Some(1)]);
}

#[test]
fn a_cap_is_changed_at_run_time() {
    let mut stage = stage(1, 10);
    stage.host.run_until(50 * MS);
    assert_eq!(stage.host.running_ns(VmId(0)), 10 * MS);
    // Another cap begins a period of its own.
    stage.host.input(Input::Cap(VmId(0), Some(30)));
    stage.host.run_until(149 * MS);
    assert_eq!(stage.host.running_ns(VmId(0)), 40 * MS);
    stage.host.input(Input::Cap(VmId(0), None));
    stage.host.run_until(449 * MS);
    assert_eq!(stage.host.running_ns(VmId(0)), 340 * MS);
    assert_eq!(stage.host.engine.next_deadline(), None);
    // A cap beyond all CPUs caps nothing.
    stage.host.input(Input::Cap(VmId(0), Some(u32::MAX)));
    stage.host.run_until(1449 * MS);
    assert_eq!(stage.host.running_ns(VmId(0)), 1340 * MS);
}

#[test]
fn a_vcpu_that_halts_while_it_is_held_back_uses_nothing_up() {
    let mut stage = stage(2, 60);
    // The host is slow: vCPU 1 is held back, halts, and is on its CPU all the time.
    let mut plan = Plan::default();
    plan.co_stop(VcpuId(1), true);
    stage.script.say(plan);
    stage.host.stands_still = true;
    stage.host.input(Input::Weight(VmId(0), 256));
    stage.host.halt(VcpuId(1));
    assert_eq!(stage.occupants(), [Some(0), Some(1)]);
    stage.host.run_until(60 * MS - 1);
    assert!(stage.view().vcpu(VcpuId(0)).runnable());
    stage.host.run_until(60 * MS);
    assert!(!stage.view().vcpu(VcpuId(0)).runnable());
}

#[test]
fn a_cap_that_is_used_up_asks_for_nothing_before_the_next_period() {
    let mut stage = stage(2, 60);
    stage.host.stands_still = true;
    stage.host.run_until(40 * MS);
    assert!(stage.view().vcpus().all(|(_, state)| !state.runnable()));
    // They leave one after the other, late.
    let leave = |cpu| Input::Switched {
        cpu,
        occupant: None,
        grace_used_ns: 0,
    };
    stage.host.input(leave(CpuId(0)));
    assert_eq!(stage.host.engine.next_deadline(), Some(CAP_PERIOD));
    stage.host.input(leave(CpuId(1)));
    assert_eq!(stage.host.engine.next_deadline(), Some(CAP_PERIOD));
}
