//! vCPUs run only during their VM's life, where it may run, on CPUs that are there.

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Timeline, without};

/// The property's name.
pub const NAME: &str = "vCPUs run where they may";

/// Every stay lies in the VM's hard affinity and life, and on a CPU that is online or went away just
/// now.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    for (&vcpu, of) in &line.vcpus {
        let life = line.life(vcpu.vm);
        for stay in &of.stays {
            seen += 1;
            let broken = |why: &str| Broken {
                property: NAME,
                at_ns: stay.time.start,
                seen: format!("{} {why}: {stay:?}", name(vcpu)),
            };
            if stay.time.overlap(life) != stay.time {
                return Err(broken("runs without its VM"));
            }
            if !facts.vms[vcpu.vm as usize].hard.contains(stay.cpu) {
                return Err(broken("runs against its hard affinity"));
            }
            let away = without(&[stay.time], &line.online[stay.cpu.index()]);
            let slack = facts.switch_ns + facts.late_ns;
            if away.iter().any(|away| away.len() > slack) {
                return Err(broken("runs on a CPU that is offline"));
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
