//! From switches as they happened to a recording, as the simulator makes them: charts and traces are
//! drawn from either.

use std::collections::BTreeMap;

use muster_scheduler::cpu_set::CPUS_MAX;
use muster_scheduler::sim::Recording;
use muster_scheduler::sim::gantt::Window;
use muster_scheduler::sim::record::{Activity, CpuTotals, Source, Span, VcpuRef, VmOutcome};
use muster_scheduler::{CpuId, Level, Nanos, RunTimes};

use crate::snapshot::{Snapshot, SwitchRecord};

/// What happened in a window of time, which becomes 0 and what follows. Of the snapshot, the schedule,
/// the CPUs and the VMs count; of the switches all up to the window's end, those before it too: they
/// say who had the CPUs as it began.
pub fn recording(snapshot: &Snapshot, switches: &[SwitchRecord], window: Window) -> Recording {
    let mut vms = Vms::new(snapshot);
    let mut open: BTreeMap<CpuId, (Nanos, &SwitchRecord)> = BTreeMap::new();
    let mut spans = Vec::new();
    let is_cpu = |cpu: u16| usize::from(cpu) < CPUS_MAX;
    let in_order = switches.iter().filter(|switch| is_cpu(switch.cpu));
    let mut in_order: Vec<&SwitchRecord> = in_order.collect();
    in_order.sort_by_key(|switch| (switch.done_ns, switch.cpu));
    let mut close = |cpu: CpuId, (since, switch): (Nanos, &SwitchRecord), until: Nanos| {
        let Some(vcpu) = switch.vcpu.as_deref().and_then(|name| vms.find(name)) else {
            return;
        };
        let Some((start, end)) = window.clip(since, until) else {
            return;
        };
        spans.push(Span {
            cpu,
            vcpu: Some(vcpu),
            activity: Activity::Work,
            level: switch.level.as_deref().and_then(level),
            start_ns: start - window.from_ns,
            end_ns: end - window.from_ns,
        });
    };
    for switch in in_order {
        let cpu = CpuId(switch.cpu);
        if let Some(before) = open.insert(cpu, (switch.done_ns, switch)) {
            close(cpu, before, switch.done_ns);
        }
    }
    for (cpu, last) in open {
        close(cpu, last, window.to_ns);
    }
    spans.sort_by_key(|span| (span.start_ns, span.cpu));
    let cpus = snapshot.cpus.iter().filter(|cpu| is_cpu(cpu.cpu));
    let cpus = cpus.map(|cpu| u32::from(cpu.cpu) + 1);
    let switched = spans.iter().map(|span| u32::from(span.cpu.0) + 1);
    Recording {
        scenario: "muster node".to_owned(),
        policy: snapshot.schedule.clone(),
        source: Source::Host,
        seed: 0,
        cpus: cpus.chain(switched).max().unwrap_or(1),
        warm_up_ns: 0,
        duration_ns: window.length_ns(),
        cpu_totals: CpuTotals::default(),
        vms: vms.outcomes,
        spans,
        spans_lost: 0,
        marks: Vec::new(),
        runstates: Vec::new(),
        turns: Vec::new(),
        decisions: 0,
        events: 0,
        hash: 0,
    }
}

fn level(name: &str) -> Option<Level> {
    match name {
        "backfill" => Some(Level::Backfill),
        "fair" => Some(Level::Fair),
        "slot" => Some(Level::Slot),
        "boosted" => Some(Level::Boosted),
        _ => None,
    }
}

/// The VMs that there are, and those that are met in switches and have left since.
struct Vms {
    outcomes: Vec<VmOutcome>,
}

impl Vms {
    fn new(snapshot: &Snapshot) -> Self {
        let outcomes = snapshot.vms.iter();
        let outcomes = outcomes.map(|vm| outcome(&vm.name, vm.weight, vm.vcpus.len()));
        Self {
            outcomes: outcomes.collect(),
        }
    }

    /// The vCPU that is written so: `web/1`.
    fn find(&mut self, name: &str) -> Option<VcpuRef> {
        let (vm, index) = name.rsplit_once('/')?;
        let index: u32 = index.parse().ok()?;
        if index >= muster_vmm::board::VCPUS_MAX {
            return None;
        }
        let known = self.outcomes.iter().position(|known| known.name == vm);
        let place = known.unwrap_or_else(|| {
            self.outcomes.push(outcome(vm, 0, 0));
            self.outcomes.len() - 1
        });
        let times = &mut self.outcomes[place].times;
        times.resize(times.len().max(index as usize + 1), RunTimes::default());
        let vm = place as u32;
        Some(VcpuRef { vm, index })
    }
}

/// A VM of which nothing is known but its shape.
fn outcome(name: &str, weight: u32, vcpus: usize) -> VmOutcome {
    VmOutcome {
        name: name.to_owned(),
        weight,
        arrived_ns: 0,
        left_ns: None,
        ops: 0,
        work_ns: 0,
        spin_ns: 0,
        refill_ns: 0,
        times: vec![RunTimes::default(); vcpus],
        holder_preemptions: 0,
        migrations: 0,
        skew_max_ns: 0,
        wakes: 0,
        wake_latencies_ns: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
