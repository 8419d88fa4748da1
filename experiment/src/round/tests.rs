use muster_guest_page::{CLASSES, COUNTERS};
use muster_node::snapshot::{CpuSnapshot, LoadSnapshot, Locks, ManagerSnapshot, VcpuState};

use super::*;

/// A host with two CPUs and these VMs, at a time; nothing has happened yet.
pub fn snapshot(at_ns: Nanos, vms: &[(&str, usize)]) -> Snapshot {
    let cpu = |cpu| CpuSnapshot {
        cpu,
        vcpu: None,
        stolen_ns: 0,
    };
    Snapshot {
        at_ns,
        schedule: "host".to_owned(),
        enforcement: "gate".to_owned(),
        policy_state: String::new(),
        cpus: vec![cpu(0), cpu(1)],
        vms: vms.iter().map(|&(name, vcpus)| vm(name, vcpus)).collect(),
        manager: ManagerSnapshot::default(),
    }
}

fn vm(name: &str, vcpus: usize) -> VmSnapshot {
    let vcpu = VcpuSnapshot {
        state: VcpuState::Running,
        cpu: None,
        allowed: "0-1".to_owned(),
        run_ns: 0,
        ready_ns: 0,
        co_stop_ns: 0,
        halted_ns: 0,
        holder_preemptions: 0,
        preemptions: 0,
        counters: [0; COUNTERS],
        histogram: [0; CLASSES],
    };
    VmSnapshot {
        name: name.to_owned(),
        pid: 1,
        joined_ns: 0,
        weight: 256,
        cap_percent: None,
        locks: Locks::Page,
        load: LoadSnapshot::default(),
        vcpus: vec![vcpu; vcpus],
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_round_is_what_has_grown() {
    let before = snapshot(100, &[("A", 1), ("B", 2)]);
    let mut after = snapshot(1100, &[("A", 1), ("B", 2)]);
    after.cpus[1].stolen_ns = 40;
    after.manager.cpu_ns = 5;
    after.manager.switches = 7;
    let vcpu = &mut after.vms[1].vcpus[1];
    (vcpu.run_ns, vcpu.ready_ns, vcpu.holder_preemptions) = (600, 400, 3);
    vcpu.counters[2] = 9;
    vcpu.histogram[63] = 1;
    let facts = between(&before, &after, &names(&["B", "A"])).unwrap();
    assert_eq!((facts.length_ns, facts.steal_percent), (1000, 2.0));
    assert_eq!(
        (facts.manager.cpu_percent, facts.manager.switches),
        (0.5, 7)
    );
    assert_eq!(facts.vms[1].name, "A");
    let vcpu = &facts.vms[0].vcpus[1];
    assert_eq!(
        (vcpu.run_ns, vcpu.ready_ns, vcpu.holder_preemptions),
        (600, 400, 3)
    );
    assert_eq!(vcpu.counters, [0, 0, 9]);
    assert_eq!((vcpu.histogram.len(), vcpu.histogram[63]), (64, 1));
    assert!(facts.vms[0].vcpus[0].counters.is_empty());
}

#[test]
fn what_nobody_of_the_experiment_used_was_used_by_others() {
    let before = snapshot(0, &[("A", 2)]);
    let mut after = snapshot(1000, &[("A", 2)]);
    after.vms[0].vcpus[1].run_ns = 900;
    after.manager.cpu_ns = 100;
    let facts = between(&before, &after, &names(&["A"])).unwrap();
    assert_eq!(facts.foreign_percent(1500, 2), 25.0);
    // Clocks that do not quite agree.
    assert_eq!(facts.foreign_percent(999, 2), 0.0);
}

#[test]
fn a_guest_that_counts_backwards_gets_nothing_for_it() {
    let mut before = snapshot(0, &[("A", 1)]);
    let mut after = snapshot(1000, &[("A", 1)]);
    before.vms[0].vcpus[0].counters = [u64::MAX; COUNTERS];
    after.vms[0].vcpus[0].counters[3] = u64::MAX;
    let facts = between(&before, &after, &names(&["A"])).unwrap();
    assert!(facts.vms[0].vcpus[0].counters.is_empty());
}

#[test]
fn a_vm_that_went_or_came_again_is_told() {
    let before = snapshot(0, &[("A", 1)]);
    let mut after = snapshot(1000, &[("A", 1)]);
    let round = |after: &Snapshot, name| between(&before, after, &names(&[name])).unwrap_err();
    assert_eq!(round(&after, "B"), RoundError::Gone("B".to_owned()));
    after.vms[0].pid = 2;
    assert_eq!(round(&after, "A"), RoundError::Gone("A".to_owned()));
    assert_eq!(round(&before, "A"), RoundError::NoTime);
}
