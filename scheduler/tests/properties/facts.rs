//! What checkers know beside the recording: what was asked for, and what was promised.

use muster_scheduler::{Claims, CpuSet, Nanos};

use crate::timeline::Stretch;

/// A VM, as the scenario describes it.
#[derive(Debug, Clone)]
pub struct VmFacts {
    /// Where it may run.
    pub hard: CpuSet,
    /// Percent of one CPU.
    pub cap: Option<u32>,
}

/// A policy's time in charge.
#[derive(Debug, Clone)]
pub struct Reign {
    /// From when.
    pub from: Nanos,
    /// What it promises.
    pub claims: Claims,
}

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Facts {
    /// In the order of the recording.
    pub vms: Vec<VmFacts>,
    /// The longest time from a decision until it is in force, without a fault.
    pub switch_ns: Nanos,
    /// By how much a fault can delay that.
    pub late_ns: Nanos,
    /// Whether anything happens that voids what policies promise of time: faults, or time that is
    /// stolen from the host.
    pub disturbed: bool,
    /// By time; the first from 0.
    pub reigns: Vec<Reign>,
}

impl Facts {
    /// Whose time it was at the start of `time`.
    pub fn reign(&self, time: Stretch) -> &Reign {
        let after = self
            .reigns
            .partition_point(|reign| reign.from <= time.start);
        &self.reigns[after.saturating_sub(1)]
    }

    /// Whether a VM may run on any CPU of the host and as much as it likes.
    pub fn is_free(&self, vm: u32, cpus: &CpuSet) -> bool {
        let vm = &self.vms[vm as usize];
        vm.cap.is_none() && cpus.is_subset(&vm.hard)
    }
}
