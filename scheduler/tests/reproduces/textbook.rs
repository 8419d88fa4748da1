//! The figures of the textbook's section on multiprocessor scheduling.

use muster_scheduler::MS;
use muster_scheduler::sim::record::{Activity, Keep, Recording};

use crate::shipped::{occupant, occupants, record, throughput_of};

#[test]
fn a_cpu_that_is_free_takes_the_first_of_the_one_queue() {
    let recording = record("ready-queue", "central:quantum=100ms", Keep::Spans);
    let before = occupants(&recording, 3 * MS);
    assert_eq!((&*before[4], &*before[12]), ("e0", "m0"));
    assert!(before.iter().all(|name| name != "-"), "{before:?}");
    let after = occupants(&recording, 5 * MS);
    assert_eq!((&*after[4], &*after[12]), ("A0", "m0"));
    let last = occupants(&recording, 9 * MS);
    assert_eq!((&*last[4], &*last[12]), ("A0", "B0"));
    let others = (0..16).filter(|cpu| ![4, 12].contains(cpu));
    for cpu in others {
        assert_eq!(before[cpu], last[cpu], "CPU {cpu}");
    }
}

/// How many CPUs each VM has at a moment, and how many are free.
fn partitions(recording: &Recording, at: u64) -> String {
    let occupants = occupants(recording, at);
    let count = |letter| {
        occupants
            .iter()
            .filter(|name| name.starts_with(letter))
            .count()
    };
    let counts = ['A', 'B', 'C', 'D', 'E', 'F', 'G', '-'].map(|letter| (letter, count(letter)));
    let there = counts.iter().filter(|(_, count)| *count > 0);
    there
        .map(|(letter, count)| format!("{letter}{count} "))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[test]
fn a_job_waits_for_as_many_cpus_as_it_has_threads() {
    let steps = |policy| {
        let recording = record("partitions", policy, Keep::Spans);
        [4, 10, 30, 50, 70, 90].map(|ms| partitions(&recording, ms * MS))
    };
    // C's CPUs are E's next, B's and the free ones not enough for F, A's are.
    let first_come = [
        "A8 B6 C4 D12 -2",
        "A8 B6 C4 D12 -2",
        "A8 B6 D12 E4 -2",
        "A8 D12 E4 -8",
        "D12 E4 F10 G2 -4",
        "E4 F10 G2 -16",
    ];
    assert_eq!(steps("space"), first_come);
    let backfilled = [
        "A8 B6 C4 D12 -2",
        "A8 B6 C4 D12 G2",
        "A8 B6 D12 E4 G2",
        "A8 D12 E4 G2 -6",
        "D12 E4 F10 G2 -4",
        "E4 F10 G2 -16",
    ];
    assert_eq!(steps("space:backfill=1"), backfilled);
    assert_eq!(steps("space:order=smallest"), backfilled);
}

#[test]
fn a_partition_is_never_timeshared() {
    let recording = record("partitions", "space", Keep::Spans);
    let mut used = 0;
    for cpu in 0..32 {
        let mut vms: Vec<u32> = Vec::new();
        let spans = recording
            .spans
            .iter()
            .filter(|span| span.cpu.index() == cpu);
        for vcpu in spans.filter_map(|span| span.vcpu) {
            if vms.last() != Some(&vcpu.vm) {
                assert!(
                    !vms.contains(&vcpu.vm),
                    "CPU {cpu} goes back to an earlier VM"
                );
                vms.push(vcpu.vm);
            }
        }
        used += u32::from(!vms.is_empty());
    }
    assert_eq!(used, 30, "E and F go where others were");
    // It never leaves a CPU that it still needs.
    assert_eq!(recording.vms.iter().map(|vm| vm.migrations).sum::<u64>(), 0);
}

#[test]
fn out_of_phase_there_is_one_exchange_per_200_ms() {
    let apart = record("out-of-phase", "pinned:quantum=100ms", Keep::Spans);
    // As in the figure: A0 and B1 are on together, then B0 and A1.
    for (ms, pair) in [
        (250, ["A0", "B1"]),
        (350, ["B0", "A1"]),
        (450, ["A0", "B1"]),
    ] {
        assert_eq!(occupants(&apart, ms * MS), pair);
    }
    let apart = throughput_of(&apart, "A");
    assert!((apart - 5.0).abs() <= 0.1, "{apart} exchanges a second");
    for gang in ["gang:quantum=100ms", "gang:quantum=20ms"] {
        let recording = record("out-of-phase", gang, Keep::Totals);
        let together = throughput_of(&recording, "A");
        assert!(
            together >= 100_000.0 * apart,
            "{gang}: {together} against {apart}"
        );
    }
}

#[test]
fn gangs_fill_the_matrix_and_slot_four_is_slot_zero() {
    let recording = record("gang-matrix", "gang:quantum=20ms", Keep::Spans);
    let slots: Vec<Vec<String>> = (0..24)
        .map(|slot| occupants(&recording, (slot * 20 + 10) * MS))
        .collect();
    let mut rows: Vec<Vec<String>> = slots[..4].to_vec();
    for row in &mut rows {
        row.sort();
    }
    let expected = [
        ["A0", "A1", "A2", "A3", "A4", "A5"],
        ["B0", "B1", "B2", "C0", "C1", "C2"],
        ["D0", "D1", "D2", "D3", "D4", "E0"],
        ["E1", "E2", "E3", "E4", "E5", "E6"],
    ];
    assert_eq!(rows, expected);
    for (slot, row) in slots.iter().enumerate() {
        assert_eq!(*row, slots[slot % 4], "slot {slot}");
    }
    // No hole: what is not work is switching.
    assert_eq!(recording.cpu_totals.hole_ns, 0);
    assert!(
        recording
            .spans
            .iter()
            .all(|span| span.activity != Activity::Held)
    );
    assert_eq!(occupant(&recording, 0, 90 * MS), "A0");
}
