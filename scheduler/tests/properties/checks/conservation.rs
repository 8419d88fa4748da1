//! Where a policy claims to conserve work, no CPU idles while a vCPU that may run there is ready.

use muster_scheduler::Runstate;
use muster_scheduler::sim::record::VcpuRef;

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline};

/// The property's name.
pub const NAME: &str = "work is conserved";

/// No idle time of a CPU and ready time of a vCPU that may run there have more in common than two
/// switches: the vCPU may have to leave another CPU first. Whoever leaves may have a grace.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let slack = 2 * (facts.switch_ns + facts.late_ns) + line.grace_ns();
    let mut waits: Vec<(VcpuRef, Stretch)> = line
        .vcpus
        .iter()
        .filter(|(vcpu, _)| facts.vms[vcpu.vm as usize].cap.is_none())
        .flat_map(|(&vcpu, of)| of.in_state(Runstate::Ready).map(move |time| (vcpu, time)))
        .filter(|(_, time)| time.len() > slack)
        .collect();
    waits.sort_unstable_by_key(|&(vcpu, time)| (time, vcpu));
    let longest = waits.iter().map(|(_, time)| time.len()).max();
    let mut seen = 0;
    for steady in line.steady() {
        if !facts.reign(steady).claims.work_conserving || steady.len() <= slack {
            continue;
        }
        for cpu in line.online_in(steady) {
            for idle in line.idle(cpu) {
                let idle = idle.overlap(steady);
                if idle.len() <= slack {
                    continue;
                }
                seen += 1;
                let from = idle.start.saturating_sub(longest.unwrap_or(0));
                let first = waits.partition_point(|(_, time)| time.start < from);
                let near = waits[first..].iter();
                let mut near = near.take_while(|(_, time)| time.start < idle.end);
                let waiting = near.find(|(vcpu, ready)| {
                    let may = facts.vms[vcpu.vm as usize].hard.contains(cpu);
                    may && ready.overlap(idle).len() > slack
                });
                if let Some((vcpu, ready)) = waiting {
                    return Err(Broken {
                        property: NAME,
                        at_ns: ready.overlap(idle).start,
                        seen: format!("{} is ready {ready:?}, {cpu} idles {idle:?}", name(*vcpu)),
                    });
                }
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
