//! The properties, each checked by a function that knows nothing of engine and policies.

pub mod accounting;
pub mod caps;
pub mod conservation;
pub mod exclusive;
pub mod fairness;
pub mod gangs;
pub mod loans;
pub mod placement;
pub mod repaid;
pub mod starvation;

use std::fmt;

use muster_scheduler::Nanos;
use muster_scheduler::sim::record::VcpuRef;

use crate::facts::Facts;
use crate::timeline::Timeline;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub property: &'static str,
    /// When.
    pub at_ns: Nanos,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            property,
            at_ns,
            seen,
        } = self;
        write!(f, "{property}: at {at_ns} ns: {seen}")
    }
}

/// A checker: how many cases it has looked at, or the first that is wrong.
pub type Check = fn(&Timeline<'_>, &Facts) -> Result<u64, Broken>;

/// Every property by its name.
pub const ALL: &[(&str, Check)] = &[
    (exclusive::CPU, exclusive::one_thing_per_cpu),
    (exclusive::VCPU, exclusive::one_cpu_per_vcpu),
    (placement::NAME, placement::check),
    (accounting::NAME, accounting::check),
    (caps::NAME, caps::check),
    (gangs::NAME, gangs::check),
    (conservation::NAME, conservation::check),
    (starvation::NAME, starvation::check),
    (fairness::NAME, fairness::check),
    (loans::NAME, loans::check),
    (repaid::NAME, repaid::check),
];

/// A vCPU for people.
pub fn name(vcpu: VcpuRef) -> String {
    format!("vCPU {}.{}", vcpu.vm, vcpu.index)
}

#[cfg(test)]
mod tests;
