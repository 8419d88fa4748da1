mod caps;
mod lives;
mod loans;
mod model;
mod places;
mod refused;
mod script;
mod storm;

use super::*;
use crate::testing::Host;
use crate::{MS, Runstate};

#[test]
fn vcpus_on_one_cpu_take_turns_and_every_nanosecond_is_charged() {
    let mut host = Host::new(1, "pinned:quantum=10ms");
    let vm = host.arrive(2);
    assert_eq!(host.on_cpus(), [Some((0, 0))]);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 1))]);
    host.run_until(15 * MS);
    let first = host.engine.times(host.vcpu(vm, 0));
    let second = host.engine.times(host.vcpu(vm, 1));
    assert_eq!(
        (first[Runstate::Running], first[Runstate::Ready]),
        (10 * MS, 5 * MS)
    );
    assert_eq!(
        (second[Runstate::Running], second[Runstate::Ready]),
        (5 * MS, 10 * MS)
    );
}

#[test]
fn a_halted_vcpu_is_charged_as_halted() {
    let mut host = Host::new(2, "pinned");
    let vm = host.arrive(1);
    host.run_until(3 * MS);
    host.halt(host.vcpu(vm, 0));
    host.run_until(7 * MS);
    host.wake(host.vcpu(vm, 0));
    host.run_until(9 * MS);
    let times = host.engine.times(host.vcpu(vm, 0));
    assert_eq!(times[Runstate::Running], 5 * MS);
    assert_eq!(times[Runstate::Halted], 4 * MS);
    assert_eq!(times.total(), 9 * MS);
}

#[test]
fn a_capped_vm_gets_its_cap() {
    let mut host = Host::new(2, "pinned");
    let spec = VmSpec {
        cap_percent: Some(50),
        ..VmSpec::new("capped", 2)
    };
    let vm = host.arrive_as(spec);
    host.run_until(1000 * MS);
    assert_eq!(host.running_ns(vm), 500 * MS);
    host.input(Input::Cap(vm, None));
    host.run_until(1100 * MS);
    assert_eq!(host.running_ns(vm), 700 * MS);
}

#[test]
fn a_turn_given_to_a_vm_in_the_moment_it_leaves_is_taken_back() {
    let mut host = Host::new(1, "pinned:quantum=10ms");
    host.arrive(1);
    let leaving = host.arrive(1);
    // The end of the slice and the leaving are one input: the policy hears of the former first.
    host.now = 10 * MS;
    host.leave(leaving);
    assert_eq!(host.on_cpus(), [Some((0, 0))]);
}

#[test]
fn a_vm_that_leaves_when_a_slice_ends_is_not_given_the_cpu_again() {
    let mut host = Host::new(1, "pinned:quantum=10ms");
    let (stays, leaves) = (host.arrive(1), host.arrive(1));
    host.run_until(9 * MS);
    host.now = 10 * MS;
    host.leave(leaves);
    host.run_until(30 * MS);
    assert_eq!(host.on_cpus(), [Some((stays.0, 0))]);
    assert_eq!(host.running_ns(stays), 30 * MS);
}
