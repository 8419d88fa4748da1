//! The value of a metric in a round.

use muster_node::snapshot::{Locks, Snapshot};
use muster_scheduler::Nanos;

use crate::round::{Facts, VcpuRound, VmRound, find_vm};
use crate::spec::{Measure, Metric};
use crate::statistics::class_percentile;

/// The value; `None` where there is nothing to tell. `samples` are looks in between, the first and the
/// last included. `active` says which of the experiment's VMs take part.
pub fn value(
    metric: &Metric,
    facts: &Facts,
    samples: &[Snapshot],
    active: impl Fn(usize) -> bool,
) -> Option<f64> {
    let chosen = metric.vms.iter().copied().filter(|&vm| active(vm));
    let vms: Vec<&VmRound> = chosen.map(|vm| &facts.vms[vm]).collect();
    let seconds = facts.length_ns as f64 / 1e9;
    if vms.is_empty() {
        return None;
    }
    match metric.measure {
        Measure::Rate { counter, vcpu } => {
            let growth = vms.iter().map(|vm| growth(vm, counter, vcpu));
            Some(growth.sum::<f64>() / seconds)
        }
        Measure::Percentile { percent } => {
            let classes = histogram(&vms);
            Some(class_percentile(&classes, percent)? / 1e3)
        }
        Measure::ShareError => share_error(&vms),
        Measure::HolderPreemptions => {
            if !vms.iter().all(|vm| tells_of_locks(vm, samples)) {
                return None;
            }
            let stopped = |vcpu: &VcpuRound| vcpu.holder_preemptions as f64;
            Some(sum(&vms, stopped) / seconds)
        }
        Measure::Skew => skew(&vms, samples),
        Measure::Cpus => {
            let run = sum(&vms, |vcpu| vcpu.run_ns as f64);
            Some(run / facts.length_ns as f64)
        }
    }
}

/// Whether it was known all the time what a VM's vCPUs hold.
fn tells_of_locks(vm: &VmRound, samples: &[Snapshot]) -> bool {
    samples.iter().all(|sample| {
        let locks = find_vm(sample, &vm.name).map(|vm| &vm.locks);
        matches!(locks, Some(Locks::Page | Locks::Linux))
    })
}

fn sum(vms: &[&VmRound], part: impl Fn(&VcpuRound) -> f64) -> f64 {
    let vcpus = vms.iter().flat_map(|vm| &vm.vcpus);
    vcpus.map(part).sum()
}

fn growth(vm: &VmRound, counter: usize, vcpu: Option<u32>) -> f64 {
    let vcpus = vm.vcpus.iter().enumerate();
    let vcpus = vcpus.filter(|(index, _)| vcpu.is_none_or(|vcpu| *index == vcpu as usize));
    let counts = vcpus.map(|(_, vcpu)| vcpu.counters.get(counter).copied().unwrap_or(0) as f64);
    counts.sum()
}

/// All histograms in one. Guests may have written anything: nothing may overflow.
fn histogram(vms: &[&VmRound]) -> Vec<u64> {
    let mut classes = Vec::new();
    for vcpu in vms.iter().flat_map(|vm| &vm.vcpus) {
        classes.resize(classes.len().max(vcpu.histogram.len()), 0_u64);
        for (sum, count) in classes.iter_mut().zip(&vcpu.histogram) {
            *sum = sum.saturating_add(*count);
        }
    }
    classes
}

/// The largest difference between what a VM got and what it was entitled to, in percent of the latter.
/// What was delivered is shared out by weight; what a VM did not want goes to the others.
fn share_error(vms: &[&VmRound]) -> Option<f64> {
    let of = |vm: &&VmRound, part: fn(&VcpuRound) -> Nanos| -> f64 {
        vm.vcpus.iter().map(|vcpu| part(vcpu) as f64).sum()
    };
    let got: Vec<f64> = vms.iter().map(|vm| of(vm, |vcpu| vcpu.run_ns)).collect();
    let wanted = |vcpu: &VcpuRound| vcpu.run_ns + vcpu.ready_ns + vcpu.co_stop_ns;
    let wanted: Vec<f64> = vms.iter().map(|vm| of(vm, wanted)).collect();
    let weights: Vec<f64> = vms.iter().map(|vm| f64::from(vm.weight)).collect();
    let entitled = entitlements(got.iter().sum(), &wanted, &weights);
    let errors = got.iter().zip(&entitled);
    let errors = errors.filter(|(_, entitled)| **entitled > 0.0);
    let errors = errors.map(|(got, entitled)| 100.0 * (got / entitled - 1.0).abs());
    errors.max_by(f64::total_cmp)
}

/// Shares out `total` by weight, nobody getting more than wanted.
fn entitlements(total: f64, wanted: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; wanted.len()];
    let mut open: Vec<usize> = (0..wanted.len()).collect();
    let mut left = total;
    while !open.is_empty() {
        let weight: f64 = open.iter().map(|&vm| weights[vm]).sum();
        let share = |vm: usize| left * weights[vm] / weight;
        let (content, hungry): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|&&vm| wanted[vm] <= share(vm));
        if content.is_empty() {
            for &vm in &hungry {
                shares[vm] = share(vm);
            }
            break;
        }
        for &vm in &content {
            shares[vm] = wanted[vm];
        }
        left -= content.iter().map(|&vm| wanted[vm]).sum::<f64>();
        open = hungry;
    }
    shares
}

/// Between which values the lead of a vCPU over a sibling was, in milliseconds; the widest.
fn skew(vms: &[&VmRound], samples: &[Snapshot]) -> Option<f64> {
    let mut widest: Option<f64> = None;
    for vm in vms {
        for first in 0..vm.vcpus.len() {
            for second in 0..first {
                let leads = samples.iter().filter_map(|sample| {
                    let vcpus = &find_vm(sample, &vm.name)?.vcpus;
                    let run = |index: usize| Some(vcpus.get(index)?.run_ns as f64);
                    Some(run(first)? - run(second)?)
                });
                let bounds = leads.fold((f64::MAX, f64::MIN), |(low, high), lead| {
                    (lead.min(low), lead.max(high))
                });
                if bounds.0 <= bounds.1 {
                    let width = (bounds.1 - bounds.0) / 1e6;
                    widest = Some(widest.map_or(width, |widest| widest.max(width)));
                }
            }
        }
    }
    widest
}

#[cfg(test)]
mod tests;
