//! What checkers know beside the recording: what was asked for, and what was promised.

use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::Recording;
use muster_scheduler::{Claims, CpuSet, Nanos, PolicySpec, US};

use crate::promises;
use crate::timeline::Stretch;

/// What decisions may cost a CPU beside the switch, per CPU of the host: waiting for a lock.
const OVERHEAD_NS: Nanos = 10 * US;
/// How many times its mean length a theft may last. Longer ones happen once in 10^27.
const STEAL_LENGTHS: Nanos = 64;

/// A VM, as the scenario describes it.
#[derive(Debug, Clone)]
pub struct VmFacts {
    /// Where it may run.
    pub hard: CpuSet,
    /// Percent of one CPU.
    pub cap: Option<u32>,
}

/// A time in which the policy, its VMs and its CPUs stay the same.
#[derive(Debug, Clone)]
pub struct Reign {
    /// From when.
    pub from: Nanos,
    /// What the policy promises then.
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
    /// What time it was at the start of `time`.
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

impl Facts {
    /// What a scenario says, for the VMs that were there.
    pub fn new(scenario: &Scenario, policy: &PolicySpec, recording: &Recording) -> Self {
        let vms = (0..recording.vms.len() as u32).map(|vm| {
            let spec = promises::spec(scenario, recording, vm);
            VmFacts {
                hard: spec.hard_affinity,
                cap: spec.cap_percent,
            }
        });
        let (costs, faults) = (&scenario.costs, &scenario.faults);
        let steal = scenario.steal.map_or(0, |steal| steal.length_ns);
        let late = if faults.late_percent > 0 {
            faults.late_by_ns
        } else {
            0
        };
        let disturbed = scenario.steal.is_some()
            || [
                faults.late_percent,
                faults.lost_percent,
                faults.never_halt_percent,
            ] != [0; 3]
            || faults.offline_every_ns.is_some();
        Self {
            vms: vms.collect(),
            switch_ns: costs.actuation_ns
                + costs.jitter_ns
                + costs.switch_ns
                + OVERHEAD_NS * Nanos::from(recording.cpus),
            late_ns: late + steal * STEAL_LENGTHS,
            disturbed,
            reigns: promises::over(scenario, policy, recording),
        }
    }
}
