use crate::engine::Input;
use crate::testing::Host;
use crate::{Actuator, CpuId, CpuSet, Engine, MS, Nanos, PolicySpec, SECOND, Switch, Topology};
use crate::{VmId, VmSpec};

/// 16 CPUs busy; A to N wait, A the best.
#[test]
fn the_cpu_that_frees_takes_the_best_of_fourteen() {
    let mut host = Host::new(16, "central");
    for _ in 0..16 {
        host.arrive(1);
    }
    // They come in another order than that of their priorities.
    let mut waiting = [None; 14];
    for step in 0..14 {
        let place = (step * 5 + 3) % 14;
        // Each stands one level behind the one before it.
        let weight = 512 / (place as u32 + 1);
        let spec = VmSpec {
            weight,
            ..VmSpec::new(format!("{}", (b'A' + place as u8) as char), 1)
        };
        waiting[place] = Some(host.arrive_as(spec));
    }
    let on = |host: &Host, cpu: usize| host.on_cpus()[cpu].map(|(vm, _)| VmId(vm));
    let busy: Vec<_> = (0..16).map(|cpu| on(&host, cpu)).collect();
    let at = |host: &Host, cpu: u16| host.engine.view().cpu(CpuId(cpu)).occupant.unwrap();

    let leaver = at(&host, 4);
    host.halt(leaver);
    assert_eq!(on(&host, 4), waiting[0]);
    let leaver = at(&host, 12);
    host.halt(leaver);
    assert_eq!(on(&host, 12), waiting[1]);
    for cpu in (0..16).filter(|cpu| ![4, 12].contains(cpu)) {
        assert_eq!(on(&host, cpu), busy[cpu], "CPU {cpu} goes on");
    }
}

#[test]
fn a_vcpu_that_has_run_little_takes_the_cpu_of_one_that_has_run_much() {
    let mut host = Host::new(1, "central:quantum=10ms");
    let sleeper = host.arrive(1);
    host.halt(host.vcpu(sleeper, 0));
    let hog = host.arrive(1);
    host.run_until(45 * MS);
    assert_eq!(host.cpu_of(hog, 0), Some(CpuId(0)));
    host.wake(host.vcpu(sleeper, 0));
    assert_eq!(host.cpu_of(sleeper, 0), Some(CpuId(0)));
    assert_eq!(host.cpu_of(hog, 0), None);
    // It pays for what it gets: it is not preferred for ever.
    host.run_until(2 * SECOND);
    assert!(host.running_ns(hog) > 900 * MS);
}

#[test]
fn a_halted_vcpu_keeps_its_cpu_until_somebody_wants_it() {
    let mut host = Host::new(2, "central");
    let (one, two) = (host.arrive(1), host.arrive(1));
    let (first, second) = (host.vcpu(one, 0), host.vcpu(two, 0));
    host.run_until(25 * MS);
    host.halt(first);
    assert_eq!(host.engine.view().vcpu(first).turn, Some(CpuId(0)));
    host.run_until(50 * MS);
    host.wake(first);
    assert_eq!(host.cpu_of(one, 0), Some(CpuId(0)));
    host.halt(first);
    let three = host.arrive(1);
    assert_eq!(host.cpu_of(three, 0), Some(CpuId(0)));
    host.wake(first);
    host.halt(second);
    assert_eq!(host.cpu_of(one, 0), Some(CpuId(1)));
}

#[test]
fn forbidden_cpus_are_left_idle_and_a_vanished_cpu_gives_its_vcpu_back() {
    let mut host = Host::new(2, "central");
    let spec = VmSpec {
        hard_affinity: CpuSet::only(CpuId(1)),
        ..VmSpec::new("tied", 2)
    };
    let tied = host.arrive_as(spec);
    host.run_until(15 * MS);
    assert_eq!(host.on_cpus(), [None, Some((tied.0, 1))]);
    host.input(Input::Offline(CpuId(1)));
    assert_eq!(host.on_cpus(), [None, None]);
    let free = host.arrive(1);
    assert_eq!(host.on_cpus(), [Some((free.0, 0)), None]);
    host.input(Input::Online(CpuId(1)));
    assert!(matches!(host.on_cpus()[1], Some((vm, _)) if vm == tied.0));
    host.input(Input::HardAffinity(
        host.vcpu(tied, 0),
        CpuSet::only(CpuId(0)),
    ));
    host.run_until(SECOND);
    for index in 0..2 {
        let ran = host.engine.times(host.vcpu(tied, index));
        assert!(
            ran[crate::Runstate::Running] > 400 * MS,
            "vCPU {index}: {ran:?}"
        );
    }
}

/// Remembers what decisions cost.
#[derive(Debug, Default)]
struct Costs(Vec<(CpuId, Nanos)>);

impl Actuator for Costs {
    fn switch(&mut self, _now: Nanos, switches: &[Switch]) {
        let costs = switches
            .iter()
            .map(|switch| (switch.cpu, switch.overhead_ns));
        self.0.extend(costs);
    }

    fn advise(&mut self, _now: Nanos, _vm: VmId, _cpus: u32) {}
}

#[test]
fn cpus_that_decide_at_the_same_time_wait_for_the_lock() {
    for (text, costs) in [
        ("central:lock=200ns", [200, 400, 600, 800]),
        ("central:lock=0ns", [0; 4]),
    ] {
        let topology = Topology::flat(4);
        let policy = text.parse::<PolicySpec>().unwrap().build(&topology);
        let mut engine = Engine::new(topology, policy);
        let mut actuator = Costs::default();
        engine
            .arrive(7 * MS, VmSpec::new("wide", 8), |_| false, &mut actuator)
            .unwrap();
        let arrival: Vec<_> = actuator.0.drain(..).map(|(_, cost)| cost).collect();
        assert_eq!(arrival, costs, "{text}");
        engine.handle(17 * MS, Input::Time, &mut actuator).unwrap();
        let slice_end: Vec<_> = actuator.0.drain(..).map(|(_, cost)| cost).collect();
        assert_eq!(slice_end, costs, "{text}");
    }
}

#[test]
fn use_is_forgotten_so_that_a_light_vm_does_not_wait_for_ever() {
    let mut host = Host::new(1, "central");
    let light = host.arrive_as(VmSpec {
        weight: 1,
        ..VmSpec::new("light", 1)
    });
    let heavy = host.arrive_as(VmSpec {
        weight: 10_000,
        ..VmSpec::new("heavy", 1)
    });
    host.run_until(30 * SECOND);
    assert!(host.running_ns(light) >= 20 * MS);
    assert!(host.running_ns(heavy) > 29 * SECOND);
}

#[test]
fn whoever_loses_its_cpu_goes_to_one_that_idles() {
    let mut host = Host::new(2, "central:quantum=10ms");
    let free = host.arrive(1);
    let bound = host.arrive_as(VmSpec {
        hard_affinity: CpuSet::only(CpuId(0)),
        ..VmSpec::new("bound", 1)
    });
    host.run_until(11 * MS);
    assert_eq!(host.cpu_of(bound, 0), Some(CpuId(0)));
    assert_eq!(host.cpu_of(free, 0), Some(CpuId(1)));
}
