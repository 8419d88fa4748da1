//! Recordings made by hand, for tests of what is made from recordings.

use super::record::{
    Activity, CpuTotals, Mark, MarkKind, Recording, RunstateChange, Source, Span, VcpuRef,
    VmOutcome,
};
use crate::{CpuId, Level, MS, Nanos, RunTimes, Runstate, VmSpec};

/// An empty recording.
pub fn recording(policy: &str, cpus: u32, duration_ns: Nanos) -> Recording {
    Recording {
        scenario: "example".to_owned(),
        policy: policy.to_owned(),
        source: Source::Simulation,
        seed: 1,
        cpus,
        warm_up_ns: 0,
        duration_ns,
        cpu_totals: CpuTotals::default(),
        vms: Vec::new(),
        spans: Vec::new(),
        spans_lost: 0,
        marks: Vec::new(),
        runstates: Vec::new(),
        turns: Vec::new(),
        decisions: 0,
        events: 0,
        hash: 0,
    }
}

/// A VM that was there from the beginning to the end, its vCPUs always ready.
pub fn vm(name: &str, vcpus: u32, duration_ns: Nanos) -> VmOutcome {
    let mut times = RunTimes::default();
    times[Runstate::Ready] = duration_ns;
    VmOutcome {
        name: name.to_owned(),
        weight: VmSpec::new(name, vcpus).weight,
        arrived_ns: 0,
        left_ns: None,
        ops: 0,
        work_ns: 0,
        spin_ns: 0,
        refill_ns: 0,
        times: vec![times; vcpus as usize],
        holder_preemptions: 0,
        migrations: 0,
        skew_max_ns: 0,
        wakes: 0,
        wake_latencies_ns: Vec::new(),
    }
}

/// Records that a vCPU was on a CPU, in spans and in its VM's times.
pub fn ran(
    recording: &mut Recording,
    cpu: u16,
    (vm, index): (u32, u32),
    activity: Activity,
    [start_ns, end_ns]: [Nanos; 2],
) {
    let time = end_ns - start_ns;
    let outcome = &mut recording.vms[vm as usize];
    match activity {
        Activity::Work => outcome.work_ns += time,
        Activity::Spin => outcome.spin_ns += time,
        Activity::Refill => outcome.refill_ns += time,
        Activity::Held => recording.cpu_totals.held_ns += time,
        Activity::Switch => recording.cpu_totals.switch_ns += time,
        Activity::Stolen => recording.cpu_totals.stolen_ns += time,
    }
    if matches!(activity, Activity::Work | Activity::Spin | Activity::Refill) {
        let times = &mut outcome.times[index as usize];
        times[Runstate::Running] += time;
        times[Runstate::Ready] -= time;
    }
    recording.spans.push(Span {
        cpu: CpuId(cpu),
        vcpu: Some(VcpuRef { vm, index }),
        activity,
        level: Some(Level::Slot),
        start_ns,
        end_ns,
    });
}

/// The textbook's gang figure: six CPUs, gangs A to E with 24 vCPUs, slots of 10 ms; slot 4 is slot
/// 0 again. In slot 1 something of each activity happens, and E0 in slot 2 is not there: a hole.
pub fn gangs() -> Recording {
    let duration = 60 * MS;
    let mut recording = recording("gang:quantum=10ms", 6, duration);
    for (name, vcpus) in [("A", 6), ("B", 3), ("C", 3), ("D", 5), ("E", 7)] {
        recording.vms.push(vm(name, vcpus, duration));
    }
    let rows: [&[(u32, u32)]; 4] = [
        &[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)],
        &[(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)],
        &[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4)],
        &[(4, 1), (4, 2), (4, 3), (4, 4), (4, 5), (4, 6)],
    ];
    for slot in 0..6 {
        recording.marks.push(Mark {
            at_ns: slot as u64 * 10 * MS,
            kind: MarkKind::Slot {
                number: slot as u64,
            },
        });
        for (cpu, vcpu) in rows[slot % 4].iter().enumerate() {
            let at = |tenths: u64| slot as u64 * 10 * MS + tenths * MS;
            let phases: &[(Activity, u64, u64)] = match (slot, cpu) {
                (1, 0) => &[(Activity::Work, 0, 4), (Activity::Spin, 4, 10)],
                (1, 1) => &[(Activity::Refill, 0, 3), (Activity::Work, 3, 10)],
                (1, 2) => &[(Activity::Work, 0, 5), (Activity::Held, 5, 10)],
                (1, 3) => &[(Activity::Switch, 0, 1), (Activity::Work, 1, 10)],
                (1, 4) => &[(Activity::Work, 0, 6), (Activity::Stolen, 6, 10)],
                _ => &[(Activity::Work, 0, 10)],
            };
            for (activity, from, to) in phases {
                ran(
                    &mut recording,
                    cpu as u16,
                    *vcpu,
                    *activity,
                    [at(*from), at(*to)],
                );
            }
        }
    }
    recording.cpu_totals.hole_ns = 10 * MS;
    for vm in 0..5 {
        let kind = MarkKind::Arrive { vm };
        recording.marks.push(Mark { at_ns: 0, kind });
        recording.runstates.push(RunstateChange {
            at_ns: 0,
            vcpu: VcpuRef { vm, index: 0 },
            state: Some(Runstate::Ready),
        });
    }
    recording
}
