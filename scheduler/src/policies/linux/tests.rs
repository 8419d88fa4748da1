use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Runstate, SECOND, VmSpec};

fn weighing(weight: u32) -> VmSpec {
    VmSpec {
        weight,
        ..VmSpec::new("vm", 1)
    }
}

#[test]
fn two_busy_vcpus_on_a_cpu_take_turns_of_one_tick() {
    let mut host = Host::new(1, "linux");
    let (a, b) = (host.arrive(1), host.arrive(1));
    let mut before = host.on_cpus();
    let mut switches = Vec::new();
    for ms in 1..=100 {
        host.run_until(ms * MS);
        if host.on_cpus() != before {
            before = host.on_cpus();
            switches.push(ms);
        }
    }
    assert!(switches.len() > 20, "{switches:?}");
    // The first requests are half ones; then there is a rhythm.
    let mut gaps = switches.windows(2).skip(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.all(|gap| gap == 4), "{switches:?}");
    let ahead = host.running_ns(a).abs_diff(host.running_ns(b));
    assert!(ahead <= 8 * MS);
}

#[test]
fn a_longer_slice_lasts_longer() {
    let mut host = Host::new(1, "linux:slice=100ms");
    let (a, b) = (host.arrive(1), host.arrive(1));
    host.run_until(SECOND);
    let mut before = host.on_cpus();
    let mut switches = 0;
    for ms in 1001..=3000 {
        host.run_until(ms * MS);
        switches += u32::from(host.on_cpus() != before);
        before = host.on_cpus();
    }
    assert!((18..=20).contains(&switches), "{switches}");
    assert!(host.running_ns(a).abs_diff(host.running_ns(b)) <= 104 * MS);
}

#[test]
fn weights_are_honoured_on_a_cpu() {
    let mut host = Host::new(1, "linux");
    let (heavy, light) = (host.arrive_as(weighing(512)), host.arrive_as(weighing(256)));
    host.run_until(6 * SECOND);
    let ideal = 4 * SECOND;
    assert!(host.running_ns(heavy).abs_diff(ideal) < ideal / 100);
    host.input(Input::Weight(light, 512));
    host.run_until(10 * SECOND);
    assert!(host.running_ns(heavy).abs_diff(6 * SECOND) < ideal / 100);
}

#[test]
fn who_wakes_runs_at_once_if_he_is_due() {
    let mut host = Host::new(1, "linux");
    let (hog, sleeper) = (host.arrive(1), host.arrive(1));
    host.run_until(20 * MS);
    host.halt(host.vcpu(sleeper, 0));
    // It has slept long; what runs has had its slice.
    host.run_until(100 * MS);
    assert_eq!(host.cpu_of(hog, 0), Some(CpuId(0)));
    let latency = (0..20).map(|round| {
        host.run_until((100 + 10 * round) * MS + 5 * MS);
        let before = host.engine.times(host.vcpu(sleeper, 0))[Runstate::Ready];
        host.wake(host.vcpu(sleeper, 0));
        while host.cpu_of(sleeper, 0).is_none() {
            host.run_until(host.now + MS / 10);
        }
        host.run_until(host.now + MS / 10);
        host.halt(host.vcpu(sleeper, 0));
        host.engine.times(host.vcpu(sleeper, 0))[Runstate::Ready] - before
    });
    let latencies: Vec<u64> = latency.collect();
    assert!(
        latencies.iter().all(|&waited| waited <= 4 * MS),
        "{latencies:?}"
    );
    assert!(latencies.contains(&0), "{latencies:?}");
}

#[test]
fn new_ones_are_spread_and_stay() {
    let mut host = Host::new(2, "linux");
    let vms = [
        host.arrive(1),
        host.arrive(1),
        host.arrive(1),
        host.arrive(1),
    ];
    host.run_until(2 * SECOND);
    for vm in vms {
        assert!(host.running_ns(vm).abs_diff(SECOND) <= 20 * MS);
    }
}

#[test]
fn siblings_get_stacked_and_stay_so_unless_they_are_pinned() {
    for (policy, stacked) in [
        ("linux", true),
        ("linux:seed=7", true),
        ("linux:pin", false),
    ] {
        let mut host = Host::new(2, policy);
        let vm = host.arrive(2);
        host.halt(host.vcpu(vm, 1));
        // Another takes the second one's CPU. When that wakes, only its sibling's CPU idles.
        host.arrive(1);
        host.halt(host.vcpu(vm, 0));
        host.wake(host.vcpu(vm, 1));
        host.wake(host.vcpu(vm, 0));
        host.run_until(SECOND);
        let (mut together, before) = (0, host.running_ns(vm));
        for ms in 1001..=2000 {
            host.run_until(ms * MS);
            let both = host.cpu_of(vm, 0).is_some() && host.cpu_of(vm, 1).is_some();
            together += u32::from(both);
        }
        assert_eq!(together == 0, stacked, "{policy}: {together}");
        let share = host.running_ns(vm) - before;
        let ideal = if stacked { 1000 } else { 1500 };
        assert!(share.abs_diff(ideal * MS) <= 10 * MS, "{policy}: {share}");
    }
}

