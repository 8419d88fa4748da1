use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Runstate, SECOND, VmId, VmSpec};

/// What a VM was last told.
fn told(host: &Host, vm: VmId) -> Option<u32> {
    let advice = host.advice.iter().rev().find(|&&(to, _)| to == vm);
    advice.map(|&(_, cpus)| cpus)
}

fn running(host: &Host, vm: VmId) -> usize {
    let of_vm = |on: &&Option<(u32, u32)>| on.is_some_and(|(id, _)| id == vm.0);
    host.on_cpus().iter().filter(of_vm).count()
}

#[test]
fn targets_follow_vms_that_come_and_go() {
    let mut host = Host::new(8, "dynamic");
    let a = host.arrive(8);
    assert_eq!(told(&host, a), Some(8));
    let b = host.arrive(8);
    assert_eq!((told(&host, a), told(&host, b)), (Some(4), Some(4)));
    let c = host.arrive(8);
    host.run_until(20 * MS);
    assert_eq!(
        [a, b, c].map(|vm| told(&host, vm)),
        [Some(3), Some(3), Some(2)]
    );
    assert_eq!([a, b, c].map(|vm| running(&host, vm)), [3, 3, 2]);
    host.leave(b);
    host.run_until(40 * MS);
    assert_eq!([a, c].map(|vm| told(&host, vm)), [Some(4), Some(4)]);
    assert_eq!([a, c].map(|vm| running(&host, vm)), [4, 4]);
    host.leave(a);
    assert_eq!(told(&host, c), Some(8));
    assert_eq!(running(&host, c), 8);
}

#[test]
fn a_vm_that_does_not_listen_has_its_vcpus_take_turns() {
    let mut host = Host::new(4, "dynamic:quantum=10ms");
    let (a, b) = (host.arrive(4), host.arrive(4));
    host.run_until(SECOND);
    for vm in [a, b] {
        assert!(host.running_ns(vm).abs_diff(2 * SECOND) <= 20 * MS);
        for index in 0..4 {
            let times = host.engine.times(host.vcpu(vm, index));
            assert!(times[Runstate::Running].abs_diff(SECOND / 2) <= 30 * MS);
        }
    }
}

#[test]
fn what_a_vm_does_not_use_goes_to_others_after_a_while() {
    let mut host = Host::new(8, "dynamic");
    let (a, b) = (host.arrive(8), host.arrive(8));
    for index in 1..8 {
        host.halt(host.vcpu(a, index));
    }
    host.run_until(SECOND / 2);
    assert_eq!(told(&host, b), Some(4), "it may be a whim");
    host.run_until(3 * SECOND);
    assert_eq!((told(&host, a), told(&host, b)), (Some(2), Some(6)));
    // It wants more again, and is heard soon.
    for index in 1..8 {
        host.wake(host.vcpu(a, index));
    }
    host.run_until(3 * SECOND + 30 * MS);
    assert_eq!((told(&host, a), told(&host, b)), (Some(4), Some(4)));
    assert_eq!((running(&host, a), running(&host, b)), (4, 4));
}

#[test]
fn a_vm_that_listens_can_grow_again() {
    let mut host = Host::new(8, "dynamic");
    let (a, b) = (host.arrive(8), host.arrive(8));
    let c = host.arrive(8);
    // A does as it is told, B never does.
    for index in 3..8 {
        host.halt(host.vcpu(a, index));
    }
    host.run_until(3 * SECOND);
    host.leave(c);
    host.run_until(4 * SECOND);
    assert_eq!((told(&host, a), told(&host, b)), (Some(4), Some(4)));
}

#[test]
fn more_vms_than_cpus_lease_them() {
    let mut host = Host::new(2, "dynamic:lease=100ms");
    let vms = [host.arrive(2), host.arrive(1), host.arrive(1)];
    assert_eq!(vms.map(|vm| told(&host, vm)), [Some(1), Some(1), Some(1)]);
    host.run_until(6 * SECOND);
    for vm in vms {
        assert!(host.running_ns(vm).abs_diff(4 * SECOND) <= 200 * MS);
    }
    // Who has nothing to do needs no lease.
    host.halt(host.vcpu(vms[2], 0));
    host.run_until(7 * SECOND);
    let before = host.running_ns(vms[0]);
    host.run_until(8 * SECOND);
    assert_eq!(host.running_ns(vms[0]) - before, SECOND);
    host.wake(host.vcpu(vms[2], 0));
    host.run_until(8 * SECOND + 300 * MS);
    assert!(running(&host, vms[2]) == 1 || host.running_ns(vms[2]) > 4 * SECOND);
}

#[test]
fn leases_follow_weights() {
    let mut host = Host::new(1, "dynamic:lease=100ms");
    let weighing = |weight| VmSpec {
        weight,
        ..VmSpec::new("vm", 1)
    };
    let (heavy, light) = (host.arrive_as(weighing(512)), host.arrive_as(weighing(256)));
    host.run_until(6 * SECOND);
    assert!(host.running_ns(heavy).abs_diff(4 * SECOND) <= 200 * MS);
    assert!(host.running_ns(light).abs_diff(2 * SECOND) <= 200 * MS);
}

#[test]
fn strays_get_their_turns() {
    let mut host = Host::new(4, "dynamic");
    let wide = host.arrive(4);
    let only = |cpu| VmSpec {
        hard_affinity: CpuSet::only(CpuId(cpu)),
        ..VmSpec::new("vm", 1)
    };
    // Both may use CPU 0 only, and one of them owns it.
    let vms = [host.arrive_as(only(0)), host.arrive_as(only(0))];
    host.run_until(SECOND);
    for vm in vms {
        assert!(host.running_ns(vm) >= 400 * MS, "{}", host.running_ns(vm));
    }
    assert!(host.running_ns(wide) >= 1900 * MS);
}

#[test]
fn cpus_come_and_go() {
    let mut host = Host::new(4, "dynamic");
    let (a, b) = (host.arrive(4), host.arrive(4));
    host.input(Input::Offline(CpuId(0)));
    host.input(Input::Offline(CpuId(1)));
    host.run_until(20 * MS);
    assert_eq!((told(&host, a), told(&host, b)), (Some(1), Some(1)));
    assert_eq!((running(&host, a), running(&host, b)), (1, 1));
    host.input(Input::Offline(CpuId(2)));
    host.run_until(2 * SECOND);
    for vm in [a, b] {
        assert!(host.running_ns(vm) >= 900 * MS, "they lease it");
    }
    for cpu in 0..3 {
        host.input(Input::Online(CpuId(cpu)));
    }
    host.run_until(3 * SECOND);
    assert_eq!((running(&host, a), running(&host, b)), (2, 2));
}

#[test]
fn it_takes_over_a_running_host() {
    let mut host = Host::new(4, "pinned");
    let (a, b) = (host.arrive(4), host.arrive(4));
    host.run_until(5 * MS);
    host.set_policy("dynamic");
    host.run_until(30 * MS);
    assert_eq!((running(&host, a), running(&host, b)), (2, 2));
    host.input(Input::Weight(a, 768));
    host.run_until(60 * MS);
    assert_eq!((running(&host, a), running(&host, b)), (3, 1));
}
