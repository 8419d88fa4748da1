//! The VMs of a scenario.

use crate::sim::fields::Fields;
use crate::sim::scenario_error::ScenarioError;
use crate::vm::{VCPUS_MAX, WEIGHT_DEFAULT, WEIGHT_MAX};
use crate::{MS, Nanos, Topology, VmSpec};

use super::{Workload, read_affinity};

/// VMs that are alike: `[[vm]]`.
#[derive(Debug, Clone)]
pub struct VmGroup {
    /// What the scheduler is told: `name` (default vm), `vcpus` (default 1), `weight` (default 256),
    /// `cap` (in percent of a CPU; default none), `hard-affinity` and `soft-affinity` (such as
    /// `"0-3,8"`; default all CPUs).
    pub spec: VmSpec,
    /// How many; default 1. With arrivals: how many at most, and by default without end.
    pub count: u32,
    /// When they arrive, or arrivals begin: `arrive`; default 0s.
    pub arrive_ns: Nanos,
    /// When they leave: `leave`; default never.
    pub leave_ns: Option<Nanos>,
    /// Computing per vCPU after which a VM leaves, counted over all its vCPUs together: `work`;
    /// default none.
    pub work_ns: Option<Nanos>,
    /// What policies for batch work are told of its length: `run-time`.
    pub run_time: RunTime,
    /// `[vm.arrivals]`: they arrive one after the other at random; default all at once.
    pub arrivals: Option<Arrivals>,
    /// `[vm.workload]`; default compute.
    pub workload: Workload,
    /// How many of the vCPUs take part in it, from the first; the others stay halted. Default all.
    pub active: u32,
    /// What each vCPU wants to find in its CPU's caches: `working-set`, in bytes; default none.
    pub working_set_bytes: u64,
    /// Whether it listens when told how many CPUs it should use: it suspends vCPUs at safe points.
    /// Default false; only for compute, lock, barrier and io.
    pub cooperative: bool,
}

/// What policies are told of how long a VM will run: `run-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunTime {
    /// Nothing; the default.
    Unknown,
    /// `"known"`: as long as its work takes.
    Work,
    /// A time: just this.
    Told(Nanos),
}

/// VMs that arrive at random, one after the other: `[vm.arrivals]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    /// Mean time between two, exponential: `every`; default 100ms.
    pub every_ns: Nanos,
    /// How many vCPUs each has, up to `vcpus`: `sizes`; default fixed.
    pub sizes: Sizes,
    /// Whether the work of each is drawn too, exponential around `work`: `vary-work`; default false.
    pub vary_work: bool,
}

/// How many vCPUs arriving VMs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// `fixed`: all as many as `vcpus` says.
    Fixed,
    /// `uniform`: each number is as likely.
    Uniform,
    /// `harmonic`: n with a chance like 1/n.
    Harmonic,
    /// `powers`: each power of two is as likely.
    Powers,
}

impl VmGroup {
    /// VMs with these vCPUs that compute, from the beginning to the end.
    pub fn new(spec: VmSpec, count: u32, workload: Workload) -> Self {
        Self {
            count,
            arrive_ns: 0,
            leave_ns: None,
            work_ns: None,
            run_time: RunTime::Unknown,
            arrivals: None,
            workload,
            active: spec.vcpus,
            working_set_bytes: 0,
            cooperative: false,
            spec,
        }
    }

