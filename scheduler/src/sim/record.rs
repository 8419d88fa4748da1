//! What happened in a run.

use serde::Serialize;

use crate::{CpuId, Level, Nanos, RunTimes, Runstate};

/// What is to be kept of a run beside its totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Totals,
    /// Spans, up to [`SPANS_MAX`], and marks.
    Spans,
    /// The same, but only spans and runstates that can be seen between two times.
    Window {
        /// From when.
        from_ns: Nanos,
        /// Until when.
        to_ns: Nanos,
    },
}

impl Keep {
    /// The stretch of time of which anything is kept.
    fn window(self) -> Option<(Nanos, Nanos)> {
        match self {
            Self::Totals => None,
            Self::Spans => Some((0, Nanos::MAX)),
            Self::Window { from_ns, to_ns } => Some((from_ns, to_ns)),
        }
    }

    /// Whether more is kept than totals.
    pub(super) fn is_detailed(self) -> bool {
        self != Self::Totals
    }

    /// Whether anything between these times is kept.
    pub(super) fn overlaps(self, start: Nanos, end: Nanos) -> bool {
        self.window()
            .is_some_and(|(from, to)| start < to && end > from)
    }

    /// Whether this is before all that is kept.
    pub(super) fn is_before(self, time: Nanos) -> bool {
        self.window().is_some_and(|(from, _)| time < from)
    }
}

/// The most spans that are kept; of marks as many.
pub const SPANS_MAX: usize = 4_000_000;

/// A vCPU, by its VM's place in the recording and its number within the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VcpuRef {
    /// Index into [`Recording::vms`].
    pub vm: u32,
    /// The vCPU's number within its VM.
    pub index: u32,
}

/// What a CPU did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A vCPU got on with its work.
    Work,
    /// A vCPU spun for a lock, a barrier or a message.
    Spin,
    /// A vCPU waited for its caches to fill.
    Refill,
    /// The CPU was held for a halted vCPU.
    Held,
    /// Scheduling: the decision and the switch.
    Switch,
    /// The CPU was taken away by whatever is below the host.
    Stolen,
}

/// A stretch of time in which a CPU did one thing. A CPU without a span idles, with nobody to hold
/// it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Where.
    pub cpu: CpuId,
    /// For whom; `None`: for nobody.
    pub vcpu: Option<VcpuRef>,
    /// What.
    pub activity: Activity,
    /// How firmly the vCPU had the CPU; `None`: there is none.
    pub level: Option<Level>,
    /// From when.
    pub start_ns: Nanos,
    /// Until when.
    pub end_ns: Nanos,
}

/// The time that all CPUs together spent on what serves no vCPU's work. The rest of `cpus x duration`
/// is in the VMs' outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CpuTotals {
    /// Held for a halted vCPU.
    pub held_ns: Nanos,
    /// Scheduling.
    pub switch_ns: Nanos,
    /// Taken away by whatever is below the host.
    pub stolen_ns: Nanos,
    /// Holes: the part of idle and held time in which a vCPU was ready and had no CPU. At each
    /// moment as many CPUs count as there are ready vCPUs, at most.
    pub hole_ns: Nanos,
}

/// A vCPU's runstate has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunstateChange {
    /// When.
    pub at_ns: Nanos,
    /// Whose.
    pub vcpu: VcpuRef,
    /// To which; `None`: its VM has left.
    pub state: Option<Runstate>,
}

/// A CPU was given to another vCPU, whether that got there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnChange {
    /// When.
    pub at_ns: Nanos,
    /// Which.
    pub cpu: CpuId,
    /// Whose turn it is from now on.
    pub vcpu: Option<VcpuRef>,
}

