//! What this user may ask of the host's scheduler.

use serde::Serialize;

use super::answers::PriorityLimits;
use super::cgroups;
use super::fact::{Area, Fact};
use super::files::HostFiles;
use super::identity::Identity;

/// What this user may ask of the host's scheduler, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct SchedulingReport {
    /// The highest real-time priority allowed; 0 for none.
    pub rt_priority_max: u64,
    /// The lowest (most favourable) nice value allowed.
    pub nice_min: i64,
    /// Microseconds of every period that real-time threads may run; -1 for no limit. The smaller of
    /// the host's and, with version 1 control groups, the own group's.
    pub rt_runtime_us: Option<i64>,
    /// Length of that period in microseconds.
    pub rt_period_us: Option<i64>,
    /// The kernel gives every session its own share of the processors, so nice values mean nothing
    /// between sessions.
    pub autogroup: bool,
}

impl SchedulingReport {
    pub(super) fn new(files: &HostFiles, limits: PriorityLimits) -> Self {
        let (rt_priority_max, nice_min) = if Identity::read(files).may_raise_priority() {
            (99, -20)
        } else {
            // The limit counts from 20 down, and nobody needs leave for nice 0.
            let nice_limit = i64::try_from(limits.nice).unwrap_or(40).min(40);
            (limits.real_time.min(99), (20 - nice_limit).min(0))
        };
        let autogroup = files.number("/proc/sys/kernel/sched_autogroup_enabled") == Some(1);
        Self {
            rt_priority_max,
            nice_min,
            rt_runtime_us: rt_runtime_us(files),
            rt_period_us: files.number("/proc/sys/kernel/sched_rt_period_us"),
            // Processes that have a control group for processor time are not grouped by session.
            autogroup: autogroup && !cgroups::has_cpu_group(files),
        }
    }
}

/// The real-time budget that applies to this process.
fn rt_runtime_us(files: &HostFiles) -> Option<i64> {
    let host = files.number("/proc/sys/kernel/sched_rt_runtime_us")?;
    let group = cgroups::own_cpu_directory_v1(files)
        .and_then(|group| files.number(&format!("{group}/cpu.rt_runtime_us")));
    Some(match group {
        Some(group) if host == -1 || group < host => group,
        _ => host,
    })
}

pub(super) fn facts(report: &SchedulingReport) -> Vec<Fact> {
    vec![
        real_time(report),
        budget(report),
        nice(report),
        autogroup(report),
    ]
}

fn ok(id: &'static str, summary: impl Into<String>) -> Fact {
    Fact::ok(Area::Scheduling, id, summary)
}

fn warning(id: &'static str, summary: &str, advice: impl Into<String>) -> Fact {
    Fact::warning(Area::Scheduling, id, summary, advice)
}

/// The command that raises a limit of the user's next login.
fn raise_limit(item: &str, value: i64) -> String {
    format!(
        "`echo \"$USER - {item} {value}\" | sudo tee -a /etc/security/limits.d/muster.conf`, \
         then log in again"
    )
}

fn real_time(report: &SchedulingReport) -> Fact {
    const ID: &str = "real-time";
    match report.rt_priority_max {
        0 => warning(
            ID,
            "forbidden: vCPUs cannot preempt the host's other threads",
            raise_limit("rtprio", 10),
        ),
        priority => ok(ID, format!("allowed up to priority {priority}")),
    }
}

fn budget(report: &SchedulingReport) -> Fact {
    const ID: &str = "real-time-budget";
    match (report.rt_runtime_us, report.rt_period_us) {
        (Some(0), _) => warning(
            ID,
            "none: real-time threads are refused",
            "`sudo sysctl kernel.sched_rt_runtime_us=950000`; with control groups of version 1 \
             also set cpu.rt_runtime_us of your group",
        ),
        (Some(runtime), Some(period)) if (0..period).contains(&runtime) => {
            ok(ID, format!("{runtime} of every {period} us"))
        }
        (Some(_), _) => ok(ID, "no limit"),
        (None, _) => ok(ID, "not told by this kernel"),
    }
}

fn nice(report: &SchedulingReport) -> Fact {
    const ID: &str = "nice";
    match report.nice_min {
        0.. => warning(
            ID,
            "no better than 0: a guest cannot be favoured over other processes",
            raise_limit("nice", -10),
        ),
        nice => ok(ID, format!("allowed down to {nice}")),
    }
}

fn autogroup(report: &SchedulingReport) -> Fact {
    const ID: &str = "autogroup";
    if report.autogroup {
        return warning(
            ID,
            "on: nice values do not count between guests of different terminals",
            "`sudo sysctl kernel.sched_autogroup_enabled=0`",
        );
    }
    ok(ID, "off, or not for this process")
}