#[test]
fn a_cpu_without_work_takes_some() {
    let mut host = Host::new(2, "linux");
    let vms = [host.arrive(1), host.arrive(1), host.arrive(1)];
    host.run_until(50 * MS);
    // One goes; now there is one for each CPU.
    host.leave(vms[0]);
    host.run_until(60 * MS);
    assert!(vms[1..].iter().all(|&vm| host.cpu_of(vm, 0).is_some()));
    let before = vms[1..].iter().map(|&vm| host.running_ns(vm)).sum::<u64>();
    host.run_until(160 * MS);
    let after = vms[1..].iter().map(|&vm| host.running_ns(vm)).sum::<u64>();
    assert_eq!(after - before, 200 * MS);
}

#[test]
fn loads_are_evened_out_now_and_then() {
    let mut host = Host::new(2, "linux");
    let pinned = VmSpec {
        hard_affinity: CpuSet::only(CpuId(0)),
        ..VmSpec::new("vm", 4)
    };
    let vm = host.arrive_as(pinned);
    let other = host.arrive(1);
    host.run_until(50 * MS);
    assert_eq!(host.cpu_of(other, 0), Some(CpuId(1)));
    for index in 0..4 {
        host.input(Input::HardAffinity(host.vcpu(vm, index), CpuSet::ALL));
    }
    host.run_until(SECOND);
    let before = host.running_ns(other);
    host.run_until(5 * SECOND);
    let share = host.running_ns(other) - before;
    assert!(
        share.abs_diff(2 * SECOND) <= 20 * MS,
        "it has a neighbour now: {share}"
    );
}

#[test]
fn who_wakes_goes_to_an_idle_cpu_nearby() {
    let mut host = Host::new(4, "linux");
    let (a, b) = (host.arrive(1), host.arrive(1));
    host.halt(host.vcpu(a, 0));
    let home = host.engine.view().vcpu(host.vcpu(a, 0)).last_cpu.unwrap();
    host.input(Input::HardAffinity(host.vcpu(b, 0), CpuSet::only(home)));
    assert_eq!(host.cpu_of(b, 0), Some(home));
    host.wake(host.vcpu(a, 0));
    assert!(host.cpu_of(a, 0).is_some_and(|cpu| cpu != home));
}

#[test]
fn cpus_come_and_go() {
    for policy in ["linux", "linux:pin"] {
        let mut host = Host::new(4, policy);
        let vm = host.arrive(4);
        host.run_until(10 * MS);
        host.input(Input::Offline(CpuId(1)));
        host.input(Input::Offline(CpuId(2)));
        host.run_until(20 * MS);
        assert_eq!(host.on_cpus().iter().flatten().count(), 2);
        host.input(Input::Offline(CpuId(3)));
        host.run_until(SECOND);
        for index in 0..4 {
            let times = host.engine.times(host.vcpu(vm, index));
            assert!(times[Runstate::Running] > 200 * MS, "{policy}");
        }
        host.input(Input::Online(CpuId(3)));
        let before = host.running_ns(vm);
        host.run_until(2 * SECOND);
        let gained = host.running_ns(vm) - before;
        let ideal = if policy == "linux" {
            2 * SECOND
        } else {
            SECOND
        };
        assert!(gained.abs_diff(ideal) <= 10 * MS, "{policy}: {gained}");
    }
}

#[test]
fn one_that_may_run_nowhere_waits_for_a_cpu() {
    let mut host = Host::new(2, "linux");
    let spec = VmSpec {
        hard_affinity: CpuSet::only(CpuId(1)),
        ..VmSpec::new("vm", 1)
    };
    let vm = host.arrive_as(spec);
    host.input(Input::Offline(CpuId(1)));
    host.run_until(MS);
    assert_eq!(host.cpu_of(vm, 0), None);
    host.input(Input::Online(CpuId(1)));
    assert_eq!(host.cpu_of(vm, 0), Some(CpuId(1)));
}

#[test]
fn it_takes_over_a_running_host() {
    let mut host = Host::new(2, "pinned");
    let (a, b) = (host.arrive(2), host.arrive(2));
    host.run_until(5 * MS);
    host.set_policy("linux");
    host.run_until(SECOND);
    assert_eq!(host.running_ns(a) + host.running_ns(b), 2 * SECOND);
    host.leave(a);
    host.run_until(2 * SECOND);
    assert_eq!(host.cpu_of(b, 0).is_some(), host.cpu_of(b, 1).is_some());
}