/// Something that happened at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// A VM came.
    Arrive {
        /// Index into [`Recording::vms`].
        vm: u32,
    },
    /// A VM left.
    Leave {
        /// Index into [`Recording::vms`].
        vm: u32,
    },
    /// A vCPU was stopped while it held a lock.
    HolderPreempted(VcpuRef),
    /// A vCPU that was about to be stopped went on, since it held a lock.
    Grace {
        /// Who.
        vcpu: VcpuRef,
        /// For how long.
        used_ns: Nanos,
        /// Whose turn it was at its end; `None`: the CPU would have been idle.
        turn: Option<VcpuRef>,
    },
    /// A CPU was lent.
    Loan {
        /// The CPU.
        cpu: CpuId,
        /// Who got it; `None`: it was to idle.
        to: Option<VcpuRef>,
        /// Whose turn went on behind it.
        turn: Option<VcpuRef>,
        /// When it ends at the latest.
        until_ns: Nanos,
        /// Whether the borrower owes what it has of it.
        is_debt: bool,
    },
    /// A CPU is lent no more.
    LoanOver(CpuId),
    /// A vCPU was held back.
    CoStop(VcpuRef),
    /// A vCPU moved between CPUs.
    Migrate(VcpuRef, CpuId),
    /// Other gangs have the CPUs from now on.
    Slot {
        /// How many slots there were before.
        number: u64,
    },
    /// The policy was exchanged.
    PolicyChange,
    /// A CPU went away (`false`) or came back.
    Online(CpuId, bool),
}

/// A [`MarkKind`] and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When.
    pub at_ns: Nanos,
    /// What.
    pub kind: MarkKind,
}

/// What a VM got out of a run, warm-up not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmOutcome {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// When it arrived.
    pub arrived_ns: Nanos,
    /// When it left; `None`: it was there at the end.
    pub left_ns: Option<Nanos>,
    /// Operations of its workload that were completed: exchanges, barriers, critical sections,
    /// messages, timer periods, units of computing.
    pub ops: u64,
    /// Time spent on getting on with the work, over all vCPUs.
    pub work_ns: Nanos,
    /// Time spent spinning.
    pub spin_ns: Nanos,
    /// Time spent filling caches.
    pub refill_ns: Nanos,
    /// Each vCPU's time in each runstate, as the engine has accounted it.
    #[serde(skip)]
    pub times: Vec<RunTimes>,
    /// vCPUs stopped while they held a lock.
    pub holder_preemptions: u64,
    /// Moves between CPUs.
    pub migrations: u64,
    /// The largest lead of a vCPU over its slowest runnable sibling.
    pub skew_max_ns: Nanos,
    /// How often a vCPU was woken.
    pub wakes: u64,
    /// From waking to running, sorted: of all wakes, or a random choice where there are very many.
    #[serde(skip)]
    pub wake_latencies_ns: Vec<Nanos>,
}

/// Where a recording comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The simulator.
    Simulation,
    /// A real host's switches: only spans are known, and no seed makes it happen again.
    Host,
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// The scenario's name.
    pub scenario: String,
    /// The policy, as it was asked for.
    pub policy: String,
    /// Where this comes from.
    pub source: Source,
    /// The seed.
    pub seed: u64,
    /// How many CPUs the host has.
    pub cpus: u32,
    /// How long it ran before measuring began. Spans and marks cover this too, and all times count
    /// from its beginning; totals cover only what follows.
    pub warm_up_ns: Nanos,
    /// How long it was measured.
    pub duration_ns: Nanos,
    /// What the CPUs did beside the VMs' work.
    pub cpu_totals: CpuTotals,
    /// Every VM that was ever there, in order of arrival.
    pub vms: Vec<VmOutcome>,
    /// What every CPU did, by start, ties by CPU. Empty if spans were not asked for.
    pub spans: Vec<Span>,
    /// Spans that were not kept because there were too many.
    pub spans_lost: u64,
    /// What happened at moments, in order. Empty if spans were not asked for.
    pub marks: Vec<Mark>,
    /// Every vCPU's runstates, in order: from its arrival on, or from the last change before what was
    /// asked for. Empty if spans were not asked for.
    pub runstates: Vec<RunstateChange>,
    /// Every CPU's turns as the policy gave them, in order, as far as they lasted for any time. Empty
    /// if spans were not asked for.
    #[serde(skip)]
    pub turns: Vec<TurnChange>,
    /// How often the policy was asked.
    pub decisions: u64,
    /// Simulated events.
    pub events: u64,
    /// Covers every span, and every mark but those of loans and slots, in
    /// order, kept or not: equal hashes,
    /// equal runs.
    pub hash: u64,
}