    pub(super) fn read(mut fields: Fields, topology: &Topology) -> Result<Self, ScenarioError> {
        let name = fields.label("name")?.unwrap_or_else(|| "vm".to_owned());
        let vcpus = fields.count("vcpus", 1..=VCPUS_MAX, 1)?;
        let cap = fields.number("cap", 1..=100 * u64::from(VCPUS_MAX))?;
        let spec = VmSpec {
            weight: fields.count("weight", 1..=WEIGHT_MAX, WEIGHT_DEFAULT)?,
            cap_percent: cap.map(|cap| cap as u32),
            hard_affinity: read_affinity(&mut fields, "hard-affinity", topology)?,
            soft_affinity: read_affinity(&mut fields, "soft-affinity", topology)?,
            ..VmSpec::new(name, vcpus)
        };
        let count = fields.number("count", 1..=1_000_000)?;
        let arrive_ns = fields.time_or("arrive", 0)?;
        let leave_ns = fields.time("leave")?;
        if leave_ns.is_some_and(|leave| leave <= arrive_ns) {
            return Err(fields.bad("leave", "a time", "a later one than arrive"));
        }
        let work_ns = fields.time("work")?;
        if work_ns == Some(0) {
            return Err(fields.bad("work", "\"0ns\"", "more than zero"));
        }
        let run_time = read_run_time(&mut fields, work_ns)?;
        let arrivals = fields.optional_table("arrivals")?;
        let arrivals = arrivals.map(Arrivals::read).transpose()?;
        let mut workload_fields = fields.table("workload")?;
        let workload = Workload::read(&mut workload_fields, vcpus, false)?;
        workload_fields.finish()?;
        let count = match (count, arrivals) {
            (Some(count), _) => count as u32,
            (None, Some(_)) => u32::MAX,
            (None, None) => 1,
        };
        let active = fields.count("active", 1..=vcpus, vcpus)?;
        let cooperative = fields.flag("cooperative")?;
        if cooperative && !workload.can_shrink() {
            let expected =
                "false: only compute, lock, barrier and io can be told to use fewer CPUs";
            return Err(fields.bad("cooperative", true, expected));
        }
        check_sizes(&fields, arrivals, &workload, active < vcpus)?;
        let group = Self {
            arrive_ns,
            leave_ns,
            work_ns,
            run_time,
            arrivals,
            active,
            working_set_bytes: fields.bytes("working-set")?,
            cooperative,
            ..Self::new(spec, count, workload)
        };
        let checked = group.spec.check(&topology.cpus());
        checked.map_err(|reason| ScenarioError::Vm {
            field: fields.name(&group.spec.name),
            reason,
        })?;
        fields.finish().map(|()| group)
    }
}

/// Sizes that are drawn must suit the workload.
fn check_sizes(
    fields: &Fields,
    arrivals: Option<Arrivals>,
    workload: &Workload,
    partly_active: bool,
) -> Result<(), ScenarioError> {
    let drawn = arrivals.is_some_and(|arrivals| arrivals.sizes != Sizes::Fixed);
    if drawn && !workload.suits_any_width() {
        let expected = "sizes = \"fixed\": this workload needs pairs or siblings";
        return Err(fields.bad("arrivals.sizes", "drawn sizes", expected));
    }
    if partly_active && (drawn || !workload.suits_any_width()) {
        let expected = "all vCPUs: this workload, or VMs of drawn sizes, use every one";
        return Err(fields.bad("active", "fewer than vcpus", expected));
    }
    Ok(())
}

fn read_run_time(fields: &mut Fields, work_ns: Option<Nanos>) -> Result<RunTime, ScenarioError> {
    let expected = "a time such as \"2s\", or \"known\" for a VM with work";
    match fields.text("run-time")?.as_deref() {
        None => Ok(RunTime::Unknown),
        Some("known") if work_ns.is_some() => Ok(RunTime::Work),
        Some(text) => match crate::params::parse_duration(text) {
            Some(time) if time > 0 => Ok(RunTime::Told(time)),
            _ => Err(fields.bad("run-time", format!("{text:?}"), expected)),
        },
    }
}

impl Arrivals {
    fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let sizes = [
            ("fixed", Sizes::Fixed),
            ("uniform", Sizes::Uniform),
            ("harmonic", Sizes::Harmonic),
            ("powers", Sizes::Powers),
        ];
        let arrivals = Self {
            every_ns: fields.positive_time("every", 100 * MS)?,
            sizes: fields.choice("sizes", &sizes)?,
            vary_work: fields.flag("vary-work")?,
        };
        fields.finish().map(|()| arrivals)
    }
}
