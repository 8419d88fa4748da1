use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS};

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
