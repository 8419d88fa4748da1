//! No vCPU stays ready for longer than its policy promises.

use muster_scheduler::policy::Load;
use muster_scheduler::{CpuId, CpuSet, Runstate};

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline};

/// The property's name.
pub const NAME: &str = "nobody starves";

/// While VMs, CPUs and policy stay the same, no ready time is longer than promised for such a load.
/// Promises are for VMs that may run anywhere, and for a host that obeys.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    if facts.disturbed {
        return Ok(0);
    }
    for steady in line.steady() {
        let Some(longest) = facts.reign(steady).claims.ready_max_ns else {
            continue;
        };
        let cpus: CpuSet = line.online_in(steady).collect();
        let Some(load) = load(line, facts, steady, &cpus) else {
            continue;
        };
        let allowed = longest(&load).saturating_add(2 * facts.switch_ns);
        if steady.len() <= allowed {
            continue;
        }
        for (&vcpu, of) in &line.vcpus {
            for ready in of.in_state(Runstate::Ready) {
                let waited = ready.overlap(steady);
                seen += u64::from(waited.len() > 0);
                if waited.len() > allowed {
                    return Err(Broken {
                        property: NAME,
                        at_ns: waited.start,
                        seen: format!(
                            "{} is ready until {} ({} ns); promised for {load:?} are {allowed} ns",
                            name(vcpu),
                            waited.end,
                            waited.len(),
                        ),
                    });
                }
            }
        }
    }
    Ok(seen)
}

/// What there was to schedule; nothing if a VM is held somewhere or capped.
fn load(line: &Timeline<'_>, facts: &Facts, steady: Stretch, cpus: &CpuSet) -> Option<Load> {
    let all = CpuSet::from_iter((0..line.recording.cpus).map(|cpu| CpuId(cpu as u16)));
    let mut vms = Vec::new();
    for (vm, outcome) in line.recording.vms.iter().enumerate() {
        if line.life(vm as u32).overlap(steady) != steady {
            continue;
        }
        if !facts.is_free(vm as u32, &all) {
            return None;
        }
        vms.push((outcome.times.len() as u64, u64::from(outcome.weight)));
    }
    Load::new(cpus.len() as u64, &vms)
}

#[cfg(test)]
mod tests;
