use std::cmp::Reverse;

use super::*;
use crate::topology::TopologySpec;
use crate::{PolicySpec, VmSpec, testing::Host};

const CPUS: u16 = 16;
const VCPUS: u32 = 40;

/// Some vCPUs may run everywhere, others on a few CPUs.
fn host() -> Host {
    let topology: TopologySpec = "nodes=2,llcs=2,cores=2,threads=2".parse().unwrap();
    let topology = topology.build().unwrap();
    let policy = "pinned".parse::<PolicySpec>().unwrap().build(&topology);
    let mut host = Host::with(topology, policy);
    for number in 0..VCPUS {
        let hard_affinity = match number % 4 {
            0 => CpuSet::only(CpuId(number as u16 % CPUS)),
            1 => (0..CPUS).map(CpuId).filter(|cpu| cpu.0 % 3 == 0).collect(),
            _ => CpuSet::ALL,
        };
        host.arrive_as(VmSpec {
            hard_affinity,
            ..VmSpec::new("vm", 1)
        });
    }
    host
}

/// Whom `cpu` should take, found by looking at everybody.
fn best_by_hand(queues: &FairQueues, cpu: CpuId, view: &View) -> Option<VcpuId> {
    let length = |cpu: CpuId| queues.of(cpu).count();
    let firsts = (0..CPUS).map(CpuId).filter_map(|other| {
        let vcpu = queues.of(other).find(|&vcpu| may_run(view, vcpu, cpu))?;
        let distance = view.topology().distance(cpu, other);
        Some((distance, Reverse(length(other)), other, vcpu))
    });
    firsts.min().map(|best| best.3)
}

#[test]
fn the_nearest_then_longest_queue_is_stolen_from() {
    let host = host();
    let view = host.engine.view();
    let mut queues = FairQueues::new(view.topology());
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005);
        random = random.wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for vcpu in (0..VCPUS).map(VcpuId) {
        queues.enter(vcpu, None, view);
    }
    let mut stolen = 0;
    for _ in 0..3_000 {
        let vcpu = VcpuId(draw(VCPUS.into()) as u32);
        if !queues.remove(vcpu) {
            queues.charge(vcpu, draw(100));
            // Few CPUs, so that some queues are long and others are empty.
            let cpu = CpuId((draw(4) * draw(6)) as u16);
            queues.push(cpu, vcpu, draw(50));
        }
        let thief = CpuId(draw(CPUS.into()) as u16);
        if queues.first(thief, view).is_some() {
            continue;
        }
        let taken = queues.steal_for(thief, view);
        assert_eq!(taken, best_by_hand(&queues, thief, view));
        stolen += u32::from(taken.is_some());
    }
    assert!(stolen > 1_000, "only {stolen} comparisons say something");
}

#[test]
fn who_has_waited_beyond_its_patience_is_seen_by_other_cpus() {
    let host = host();
    let view = host.engine.view();
    let mut queues = FairQueues::new(view.topology());
    // 2 and 3 may run everywhere; 4 on CPU 4 alone.
    for (vcpu, cost, patience) in [(2, 10, 90), (3, 40, 50), (4, 0, 5)] {
        queues.enter(VcpuId(vcpu), None, view);
        queues.charge(VcpuId(vcpu), cost);
        queues.push(CpuId(0), VcpuId(vcpu), patience);
    }
    let seen = |queues: &FairQueues, time| queues.impatient(time, CpuId(1), view);
    assert_eq!(seen(&queues, 90), None);
    assert_eq!(seen(&queues, 91), Some(VcpuId(3)));
    assert_eq!(queues.impatient(6, CpuId(4), view), Some(VcpuId(4)));
    queues.remove(VcpuId(3));
    assert_eq!(seen(&queues, 100), None);
    assert_eq!(seen(&queues, 101), Some(VcpuId(2)));
}

#[test]
fn the_furthest_clock_is_found_among_the_cpus_that_are_asked_for() {
    let host = host();
    let view = host.engine.view();
    let mut queues = FairQueues::new(view.topology());
    for (cpu, cost) in [(1, 50), (2, 90), (3, 70)] {
        queues.enter(VcpuId(cpu), None, view);
        queues.charge(VcpuId(cpu), cost);
        queues.serve(CpuId(cpu as u16), VcpuId(cpu));
    }
    let among =
        |time, cpus: &[u16]| queues.furthest(time, cpus.iter().copied().map(CpuId).collect());
    assert_eq!(among(60, &[1, 2, 3]), Some(CpuId(2)));
    assert_eq!(among(60, &[1, 3]), Some(CpuId(3)));
    assert_eq!(among(60, &[0, 1]), None);
    assert_eq!(among(90, &[1, 2, 3]), None);
}

#[test]
fn who_did_not_wait_is_owed_little_beside_those_who_do() {
    let host = host();
    let view = host.engine.view();
    let mut queues = FairQueues::new(view.topology());
    for (vcpu, cost) in [(1, 50), (2, 90), (3, 0)] {
        queues.enter(VcpuId(vcpu), None, view);
        queues.charge(VcpuId(vcpu), cost);
    }
    queues.serve(CpuId(2), VcpuId(2));
    // Nobody waits: the furthest clock counts.
    queues.settle(VcpuId(3), 60);
    assert_eq!(queues.time(VcpuId(3)), 30);
    queues.push(CpuId(1), VcpuId(1), 1000);
    queues.settle(VcpuId(3), 30);
    assert_eq!(queues.time(VcpuId(3)), 30);
    queues.settle(VcpuId(3), 10);
    assert_eq!(queues.time(VcpuId(3)), 40);
    // A CPU that has idled goes on from where the others are.
    queues.catch_up(CpuId(3));
    queues.tune(VcpuId(3), CpuId(3), 0, 0);
    assert_eq!(queues.time(VcpuId(3)), 50);
    // One that is further stays so.
    queues.catch_up(CpuId(2));
    queues.tune(VcpuId(3), CpuId(2), 0, 0);
    assert_eq!(queues.time(VcpuId(3)), 90);
}
