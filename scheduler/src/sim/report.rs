//! How policies did, beside each other.
//!
//! Problem: one number per policy hides who paid for it, and numbers of different runs only mean
//! something beside those of a baseline under the same conditions.
//!
//! Approach: from each recording a row of measures, the first recording being the baseline, and a
//! row per VM with its throughput under each policy. For people a table, for programs the same as
//! JSON.
//!
//! Terms: a VM's *throughput* is its operations per second of its presence; its *ratio* is that over
//! the same VM's under the baseline; a policy's *speed-up* is the geometric mean of its VMs' ratios.
//! CPU time is *useful* if a vCPU got on with its work. *Fairness* is Jain's index over each VM's CPU
//! time as a part of its entitlement: the host's time shared out by weight, with no VM getting more
//! than it could use (what one does not want is shared among the others). 1 is fair; 1/n is one of n
//! VMs having it all.

use serde::Serialize;

use super::record::{Recording, VmOutcome};
use crate::{Nanos, Runstate, SECOND};

mod text;

pub use text::{number, percent, ratio, short_time};

/// How policies did on one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The form of this object: 1. Fields may be added to it.
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// CPUs of the host.
    pub cpus: u32,
    /// How long each run was.
    pub duration_ns: Nanos,
    /// One row per run, the baseline first.
    pub policies: Vec<PolicyRow>,
}

/// How one policy did. Parts are of all CPU time, 1 being all of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyRow {
    /// The policy, as it was asked for.
    pub policy: String,
    /// The geometric mean of the VMs' ratios; `None` if no VM has one.
    pub speed_up: Option<f64>,
    /// The part in which vCPUs got on with their work: utilisation.
    pub useful: f64,
    /// The part in which they spun.
    pub spinning: f64,
    /// The part in which they waited for caches to fill.
    pub refilling: f64,
    /// The part that went into switching.
    pub switching: f64,
    /// The part that was held for halted vCPUs.
    pub held: f64,
    /// The part that was stolen from the host.
    pub stolen: f64,
    /// The part in which a CPU idled, held for nobody.
    pub idle: f64,
    /// Holes: the part in which a CPU idled or was held while a vCPU was ready.
    pub holes: f64,
    /// vCPUs stopped while they held a lock.
    pub holder_preemptions: u64,
    /// The largest lead of a vCPU over its slowest sibling.
    pub skew_max_ns: Nanos,
    /// Half of all wake-ups took at most this long until the vCPU ran.
    pub wake_p50_ns: Option<Nanos>,
    /// 99 % of them.
    pub wake_p99_ns: Option<Nanos>,
    /// Moves between CPUs.
    pub migrations: u64,
    /// Jain's index over CPU time as a part of what each VM is entitled to.
    pub fairness: Option<f64>,
    /// How often the policy was asked.
    pub decisions: u64,
    /// Simulated events.
    pub events: u64,
    /// Equal hashes, equal runs.
    pub hash: String,
    /// One row per VM, in order of arrival.
    pub vms: Vec<VmRow>,
}

/// How one VM did under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmRow {
    /// Its name.
    pub name: String,
    /// Its number of vCPUs.
    pub vcpus: u64,
    /// Its weight.
    pub weight: u32,
    /// How long it was there.
    pub present_ns: Nanos,
    /// Whether it left before the end.
    pub left: bool,
    /// Operations that it completed.
    pub ops: u64,
    /// Operations per second of its presence.
    pub throughput: f64,
    /// Its throughput over that under the baseline; `None` if there it had none.
    pub ratio: Option<f64>,
    /// CPUs that it had on average while it was there.
    pub cpus: f64,
    /// Times of its vCPUs together: on a CPU.
    pub running_ns: Nanos,
    /// Without a CPU though they could run: steal.
    pub ready_ns: Nanos,
    /// Held back for their siblings' sake.
    pub co_stopped_ns: Nanos,
    /// Halted.
    pub halted_ns: Nanos,
}

impl Report {
    /// Compares runs of one scenario with one seed. The first is the baseline.
    ///
    /// # Panics
    /// Without a recording.
    pub fn new(recordings: &[Recording]) -> Self {
        let baseline = &recordings[0];
        let rows = recordings.iter();
        let rows = rows.map(|recording| policy_row(recording, baseline));
        Self {
            schema: 1,
            scenario: baseline.scenario.clone(),
            seed: baseline.seed,
            cpus: baseline.cpus,
            duration_ns: baseline.duration_ns,
            policies: rows.collect(),
        }
    }
}

fn policy_row(recording: &Recording, baseline: &Recording) -> PolicyRow {
    let vms = &recording.vms;
    let rows = vms.iter().enumerate().map(|(index, vm)| {
        let twin = baseline.vms.get(index).filter(|twin| twin.name == vm.name);
        vm_row(vm, recording, twin.map(|twin| throughput(twin, baseline)))
    });
    let rows: Vec<VmRow> = rows.collect();
    let all = recording.duration_ns as f64 * f64::from(recording.cpus);
    let part = |time: Nanos| if all > 0.0 { time as f64 / all } else { 0.0 };
    let sum = |of: fn(&VmOutcome) -> Nanos| part(vms.iter().map(of).sum());
    let (useful, spinning) = (sum(|vm| vm.work_ns), sum(|vm| vm.spin_ns));
    let refilling = sum(|vm| vm.refill_ns);
    let totals = recording.cpu_totals;
    let (switching, held) = (part(totals.switch_ns), part(totals.held_ns));
    let stolen = part(totals.stolen_ns);
    let busy = useful + spinning + refilling + switching + held + stolen;
    let wakes = wakes(vms);
    PolicyRow {
        policy: recording.policy.clone(),
        speed_up: geometric_mean(rows.iter().filter_map(|row| row.ratio)),
        useful,
        spinning,
        refilling,
        switching,
        held,
        stolen,
        idle: (1.0 - busy).max(0.0),
        holes: part(totals.hole_ns),
        holder_preemptions: vms.iter().map(|vm| vm.holder_preemptions).sum(),
        skew_max_ns: vms.iter().map(|vm| vm.skew_max_ns).max().unwrap_or(0),
        wake_p50_ns: percentile(&wakes, 50),
        wake_p99_ns: percentile(&wakes, 99),
        migrations: vms.iter().map(|vm| vm.migrations).sum(),
        fairness: fairness(recording),
        decisions: recording.decisions,
        events: recording.events,
        hash: format!("{:016x}", recording.hash),
        vms: rows,
    }
}

