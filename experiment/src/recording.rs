//! From switches as they happened to what the simulator's charts and traces are drawn from.

use std::collections::BTreeMap;

use muster_node::snapshot::SwitchRecord;
use muster_scheduler::sim::Recording;
use muster_scheduler::sim::gantt::Window;
use muster_scheduler::sim::record::{
    Activity, CpuTotals, Mark, MarkKind, RunstateChange, Span, VcpuRef, VmOutcome,
};
use muster_scheduler::{CpuId, Level, MS, Nanos, PolicySpec, RunTimes, Runstate};

use crate::run::Picture;
use crate::spec::{Experiment, VmSpec};

/// How much is drawn: so many of the longest quantum.
const SLOTS_DRAWN: Nanos = 12;
/// The same if a policy has none.
const DRAWN_NS: Nanos = 100 * MS;

/// What is drawn of a round: times count from its beginning.
pub fn window(picture: &Picture, policy: Option<&PolicySpec>) -> Window {
    let quantum = policy.and_then(PolicySpec::quantum);
    let length = quantum.map_or(DRAWN_NS, |quantum| quantum.saturating_mul(SLOTS_DRAWN));
    let whole = picture.to_ns.saturating_sub(picture.from_ns).max(1);
    Window {
        from_ns: 0,
        to_ns: length.min(whole),
    }
}

/// The switches of a round as a recording of `cpus` CPUs.
pub fn recording(experiment: &Experiment, row: usize, picture: &Picture, cpus: u32) -> Recording {
    let whole_ns = picture.to_ns.saturating_sub(picture.from_ns);
    let mut spans = Vec::new();
    let mut runstates = Vec::new();
    let mut marks = Vec::new();
    let mut last: BTreeMap<u16, Stay> = BTreeMap::new();
    let mut where_before: BTreeMap<VcpuRef, u16> = BTreeMap::new();
    let mut records: Vec<&SwitchRecord> = picture.switches.iter().collect();
    records.sort_by_key(|record| (record.done_ns, record.cpu));
    for record in records {
        if u32::from(record.cpu) >= cpus || record.done_ns >= picture.to_ns {
            continue;
        }
        let at_ns = record.done_ns.saturating_sub(picture.from_ns);
        let vcpu = record.vcpu.as_deref();
        let next = Stay {
            vcpu: vcpu.and_then(|name| vcpu_of(&experiment.vms, name)),
            level: record.level.as_deref().and_then(level_of),
            since_ns: at_ns,
        };
        if let Some(vcpu) = next.vcpu {
            let before = where_before.insert(vcpu, record.cpu);
            if before.is_some_and(|before| before != record.cpu) && at_ns > 0 {
                let kind = MarkKind::Migrate(vcpu, CpuId(record.cpu));
                marks.push(Mark { at_ns, kind });
            }
        }
        if let Some(stay) = last.insert(record.cpu, next) {
            stay.end(CpuId(record.cpu), at_ns, &mut spans, &mut runstates);
        }
        next.begin(&mut runstates);
    }
    for (cpu, stay) in last {
        stay.end(CpuId(cpu), whole_ns, &mut spans, &mut runstates);
    }
    spans.sort_by_key(|span| (span.start_ns, span.cpu));
    runstates.sort_by_key(|change| change.at_ns);
    Recording {
        scenario: experiment.name.clone(),
        policy: experiment.rows[row].label.clone(),
        seed: 0,
        cpus,
        warm_up_ns: 0,
        duration_ns: whole_ns,
        cpu_totals: CpuTotals::default(),
        vms: experiment.vms.iter().map(outcome).collect(),
        spans,
        spans_lost: 0,
        marks,
        runstates,
        decisions: 0,
        events: 0,
        hash: 0,
    }
}

/// Who has a CPU.
#[derive(Debug, Clone, Copy)]
struct Stay {
    vcpu: Option<VcpuRef>,
    level: Option<Level>,
    since_ns: Nanos,
}

impl Stay {
    fn begin(self, runstates: &mut Vec<RunstateChange>) {
        runstates.extend(self.vcpu.map(|vcpu| RunstateChange {
            at_ns: self.since_ns,
            vcpu,
            state: Some(Runstate::Running),
        }));
    }

    fn end(
        self,
        cpu: CpuId,
        at_ns: Nanos,
        spans: &mut Vec<Span>,
        runstates: &mut Vec<RunstateChange>,
    ) {
        let Some(vcpu) = self.vcpu.filter(|_| self.since_ns < at_ns) else {
            return;
        };
        spans.push(Span {
            cpu,
            vcpu: Some(vcpu),
            activity: Activity::Work,
            level: self.level,
            start_ns: self.since_ns,
            end_ns: at_ns,
        });
        runstates.push(RunstateChange {
            at_ns,
            vcpu,
            state: Some(Runstate::Ready),
        });
    }
}

/// `web/1`, of the experiment's VMs.
fn vcpu_of(vms: &[VmSpec], name: &str) -> Option<VcpuRef> {
    let (vm, index) = name.rsplit_once('/')?;
    let vm = vms.iter().position(|spec| spec.name == vm)?;
    let index: u32 = index.parse().ok()?;
    (index < vms[vm].vcpus).then_some(VcpuRef {
        vm: vm as u32,
        index,
    })
}

fn level_of(name: &str) -> Option<Level> {
    Some(match name {
        "backfill" => Level::Backfill,
        "fair" => Level::Fair,
        "slot" => Level::Slot,
        "boosted" => Level::Boosted,
        _ => return None,
    })
}

/// A VM by its name and size. What it got is not in here.
fn outcome(vm: &VmSpec) -> VmOutcome {
    VmOutcome {
        name: vm.name.clone(),
        weight: vm.weight,
        arrived_ns: 0,
        left_ns: None,
        ops: 0,
        work_ns: 0,
        spin_ns: 0,
        refill_ns: 0,
        times: vec![RunTimes::default(); vm.vcpus as usize],
        holder_preemptions: 0,
        migrations: 0,
        skew_max_ns: 0,
        wakes: 0,
        wake_latencies_ns: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
