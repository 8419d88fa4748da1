//! What the node manager tells of the host and its VMs.
//!
//! Times are in nanoseconds and add up since a VM joined; whoever wants rates takes two snapshots.

use muster_guest_page::{CLASSES, COUNTERS};
use muster_scheduler::{Nanos, Runstate};
use serde::{Deserialize, Serialize};

/// The whole host at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When: since the node manager started.
    pub at_ns: Nanos,
    /// What schedules the vCPUs.
    pub schedule: String,
    /// How it is enforced: `gate`, or `affinity` where this user may not do more.
    pub enforcement: String,
    /// The policy's tables, for people; may be empty.
    pub policy_state: String,
    /// The CPUs that VMs are scheduled on.
    pub cpus: Vec<CpuSnapshot>,
    /// The VMs, in the order in which they came.
    pub vms: Vec<VmSnapshot>,
    /// What the node manager itself does and costs.
    pub manager: ManagerSnapshot,
}

/// A host CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuSnapshot {
    /// Its number on the host.
    pub cpu: u16,
    /// Which vCPU has it: `web/1`.
    pub vcpu: Option<String>,
    /// Time that the host itself was not given by what is below it (`/proc/stat`).
    pub stolen_ns: Nanos,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmSnapshot {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// When it joined.
    pub joined_ns: Nanos,
    /// Its share beside others.
    pub weight: u32,
    /// The most CPU time that it may use, in percent of one CPU.
    pub cap_percent: Option<u32>,
    /// How it is known what its vCPUs hold.
    pub locks: Locks,
    /// Its load, as a balancer reads it.
    pub load: LoadSnapshot,
    /// Its vCPUs, in order.
    pub vcpus: Vec<VcpuSnapshot>,
}

/// How it is known which vCPUs of a VM hold spin locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locks {
    /// Not at all: the guest says nothing, and is no Linux.
    Untold,
    /// The guest says so in the guest page.
    Page,
    /// Linux has not come up yet.
    Awaited,
    /// From Linux's preempt counts.
    Linux,
    /// Not at all, although it is Linux; and why.
    Unseen(String),
}

/// How much a VM asks for and gets, averaged over the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadSnapshot {
    /// vCPUs that want to run.
    pub runnable: f64,
    /// CPUs that it would use were it alone.
    pub demand_cpus: f64,
    /// CPUs that it gets.
    pub delivered_cpus: f64,
    /// The part of the time that its vCPUs want to run in which they wait (0 to 1).
    pub steal_share: f64,
}

/// A vCPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuSnapshot {
    /// What it does at this moment.
    pub state: VcpuState,
    /// Its CPU, if it has one.
    pub cpu: Option<u16>,
    /// The CPUs that it may use, as a list like `0-3,8`.
    pub allowed: String,
    /// On a CPU, by the kernel's account.
    pub run_ns: Nanos,
    /// It wanted to run and waited: at its gate, or for the kernel.
    pub ready_ns: Nanos,
    /// Its policy held it back for its siblings' sake.
    pub co_stop_ns: Nanos,
    /// The rest: it had nothing to do.
    pub halted_ns: Nanos,
    /// How often it was stopped while it held a lock, and how often it could have been.
    pub holder_preemptions: u64,
    /// How often it was stopped.
    pub preemptions: u64,
    /// What its guest counts (see the guest page).
    pub counters: [u64; COUNTERS],
    /// What its guest counts by length of time.
    #[serde(with = "classes")]
    pub histogram: [u64; CLASSES],
}

/// What a vCPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VcpuState {
    /// It is on a CPU.
    Running,
    /// It waits for one.
    Ready,
    /// It is held back.
    CoStopped,
    /// It has nothing to do.
    Halted,
}

impl From<Runstate> for VcpuState {
    fn from(state: Runstate) -> Self {
        match state {
            Runstate::Running => Self::Running,
            Runstate::Ready => Self::Ready,
            Runstate::CoStopped => Self::CoStopped,
            Runstate::Halted => Self::Halted,
        }
    }
}

/// What the node manager does and costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerSnapshot {
    /// CPU time of all its threads.
    pub cpu_ns: Nanos,
    /// Decisions of the policy.
    pub decisions: u64,
    /// Switches carried out.
    pub switches: u64,
    /// How long a switch takes, from the time for which it was planned until the next vCPU's gate is
    /// open: median and 99th percentile of the last thousand.
    pub switch_p50_ns: Nanos,
    /// See above.
    pub switch_p99_ns: Nanos,
    /// How far apart the CPUs of one row switch: median and 99th percentile of the last thousand.
    pub row_skew_p50_ns: Nanos,
    /// See above.
    pub row_skew_p99_ns: Nanos,
    /// vCPUs that did not stop in time.
    pub late_stops: u64,
    /// Plans of the policy that broke a rule.
    pub illegal_plans: u64,
}

/// A decision, for `muster sched why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at_ns: Nanos,
    /// Where.
    pub cpu: u16,
    /// Who had the CPU: `web/1`.
    pub from: Option<String>,
    /// Who got it.
    pub to: Option<String>,
    /// The policy's reason.
    pub reason: String,
}

/// A switch as it happened, for traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRecord {
    /// For when it was planned.
    pub planned_ns: Nanos,
    /// When it was done.
    pub done_ns: Nanos,
    /// Where.
    pub cpu: u16,
    /// Who has the CPU from then on: `web/1`.
    pub vcpu: Option<String>,
    /// How firmly: `slot`, `fair`, ...
    pub level: Option<String>,
}

/// serde knows arrays of up to 32 numbers only.
mod classes {
    use super::CLASSES;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        numbers: &[u64; CLASSES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        numbers.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u64; CLASSES], D::Error> {
        let numbers = Vec::<u64>::deserialize(deserializer)?;
        let length = numbers.len();
        let wrong = |_| D::Error::custom(format!("{length} classes instead of {CLASSES}"));
        numbers.try_into().map_err(wrong)
    }
}
