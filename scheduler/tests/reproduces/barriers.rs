//! Barriers: gangs that spin are best where the grain is fine.

use muster_scheduler::sim::record::Keep;
use muster_scheduler::sim::scenario::Workload;
use muster_scheduler::{MS, Nanos, US};

use crate::shipped::{median_ops_under_linux, ops, record, record_for, scenario};

const GRAINS: [(&str, Nanos); 4] = [
    ("10us", 10 * US),
    ("100us", 100 * US),
    ("1ms", MS),
    ("10ms", 10 * MS),
];

/// So many barriers, as a part of what the VMs would pass alone: as there are as many vCPUs as CPUs, that
/// is one per grain, shared by all VMs.
fn part(ops: u64, (name, grain): (&str, Nanos)) -> f64 {
    let duration = scenario(&format!("barriers-spin-{name}")).duration_ns;
    ops as f64 * grain as f64 / duration as f64
}

fn gang(grain: (&str, Nanos)) -> f64 {
    let name = format!("barriers-spin-{}", grain.0);
    part(ops(&record(&name, "gang", Keep::Totals)), grain)
}

fn spinning_under_linux(grain: (&str, Nanos)) -> f64 {
    part(
        median_ops_under_linux(&format!("barriers-spin-{}", grain.0)),
        grain,
    )
}

/// The better of two: left alone, and pinned.
fn blocking_under_linux(grain: (&str, Nanos)) -> f64 {
    let name = format!("barriers-halt-{}", grain.0);
    let ops = ["linux", "linux:pin"].map(|policy| ops(&record(&name, policy, Keep::Totals)));
    part(ops[0].max(ops[1]), grain)
}

#[test]
fn gangs_that_spin_do_not_care_for_the_grain() {
    for grain in GRAINS {
        let gang = gang(grain);
        assert!(gang >= 0.88, "{grain:?}: {gang}");
    }
}

#[test]
fn without_gangs_spinning_collapses_below_the_slice() {
    let linux = GRAINS.map(spinning_under_linux);
    assert!(linux[0] < 0.2, "{linux:?}");
    assert!(linux[1] < 0.2, "{linux:?}");
    assert!(linux[2] < 0.55, "{linux:?}");
    assert!(linux[3] > 0.88, "{linux:?}");
}

#[test]
fn gangs_win_where_the_grain_is_fine_and_blocking_is_as_good_where_it_is_coarse() {
    let leads = GRAINS.map(|grain| gang(grain) / blocking_under_linux(grain));
    assert!(leads[0] > 2.0, "{leads:?}");
    assert!(leads[1] > 1.15 && leads[1] < leads[0], "{leads:?}");
    assert!(leads[2] < 1.05 && leads[3] < 1.05, "{leads:?}");
}

/// What gangs and Linux's scheduler (the middle one of three) have with so many VMs that spin.
fn with_vms(vms: u32, grain: (&str, Nanos)) -> [f64; 2] {
    let mut scenario = scenario(&format!("barriers-spin-{}", grain.0));
    scenario.vms[0].count = vms;
    let run = |policy: &str| ops(&record_for(&scenario, policy, Keep::Totals));
    let mut linux = ["linux", "linux:seed=2", "linux:seed=3"].map(run);
    linux.sort_unstable();
    [run("gang"), linux[1]].map(|ops| part(ops, grain))
}

#[test]
fn so_it_is_with_four_and_eight_vms() {
    for vms in [4, 8] {
        let parts = GRAINS.map(|grain| with_vms(vms, grain));
        for [gang, _] in parts {
            assert!(gang >= 0.88, "{vms} VMs: {parts:?}");
        }
        let linux = parts.map(|[_, linux]| linux);
        assert!(linux[0] < 0.2 && linux[1] < 0.2, "{vms} VMs: {linux:?}");
        assert!(linux[2] < 0.55 && linux[3] > 0.88, "{vms} VMs: {linux:?}");
    }
}

#[test]
fn the_files_have_the_grain_that_their_names_say() {
    for (name, grain) in GRAINS {
        for wait in ["spin", "halt"] {
            let scenario = scenario(&format!("barriers-{wait}-{name}"));
            let Workload::Barrier { grain_ns, .. } = scenario.vms[0].workload else {
                panic!("barriers-{wait}-{name} has no barrier");
            };
            assert_eq!(grain_ns, grain);
        }
    }
}
