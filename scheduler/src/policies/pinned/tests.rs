use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, VmId};

#[test]
fn vcpus_keep_their_cpus() {
    let mut host = Host::new(2, "pinned:quantum=10ms");
    host.arrive(3);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 2)), Some((0, 1))]);
    host.run_until(20 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
}

#[test]
fn an_affinity_that_changes_as_a_turn_ends_is_respected() {
    let mut host = Host::new(2, "pinned:quantum=10ms");
    let vm = host.arrive(3);
    let waiting = host.vcpu(vm, 2);
    // Its turn on CPU 0 begins at this very moment.
    host.now = 10 * MS;
    host.input(Input::HardAffinity(waiting, CpuSet::only(CpuId(1))));
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 2))]);
}

#[test]
fn who_loses_a_cpu_gets_another_home() {
    let mut host = Host::new(2, "pinned:quantum=10ms");
    host.arrive(2);
    host.input(Input::Offline(CpuId(0)));
    assert_eq!(host.on_cpus(), [None, Some((0, 1))]);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [None, Some((0, 0))]);
}

#[test]
fn out_of_phase_no_vm_ever_has_both_cpus() {
    let mut host = Host::new(2, "pinned:quantum=10ms,antiphase");
    // Neither when they come nor how matters.
    host.arrive(2);
    host.run_until(13 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
    host.arrive(2);
    for turn in 2..8 {
        host.run_until(turn * 10 * MS);
        let (even, odd) = (turn as u32 % 2, (turn as u32 + 1) % 2);
        assert_eq!(
            host.on_cpus(),
            [Some((even, 0)), Some((odd, 1))],
            "turn {turn}"
        );
        host.run_until(turn * 10 * MS + 9 * MS);
        assert_eq!(
            host.on_cpus(),
            [Some((even, 0)), Some((odd, 1))],
            "turn {turn}"
        );
    }
}

#[test]
fn out_of_phase_a_cpu_does_not_wait_for_who_has_nothing_to_do() {
    let mut host = Host::new(2, "pinned:quantum=10ms,antiphase");
    host.arrive(2);
    host.arrive(2);
    host.run_until(20 * MS);
    let first = host.vcpu(VmId(0), 0);
    host.halt(first);
    assert_eq!(host.on_cpus()[0], Some((1, 0)));
    host.wake(first);
    host.run_until(29 * MS);
    assert_eq!(host.on_cpus()[0], Some((1, 0)));
    host.run_until(40 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((1, 1))]);
}
