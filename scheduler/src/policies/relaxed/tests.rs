use crate::engine::Input;
use crate::testing::Host;
use crate::view::LockState;
use crate::{CpuId, MS, Nanos, Runstate, VmId, VmSpec};

fn skew_ns(host: &Host, vm: VmId, vcpus: u32) -> Nanos {
    let view = host.engine.view();
    let ran = (0..vcpus).map(|index| view.vcpu(host.vcpu(vm, index)).running_ns(host.now));
    let ran: Vec<Nanos> = ran.collect();
    ran.iter().max().unwrap() - ran.iter().min().unwrap()
}

/// The largest skew of `vm` over `time`, looked at every 100 us.
fn worst_skew_ns(host: &mut Host, vm: VmId, vcpus: u32, time: Nanos) -> Nanos {
    let end = host.now + time;
    let mut worst = 0;
    while host.now < end {
        host.run_until(host.now + MS / 10);
        worst = worst.max(skew_ns(host, vm, vcpus));
    }
    worst
}

/// vm0's second vCPU can only use a CPU that vm1 uses, too; its first has one for itself.
fn uneven(spec: &str) -> (Host, VmId) {
    let mut host = Host::new(2, spec);
    let vm = host.arrive(2);
    host.input(Input::HardAffinity(host.vcpu(vm, 1), "1".parse().unwrap()));
    let mut hog = VmSpec::new("hog", 1);
    hog.hard_affinity = "1".parse().unwrap();
    host.arrive_as(hog);
    (host, vm)
}

#[test]
fn skew_stays_near_the_threshold() {
    let (mut host, vm) = uneven("pinned:quantum=10ms");
    assert!(worst_skew_ns(&mut host, vm, 2, 500 * MS) > 200 * MS);
    let (mut host, vm) = uneven("pinned:quantum=10ms+relaxed:stop=3ms,check=1ms,longest=1s");
    let worst = worst_skew_ns(&mut host, vm, 2, 500 * MS);
    assert!(worst <= 4 * MS, "{worst}");
    // And both get on: half the time each, but for the lead.
    assert!(host.running_ns(vm) >= 480 * MS, "{}", host.running_ns(vm));
}

#[test]
fn a_stopped_vcpus_turn_goes_to_the_slowest() {
    let (mut host, vm) = uneven("pinned:quantum=20ms+relaxed");
    let hard = |cpus: &str| cpus.parse().unwrap();
    host.input(Input::HardAffinity(host.vcpu(vm, 1), hard("0-1")));
    host.run_until(20 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((1, 0))]);
    // At 24 ms the lead is over 3 ms: the other has the CPU for as long as it lacks.
    host.run_until(24 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 1)), Some((1, 0))]);
    assert!(host.engine.view().vcpu(host.vcpu(vm, 0)).co_stopped);
    let loan = host.engine.view().cpu(CpuId(0)).loan.unwrap();
    assert_eq!(loan.until, 28 * MS);
    // It runs, but on that CPU: starting the other would take it back before anything is made up for.
    host.run_until(27 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 1)), Some((1, 0))]);
    host.run_until(28 * MS);
    assert!(!host.engine.view().vcpu(host.vcpu(vm, 0)).co_stopped);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((1, 0))]);
}

#[test]
fn who_is_not_helped_enough_by_the_rest_of_a_turn_is_lent_the_cpu_again() {
    let (mut host, vm) = uneven("pinned:quantum=40ms+relaxed:stop=12ms,check=1ms");
    host.input(Input::HardAffinity(
        host.vcpu(vm, 1),
        "0-1".parse().unwrap(),
    ));
    // From 53 ms on, the other is 13 ms ahead, and loans are shorter than that.
    host.run_until(67 * MS);
    let skew = skew_ns(&host, vm, 2);
    assert!(skew <= 2 * MS, "{skew}");
}

