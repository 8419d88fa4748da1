use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Runstate, SECOND, VmSpec};

fn weighted(vcpus: u32, weight: u32) -> VmSpec {
    VmSpec {
        weight,
        ..VmSpec::new("vm", vcpus)
    }
}

fn tied(vcpus: u32, cpu: u16) -> VmSpec {
    VmSpec {
        hard_affinity: CpuSet::only(CpuId(cpu)),
        ..VmSpec::new("tied", vcpus)
    }
}

/// Each VM's time beside what it should have, in parts of a thousand.
fn assert_shares(policy: &str, cpus: usize, vms: &[(u32, u32)], shares: &[u64]) {
    let mut host = Host::new(cpus, policy);
    let vms: Vec<_> = vms
        .iter()
        .map(|&(vcpus, weight)| host.arrive_as(weighted(vcpus, weight)))
        .collect();
    host.run_until(3 * SECOND);
    let before: Vec<_> = vms.iter().map(|&vm| host.running_ns(vm)).collect();
    host.run_until(13 * SECOND);
    let total = 10 * SECOND * cpus as u64;
    for ((&vm, before), share) in vms.iter().zip(before).zip(shares) {
        let got = (host.running_ns(vm) - before) * 1000 / total;
        let right = share * 98 / 100..=share * 102 / 100 + 1;
        assert!(
            right.contains(&got),
            "{vm}: {got} instead of {share} of 1000"
        );
    }
}

#[test]
fn vms_that_are_more_than_the_cpus_share_alike() {
    assert_shares("affinity", 2, &[(1, 256); 3], &[333; 3]);
    assert_shares("affinity", 4, &[(1, 256); 7], &[142; 7]);
}

#[test]
fn vms_get_time_by_weight_whatever_their_width() {
    assert_shares(
        "affinity",
        2,
        &[(2, 512), (4, 256), (2, 256)],
        &[500, 250, 250],
    );
    // The first can't use more than one CPU.
    assert_shares(
        "affinity",
        2,
        &[(1, 10_000), (2, 256), (4, 512)],
        &[500, 166, 333],
    );
}

#[test]
fn who_is_due_a_whole_cpu_is_not_made_to_wait_for_others() {
    assert_shares(
        "affinity",
        2,
        &[(1, 100), (1, 100), (2, 100), (1, 300)],
        &[166, 166, 166, 500],
    );
}

#[test]
fn what_could_not_be_used_is_not_saved_up() {
    let mut host = Host::new(2, "affinity");
    // It is due more than the CPU that it has.
    let alone = host.arrive_as(weighted(1, 200));
    let wide = host.arrive_as(weighted(2, 100));
    host.run_until(5 * SECOND);
    let late = host.arrive_as(weighted(1, 200));
    let times = |host: &Host| [alone, wide, late].map(|vm| host.running_ns(vm));
    let before = times(&host);
    host.run_until(15 * SECOND);
    for ((after, before), due) in times(&host).iter().zip(before).zip([8, 4, 8]) {
        let (got, due) = (after - before, due * SECOND);
        assert!(got.abs_diff(due) <= due / 50, "{got} instead of {due}");
    }
}

#[test]
fn who_comes_to_a_cpu_that_has_idled_is_not_owed_for_that() {
    let mut host = Host::new(3, "affinity");
    let early = [host.arrive(1), host.arrive(1)];
    host.run_until(5 * SECOND);
    let late = [host.arrive(1), host.arrive(1)];
    let vms = [early, late].concat();
    let before: Vec<_> = vms.iter().map(|&vm| host.running_ns(vm)).collect();
    host.run_until(15 * SECOND);
    for (vm, before) in vms.iter().zip(before) {
        let got = host.running_ns(*vm) - before;
        let right = 7350 * MS..=7650 * MS;
        assert!(right.contains(&got), "{vm}: {got}");
    }
}

#[test]
fn an_idle_cpu_takes_work_only_where_it_may() {
    let mut host = Host::new(3, "affinity");
    let (one, two) = (host.arrive_as(tied(2, 0)), host.arrive_as(tied(1, 1)));
    let free = host.arrive(2);
    assert_eq!(host.on_cpus().iter().filter(|cpu| cpu.is_some()).count(), 3);
    host.run_until(100 * MS);
    host.halt(host.vcpu(two, 0));
    host.run_until(200 * MS);
    // The tied ones can't use CPU 1, so the free ones have CPUs 1 and 2.
    assert_eq!(host.on_cpus()[0].map(|(vm, _)| vm), Some(one.0));
    let mut others: Vec<_> = host.on_cpus()[1..].to_vec();
    others.sort_unstable();
    assert_eq!(others, [Some((free.0, 0)), Some((free.0, 1))]);
}

