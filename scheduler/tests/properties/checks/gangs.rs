//! A gang that has its slot is on its CPUs whole.

use muster_scheduler::plan::GRACE_MAX;
use muster_scheduler::sim::record::{MarkKind, VcpuRef};
use muster_scheduler::{CpuSet, Level, MS, Nanos, Runstate};

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline, union, without};

/// The property's name.
pub const NAME: &str = "gangs run whole";

/// Orders that are later than this are overtaken by the next ones: whether a gang gets its CPUs is
/// chance then.
const LATE_MAX: Nanos = MS;

/// While VMs, CPUs and policy stay the same, no member of a unit is away while another is on a CPU at
/// the level of slots, for longer than switches may differ. A member is excused while it is halted or
/// held back, or while its CPU is lent.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    if facts.late_ns > LATE_MAX {
        return Ok(0);
    }
    let slack = 2 * (facts.switch_ns + facts.late_ns) + GRACE_MAX;
    for steady in line.steady() {
        if !facts.reign(steady).claims.gangs {
            continue;
        }
        // What the times before have left behind.
        let steady = Stretch::new(steady.start + slack, steady.end);
        let online: CpuSet = line.online_in(steady).collect();
        for (vm, outcome) in line.recording.vms.iter().enumerate() {
            let of = &facts.vms[vm];
            let capped = of.cap.is_some();
            if capped || line.life(vm as u32).overlap(steady) != steady || steady.len() == 0 {
                continue;
            }
            let width = (of.hard & online).len();
            for unit in units(vm as u32, outcome.times.len(), width) {
                seen += check_unit(line, &unit, steady, slack)?;
            }
        }
    }
    Ok(seen)
}

/// What is scheduled at once of a VM with as many CPUs as `width`: a narrow rest, then full ones.
fn units(vm: u32, vcpus: usize, width: usize) -> Vec<Vec<VcpuRef>> {
    if width == 0 {
        return Vec::new();
    }
    let member = |index: usize| VcpuRef {
        vm,
        index: index as u32,
    };
    let rest = vcpus % width;
    let mut units = vec![(0..rest).map(member).collect::<Vec<_>>()];
    units.extend(
        (rest..vcpus)
            .step_by(width)
            .map(|first| (first..first + width).map(member).collect()),
    );
    units.retain(|unit| unit.len() > 1);
    units
}

/// Looks at each member's absences from times in which another has its slot.
fn check_unit(
    line: &Timeline<'_>,
    unit: &[VcpuRef],
    steady: Stretch,
    slack: Nanos,
) -> Result<u64, Broken> {
    let slots: Vec<Vec<Stretch>> = unit
        .iter()
        .map(|&member| present(line, member, steady))
        .collect();
    let together = union(slots.iter().flatten().copied().collect());
    for (&member, own) in unit.iter().zip(&slots) {
        for absence in without(&together, own) {
            let mut waits = awake(line, member, absence).into_iter();
            let too_long =
                |wait: &Stretch| wait.len() > slack && !is_excused(line, member, *wait, slack);
            if let Some(wait) = waits.find(too_long) {
                return Err(Broken {
                    property: NAME,
                    at_ns: wait.start,
                    seen: format!(
                        "{} has no slot until {}, a sibling has",
                        name(member),
                        wait.end
                    ),
                });
            }
        }
    }
    Ok(together.len() as u64)
}

/// When a vCPU is on a CPU at the level of slots; neighbouring stays are joined.
fn present(line: &Timeline<'_>, vcpu: VcpuRef, steady: Stretch) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for stay in &line.vcpus[&vcpu].stays {
        let time = stay.time.overlap(steady);
        if stay.level != Some(Level::Slot) || time.len() == 0 {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end == time.start => last.end = time.end,
            _ => found.push(time),
        }
    }
    found
}

/// An absence without the times in which the member is halted. Who halts was on a CPU just then, if only
/// for a moment, and who wakes may wait for a switch again.
fn awake(line: &Timeline<'_>, member: VcpuRef, absence: Stretch) -> Vec<Stretch> {
    let states = line.vcpus[&member].states.iter();
    let halted = states.filter(|(state, _)| *state == Runstate::Halted);
    let halts: Vec<Stretch> = halted.map(|&(_, time)| time).collect();
    without(&[absence], &halts)
}

/// Whether an absence is due to the member being held back, or to its CPU being lent.
fn is_excused(line: &Timeline<'_>, member: VcpuRef, split: Stretch, slack: Nanos) -> bool {
    let of = &line.vcpus[&member];
    let held = of.time_in(Runstate::CoStopped, split);
    let mut lent = 0;
    let mut until = split.start;
    for mark in &line.recording.marks {
        if mark.at_ns >= split.end {
            break;
        }
        if let MarkKind::Loan { turn, until_ns, .. } = mark.kind
            && turn == Some(member)
        {
            let loan = Stretch::new(mark.at_ns.max(until), until_ns + slack).overlap(split);
            lent += loan.len();
            until = until.max(loan.end);
        }
    }
    held + lent + slack >= split.len()
}

#[cfg(test)]
mod tests;