#[test]
fn no_vcpu_is_stopped_longer_than_the_longest_time() {
    let (mut host, vm) = uneven("pinned:quantum=100ms+relaxed:longest=20ms");
    let mut longest = 0;
    let mut since = None;
    while host.now < 2000 * MS {
        host.run_until(host.now + MS);
        if host.engine.view().vcpu(host.vcpu(vm, 0)).co_stopped {
            longest = longest.max(host.now - *since.get_or_insert(host.now));
        } else {
            since = None;
        }
    }
    assert!((19 * MS..=20 * MS).contains(&longest), "{longest}");
}

#[test]
fn a_halted_sibling_does_not_lag() {
    let (mut host, vm) = uneven("pinned:quantum=10ms+relaxed");
    host.halt(host.vcpu(vm, 1));
    host.run_until(100 * MS);
    assert_eq!(host.running_ns(vm), 100 * MS);
    // It has halted for as long as the other has run: it does not lag when it wakes up, either.
    host.wake(host.vcpu(vm, 1));
    let lead = 100 * MS + 3 * MS;
    host.run_until(lead);
    assert!(!host.engine.view().vcpu(host.vcpu(vm, 0)).co_stopped);
}

#[test]
fn the_last_that_is_not_stopped_halts_and_another_starts() {
    let (mut host, vm) = uneven("pinned:quantum=100ms+relaxed");
    let (leader, slowest) = (host.vcpu(vm, 0), host.vcpu(vm, 1));
    host.run_until(100 * MS + 5 * MS);
    while !host.engine.view().vcpu(leader).co_stopped {
        host.run_until(host.now + MS);
    }
    host.halt(slowest);
    assert!(!host.engine.view().vcpu(leader).co_stopped);
    assert_eq!(host.cpu_of(vm, 0), Some(CpuId(0)));
}

#[test]
fn a_lock_holder_is_not_stopped() {
    let stopped = |state: LockState| {
        let (mut host, vm) = uneven("pinned:quantum=100ms+relaxed");
        let vcpu = host.vcpu(vm, 0);
        host.input(Input::Lock { vcpu, state });
        host.run_until(190 * MS);
        host.engine.times(vcpu)[Runstate::CoStopped]
    };
    assert!(stopped(LockState::Free) > 0);
    assert_eq!(stopped(LockState::Holding { since: 0 }), 0);
}

#[test]
fn it_ticks_only_while_there_can_be_a_lead() {
    let mut host = Host::new(2, "pinned:quantum=1s+relaxed");
    host.arrive(1);
    assert_eq!(host.engine.next_deadline(), Some(1000 * MS));
    let vm = host.arrive(2);
    assert_eq!(host.engine.next_deadline(), Some(MS));
    host.halt(host.vcpu(vm, 1));
    host.run_until(2 * MS);
    assert_eq!(host.engine.next_deadline(), Some(1000 * MS));
    host.wake(host.vcpu(vm, 1));
    assert_eq!(host.engine.next_deadline(), Some(3 * MS));
}

#[test]
fn another_policy_taking_over_starts_without_leads() {
    let (mut host, vm) = uneven("pinned:quantum=10ms");
    host.run_until(500 * MS);
    assert!(skew_ns(&host, vm, 2) > 200 * MS);
    host.set_policy("pinned:quantum=10ms+relaxed");
    host.run_until(503 * MS);
    assert!(!host.engine.view().vcpu(host.vcpu(vm, 0)).co_stopped);
}

#[test]
fn strict_stops_and_starts_the_whole_vm() {
    let (mut host, vm) = uneven("pinned:quantum=10ms+relaxed:strict,longest=20ms");
    let (mut both, mut one, mut none) = (0, 0, 0);
    while host.now < 1000 * MS {
        host.run_until(host.now + MS / 2);
        let view = host.engine.view();
        let stopped = [0, 1].map(|index| view.vcpu(host.vcpu(vm, index)).co_stopped);
        match stopped {
            [true, true] => both += 1,
            [false, false] => none += 1,
            _ => one += 1,
        }
    }
    assert!(both > 0 && none > 0, "{both} {none}");
    assert_eq!(one, 0);
    // Its CPU stays idle meanwhile: that is what made ESX give strictness up.
    assert!(host.running_ns(vm) < 1000 * MS);
}