#[test]
fn a_vcpu_stays_where_it_was_while_cpus_are_evenly_loaded() {
    let mut host = Host::new(4, "affinity");
    let vms = [host.arrive(4), host.arrive(4)];
    host.run_until(15 * MS);
    let homes = |host: &Host| {
        let view = host.engine.view();
        let vcpus = view.vcpus().map(|(_, state)| state.last_cpu);
        vcpus.collect::<Vec<_>>()
    };
    let before = homes(&host);
    for step in 1..100 {
        host.run_until(15 * MS + step * 7 * MS);
        assert_eq!(homes(&host), before);
    }
    assert_eq!(
        host.running_ns(vms[0]) + host.running_ns(vms[1]),
        4 * host.now
    );
}

#[test]
fn who_wakes_comes_soon_and_is_not_owed_for_its_sleep() {
    let mut host = Host::new(1, "affinity");
    let (sleeper, hog) = (host.arrive(1), host.arrive(1));
    host.halt(host.vcpu(sleeper, 0));
    host.run_until(5 * SECOND + 3 * MS);
    host.wake(host.vcpu(sleeper, 0));
    assert!(host.cpu_of(sleeper, 0).is_some());
    let (slept, hogged) = (host.running_ns(sleeper), host.running_ns(hog));
    host.run_until(6 * SECOND + 3 * MS);
    let hogged = host.running_ns(hog) - hogged;
    let slept = host.running_ns(sleeper) - slept;
    assert!(
        hogged > 480 * MS && slept > 480 * MS,
        "{hogged} and {slept}"
    );
}

#[test]
fn siblings_have_different_cpus() {
    let mut host = Host::new(4, "balance");
    for vcpus in [1, 3, 2, 4, 2] {
        host.arrive(vcpus);
    }
    for _ in 0..200 {
        host.run_until(host.now + 7 * MS);
        let mut cpus = [CpuSet::EMPTY; 5];
        for (_, state) in host.engine.view().vcpus() {
            let cpu = state.last_cpu.filter(|_| host.now > 200 * MS);
            if let Some(cpu) = cpu {
                assert!(!cpus[state.vm.index()].contains(cpu), "{} shares", state.vm);
                cpus[state.vm.index()].insert(cpu);
            }
        }
    }
}

#[test]
fn balance_moves_vcpus_only_when_load_is_uneven() {
    let mut host = Host::new(2, "balance:rebalance=50ms");
    let vms: Vec<_> = (0..4).map(|_| host.arrive(1)).collect();
    host.run_until(SECOND);
    for &vm in &vms {
        assert!(host.running_ns(vm) >= 490 * MS);
    }
    // Both that are left are at home on one CPU.
    let left: Vec<_> = vms.iter().filter(|vm| vm.0 % 2 == 0).collect();
    for vm in vms.iter().filter(|vm| vm.0 % 2 == 1) {
        host.leave(*vm);
    }
    host.run_until(3 * SECOND);
    let before: Vec<_> = left.iter().map(|vm| host.running_ns(**vm)).collect();
    host.run_until(4 * SECOND);
    for (vm, before) in left.iter().zip(before) {
        assert_eq!(host.running_ns(**vm) - before, SECOND);
    }
}

#[test]
fn vcpus_of_a_cpu_that_goes_find_another_and_those_without_any_wait() {
    for policy in ["affinity", "balance"] {
        let mut host = Host::new(2, policy);
        let tied = host.arrive_as(tied(1, 1));
        let free = host.arrive(2);
        host.run_until(50 * MS);
        host.input(Input::Offline(CpuId(1)));
        host.run_until(550 * MS);
        let ran = host.running_ns(free);
        assert!(ran > 500 * MS, "{policy}: {ran}");
        let times = host.engine.times(host.vcpu(tied, 0));
        assert!(times[Runstate::Ready] >= 500 * MS);
        host.input(Input::Online(CpuId(1)));
        host.run_until(1550 * MS);
        let after = host.engine.times(host.vcpu(tied, 0));
        let got = after[Runstate::Running] - times[Runstate::Running];
        assert!(got > 300 * MS, "{policy}: {got}");
    }
}

#[test]
fn a_policy_that_takes_over_goes_on_where_the_other_was() {
    for policy in ["affinity", "balance", "central", "hybrid"] {
        let mut host = Host::new(2, "pinned");
        let vms = [host.arrive(2), host.arrive(1)];
        host.run_until(15 * MS);
        host.set_policy(policy);
        assert!(host.on_cpus().iter().all(Option::is_some), "{policy}");
        host.run_until(SECOND);
        let ran: u64 = vms.iter().map(|&vm| host.running_ns(vm)).sum();
        assert!(ran > 1980 * MS, "{policy}: {ran}");
    }
}
