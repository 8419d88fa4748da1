//! Weights are honoured: busy VMs get CPU time by their weights.

use muster_scheduler::policy::FAIR_DUE_MIN;
use muster_scheduler::{CpuId, CpuSet, Nanos, Runstate};

use super::Broken;
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline};

/// The property's name.
pub const NAME: &str = "weights are honoured";

/// How far a share may be from what is due, in percent.
const ERROR_PERCENT: Nanos = 2;
/// The least that Jain's index of got over due may be, in millionths.
const JAIN_MIN: u128 = 980_000;

/// A busy VM in a window.
#[derive(Debug, Clone, Copy)]
struct Claimant {
    vm: u32,
    weight: u64,
    /// The most that its vCPUs can use.
    most: Nanos,
    got: Nanos,
}

/// In windows of the promised length, while VMs, CPUs and policy stay the same and every VM may run
/// anywhere, each busy VM's time is within 2 % of its share, and the shares' evenness is 0.98. Where a VM is
/// due only a few turns, nothing is promised.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let all = CpuSet::from_iter((0..line.recording.cpus).map(|cpu| CpuId(cpu as u16)));
    let mut seen = 0;
    if facts.disturbed {
        return Ok(0);
    }
    for steady in line.steady() {
        let Some(length) = facts.reign(steady).claims.fair_within_ns else {
            continue;
        };
        if steady.len() < length {
            continue;
        }
        let vms = 0..line.recording.vms.len() as u32;
        let mut present = vms.filter(|&vm| line.life(vm).overlap(steady) == steady);
        if !present.all(|vm| facts.is_free(vm, &all)) {
            continue;
        }
        for window in windows(steady, length) {
            seen += check_window(line, facts, window)?;
        }
    }
    Ok(seen)
}

/// Half overlapping, the last at the very end.
fn windows(within: Stretch, length: Nanos) -> impl Iterator<Item = Stretch> {
    let last = within.end - length;
    let starts = (within.start..last).step_by((length / 2).max(1) as usize);
    let starts = starts.chain(std::iter::once(last));
    starts.map(move |start| Stretch::new(start, start + length))
}

fn check_window(line: &Timeline<'_>, facts: &Facts, window: Stretch) -> Result<u64, Broken> {
    let claimants = claimants(line, window);
    if claimants.len() < 2 {
        return Ok(0);
    }
    let due = entitled(&claimants);
    if due.iter().any(|&due| due < FAIR_DUE_MIN) {
        return Ok(0);
    }
    let mut evenness = Vec::new();
    for (claimant, &due) in claimants.iter().zip(&due) {
        let allowed = due * ERROR_PERCENT / 100 + 2 * facts.switch_ns;
        if claimant.got.abs_diff(due) > allowed {
            return Err(Broken {
                property: NAME,
                at_ns: window.start,
                seen: format!(
                    "VM {} got {} ns of {due} ns that are due until {}; all: {claimants:?}",
                    claimant.vm, claimant.got, window.end
                ),
            });
        }
        evenness.push(u128::from(claimant.got) * 1_000_000 / u128::from(due.max(1)));
    }
    let jain = jain(&evenness);
    if jain < JAIN_MIN {
        return Err(Broken {
            property: NAME,
            at_ns: window.start,
            seen: format!("Jain's index is {jain} millionths: {claimants:?}"),
        });
    }
    Ok(1)
}

/// VMs of which no vCPU was halted in the window.
fn claimants(line: &Timeline<'_>, window: Stretch) -> Vec<Claimant> {
    let mut found = Vec::new();
    for (vm, outcome) in line.recording.vms.iter().enumerate() {
        let vm = vm as u32;
        if line.life(vm).overlap(window) != window {
            continue;
        }
        let vcpus = line.vcpus.iter().filter(|(vcpu, _)| vcpu.vm == vm);
        let time = |state| -> Nanos {
            let times = vcpus.clone().map(|(_, of)| of.time_in(state, window));
            times.sum()
        };
        if time(Runstate::Halted) == 0 {
            found.push(Claimant {
                vm,
                weight: u64::from(outcome.weight),
                most: window.len() * outcome.times.len() as u64,
                got: time(Runstate::Running),
            });
        }
    }
    found
}

/// Divides what all got by weight; what one can't use goes to the others.
fn entitled(claimants: &[Claimant]) -> Vec<Nanos> {
    let mut due: Vec<Option<Nanos>> = vec![None; claimants.len()];
    loop {
        let open = || claimants.iter().zip(&due).filter(|(_, due)| due.is_none());
        let weights: u64 = open().map(|(claimant, _)| claimant.weight).sum();
        let all: Nanos = claimants.iter().map(|claimant| claimant.got).sum();
        let left = all - due.iter().flatten().sum::<Nanos>();
        let share = |claimant: &Claimant| {
            let exact = u128::from(left) * u128::from(claimant.weight) / u128::from(weights.max(1));
            exact as Nanos
        };
        let full: Vec<usize> = (0..claimants.len())
            .filter(|&at| due[at].is_none() && share(&claimants[at]) >= claimants[at].most)
            .collect();
        if full.is_empty() {
            let pairs = claimants.iter().zip(&due);
            return pairs
                .map(|(c, due)| due.unwrap_or_else(|| share(c)))
                .collect();
        }
        for at in full {
            due[at] = Some(claimants[at].most);
        }
    }
}

/// Jain's index of evenness, in millionths: 1 if all are equal, 1/n if one has everything.
fn jain(values: &[u128]) -> u128 {
    let sum: u128 = values.iter().sum();
    let squares: u128 = values.iter().map(|value| value * value).sum();
    sum * sum * 1_000_000 / (values.len() as u128 * squares.max(1))
}

#[cfg(test)]
mod tests;
