//! One thing found out about a host.

use serde::Serialize;

/// How good a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Guests run, but something is missing, slow or forbidden.
    Warning,
    /// No guest runs until this is solved.
    Problem,
}

/// What a fact is about. Reports list facts in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// KVM itself.
    Kvm,
    /// Other kernel interfaces that guests' devices are made from.
    Devices,
    /// Priorities of vCPU threads.
    Scheduling,
    /// Control groups.
    Cgroups,
    /// Memory and huge pages.
    Memory,
    /// Kernel and processors.
    System,
}

/// One thing found out about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about, for programs and people alike: `kvm`, `real-time`. Never changes.
    pub id: &'static str,
    /// Where it belongs.
    pub area: Area,
    /// How good it is.
    pub status: Status,
    /// What was found, in one line.
    pub summary: String,
    /// What to do, in one line. Present exactly if the status is not [`Status::Ok`].
    pub advice: Option<String>,
}

impl Fact {
    pub(super) fn ok(area: Area, id: &'static str, summary: impl Into<String>) -> Self {
        Self {
            id,
            area,
            status: Status::Ok,
            summary: summary.into(),
            advice: None,
        }
    }

    pub(super) fn warning(
        area: Area,
        id: &'static str,
        summary: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Warning,
            advice: Some(advice.into()),
            ..Self::ok(area, id, summary)
        }
    }

    pub(super) fn problem(
        area: Area,
        id: &'static str,
        summary: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Problem,
            ..Self::warning(area, id, summary, advice)
        }
    }
}
