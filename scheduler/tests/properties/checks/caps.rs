//! A capped VM gets no more than its cap.

use muster_scheduler::vm::CAP_PERIOD;
use muster_scheduler::{Nanos, Runstate};

use super::Broken;
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline};

/// The property's name.
pub const NAME: &str = "caps are kept";

/// Over each period from a VM's arrival its CPU time is at most its cap, and what its vCPUs use until
/// they are really off their CPUs.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    for (vm, outcome) in line.recording.vms.iter().enumerate() {
        let Some(percent) = facts.vms[vm].cap else {
            continue;
        };
        let life = line.life(vm as u32);
        let stop_ns = facts.switch_ns + facts.late_ns + line.grace_ns();
        let allowed =
            CAP_PERIOD * Nanos::from(percent) / 100 + stop_ns * outcome.times.len() as Nanos;
        let mut period = Stretch::new(life.start, life.start + CAP_PERIOD);
        while period.start < life.end {
            seen += 1;
            let of_vm = line.vcpus.iter().filter(|(vcpu, _)| vcpu.vm as usize == vm);
            let used = of_vm.map(|(_, of)| of.time_in(Runstate::Running, period));
            let used: Nanos = used.sum();
            if used > allowed {
                return Err(Broken {
                    property: NAME,
                    at_ns: period.start,
                    seen: format!("VM {vm} with a cap of {percent} % used {used} ns in {period:?}"),
                });
            }
            period = Stretch::new(period.end, period.end + CAP_PERIOD);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