fn vm_row(vm: &VmOutcome, recording: &Recording, before: Option<f64>) -> VmRow {
    let present_ns = presence(vm, recording);
    let throughput = throughput(vm, recording);
    let time = |state| vm.times.iter().map(|times| times[state]).sum::<Nanos>();
    let running_ns = time(Runstate::Running);
    VmRow {
        name: vm.name.clone(),
        vcpus: vm.times.len() as u64,
        weight: vm.weight,
        present_ns,
        left: vm.left_ns.is_some(),
        ops: vm.ops,
        throughput,
        ratio: before
            .filter(|&before| before > 0.0)
            .map(|before| throughput / before),
        cpus: running_ns as f64 / present_ns.max(1) as f64,
        running_ns,
        ready_ns: time(Runstate::Ready),
        co_stopped_ns: time(Runstate::CoStopped),
        halted_ns: time(Runstate::Halted),
    }
}

/// How long a VM was there while it was measured.
fn presence(vm: &VmOutcome, recording: &Recording) -> Nanos {
    let begin = vm.arrived_ns.max(recording.warm_up_ns);
    let end = recording.warm_up_ns + recording.duration_ns;
    vm.left_ns.unwrap_or(end).saturating_sub(begin)
}

fn throughput(vm: &VmOutcome, recording: &Recording) -> f64 {
    match presence(vm, recording) {
        0 => 0.0,
        present => vm.ops as f64 * SECOND as f64 / present as f64,
    }
}

/// `None` without a value. A zero makes it zero.
fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut logs, mut count) = (0.0, 0_u32);
    for value in values {
        logs += libm::log(value);
        count += 1;
    }
    (count > 0).then(|| libm::exp(logs / f64::from(count)))
}

/// All VMs' wake-up latencies in order, each with how many it stands for: of many wakes only a random
/// choice is kept. In thousandths.
fn wakes(vms: &[VmOutcome]) -> Vec<(Nanos, u128)> {
    let mut wakes = Vec::new();
    for vm in vms {
        let kept = vm.wake_latencies_ns.len() as u128;
        let latencies = vm.wake_latencies_ns.iter();
        wakes.extend(latencies.map(|&latency| (latency, u128::from(vm.wakes) * 1000 / kept)));
    }
    wakes.sort_unstable();
    wakes
}

/// The smallest of sorted values that `percent` of them don't exceed.
fn percentile(sorted: &[(Nanos, u128)], percent: u128) -> Option<Nanos> {
    let all: u128 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0;
    let found = sorted.iter().find(|(_, weight)| {
        below += weight;
        below * 100 >= all * percent
    });
    found.map(|(value, _)| *value)
}

/// See the module's head. `None` if no VM wanted any time.
fn fairness(recording: &Recording) -> Option<f64> {
    let time = |vm: &VmOutcome, state| vm.times.iter().map(|times| times[state]).sum::<Nanos>();
    // What it got, what it could have used, its weight for as long as it was there.
    let claims = recording.vms.iter().map(|vm| {
        let got = time(vm, Runstate::Running);
        let wanted = got + time(vm, Runstate::Ready) + time(vm, Runstate::CoStopped);
        let weight = f64::from(vm.weight) * presence(vm, recording) as f64;
        (got as f64, wanted as f64, weight)
    });
    let claims: Vec<_> = claims.filter(|&(_, wanted, _)| wanted > 0.0).collect();
    let all = recording.duration_ns as f64 * f64::from(recording.cpus);
    let entitled = share_out(all - recording.cpu_totals.stolen_ns as f64, &claims);
    let parts = claims.iter().zip(entitled);
    let parts: Vec<f64> = parts.map(|((got, _, _), due)| got / due).collect();
    let sum: f64 = parts.iter().sum();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    (squares > 0.0).then(|| sum * sum / (parts.len() as f64 * squares))
}

/// Shares `all` out by weight, nobody getting more than is wanted.
fn share_out(all: f64, claims: &[(f64, f64, f64)]) -> Vec<f64> {
    let mut due = vec![None; claims.len()];
    let mut rest = all;
    loop {
        let open = || (0..claims.len()).filter(|&index| due[index].is_none());
        let weights: f64 = open().map(|index| claims[index].2).sum();
        let level = rest / weights;
        let content: Vec<usize> = open()
            .filter(|&index| claims[index].1 <= claims[index].2 * level)
            .collect();
        if content.is_empty() {
            let share =
                |(index, due): (usize, &Option<f64>)| due.unwrap_or(claims[index].2 * level);
            return due.iter().enumerate().map(share).collect();
        }
        for index in content {
            due[index] = Some(claims[index].1);
            rest -= claims[index].1;
        }
    }
}

#[cfg(test)]
mod tests;
