//! What a VM asks of the scheduler.

use crate::{CpuSet, Nanos};

/// The most vCPUs of one VM.
pub const VCPUS_MAX: u32 = 1024;
/// The weight of a VM that names none.
pub const WEIGHT_DEFAULT: u32 = 256;
/// The largest weight; the smallest is 1.
pub const WEIGHT_MAX: u32 = 10_000;
/// The span over which a cap is enforced.
pub const CAP_PERIOD: Nanos = 100 * crate::MS;

/// A VM, as the engine is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// For people.
    pub name: String,
    /// How many vCPUs, from 1 to [`VCPUS_MAX`].
    pub vcpus: u32,
    /// Its share beside other VMs that want the same CPUs, from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// The most CPU time that it may use, in percent of one CPU (250 is two and a half CPUs), over
    /// each [`CAP_PERIOD`].
    pub cap_percent: Option<u32>,
    /// Where its vCPUs may run, and nowhere else.
    pub hard_affinity: CpuSet,
    /// Where they would rather run.
    pub soft_affinity: CpuSet,
    /// What its owner believes that it will run, were it alone. Only policies for batch work ask.
    pub run_time_ns: Option<Nanos>,
}

impl VmSpec {
    /// A VM that may run anywhere, with the usual weight and no cap.
    pub fn new(name: impl Into<String>, vcpus: u32) -> Self {
        Self {
            name: name.into(),
            vcpus,
            weight: WEIGHT_DEFAULT,
            cap_percent: None,
            hard_affinity: CpuSet::ALL,
            soft_affinity: CpuSet::ALL,
            run_time_ns: None,
        }
    }

    /// Whether the engine can take it on a host with `cpus`.
    pub fn check(&self, cpus: &CpuSet) -> Result<(), VmSpecError> {
        if !(1..=VCPUS_MAX).contains(&self.vcpus) {
            return Err(VmSpecError::Vcpus(self.vcpus));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(VmSpecError::Weight(self.weight));
        }
        if self.cap_percent == Some(0) {
            return Err(VmSpecError::Cap);
        }
        if (self.hard_affinity & *cpus).is_empty() {
            return Err(VmSpecError::HardAffinity {
                affinity: Box::new(self.hard_affinity),
                cpus: Box::new(*cpus),
            });
        }
        Ok(())
    }
}

/// Why the engine does not take a VM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmSpecError {
    /// No vCPU, or too many.
    #[error("{0} vCPUs: a VM has from 1 to {VCPUS_MAX}")]
    Vcpus(u32),
    /// No weight, or too much.
    #[error("weight {0}: allowed are 1 to {WEIGHT_MAX}")]
    Weight(u32),
    /// A cap of nothing.
    #[error("a cap of 0 % would never let the VM run: leave it out, or give at least 1")]
    Cap,
    /// There is nowhere to run.
    #[error("hard affinity {affinity}: none of these CPUs is online (online: {cpus})")]
    HardAffinity {
        /// What was asked for.
        affinity: Box<CpuSet>,
        /// What there is.
        cpus: Box<CpuSet>,
    },
}
