//! An experiment as people write it: one TOML file.
//!
//! Every time has its unit (`"20ms"`), a key that there is not is an error, and every number is bounded.

mod goal;
mod measure;
mod vm;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use muster_node::Schedule;
use muster_node::schedule::ScheduleError;
use muster_scheduler::sim::ScenarioError;
use muster_scheduler::sim::fields::Fields;
use muster_scheduler::{MS, Nanos, SECOND};
use thiserror::Error;

pub use goal::{Bound, Goal};
pub use measure::{Measure, Metric};
pub use vm::{Guest, VmSpec};

/// What the row is called in which one VM is alone.
pub const ALONE: &str = "alone";
/// What the row is called in which schedules are exchanged all the time.
pub const SWAP: &str = "swap";

/// The most of each.
const VMS_MAX: usize = 32;
const VCPUS_TOTAL_MAX: u32 = 256;
const ROWS_MAX: usize = 32;
const METRICS_MAX: usize = 8;
const GOALS_MAX: usize = 32;
const REPETITIONS_MAX: u32 = 1000;
const ROUND_MIN: Nanos = 10 * MS;
const ROUND_MAX: Nanos = 600 * SECOND;
const SETTLE_MAX: Nanos = 60 * SECOND;
const SWAP_MIN: Nanos = 10 * MS;

/// With what policies are compared unless the file says otherwise: the host's scheduler as it is, with
/// siblings kept apart, and with long slices.
const BASELINES: [&str; 3] = ["host", "host:pin", "host:slice=100ms"];

/// An experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its name; must be there.
    pub name: String,
    /// What it shows, and whose work it follows; must be there.
    pub about: String,
    /// What is compared, baselines first: `baselines`, `schedules`, `alone`, `[swap]`.
    pub rows: Vec<Row>,
    /// How long a row is measured: `round`, default 1s.
    pub round_ns: Nanos,
    /// How long a schedule runs before that: `settle`, default 300ms.
    pub settle_ns: Nanos,
    /// How often every row is measured: `repetitions`, default 10.
    pub repetitions: u32,
    /// `[[vm]]`: one at least.
    pub vms: Vec<VmSpec>,
    /// `[[metric]]`: one at least; the first is what the experiment is about.
    pub metrics: Vec<Metric>,
    /// `[[goal]]`.
    pub goals: Vec<Goal>,
}

/// What is measured in a round.
#[derive(Debug, Clone)]
pub struct Row {
    /// As the file has it.
    pub label: String,
    /// What it is.
    pub kind: RowKind,
    /// Others are compared with it.
    pub is_baseline: bool,
}

/// See [`Row`].
#[derive(Debug, Clone)]
pub enum RowKind {
    /// All VMs under this schedule.
    Schedule(Schedule),
    /// This VM, pinned, while the others are stopped: an index into [`Experiment::vms`].
    Alone(usize),
    /// All VMs, while schedules are exchanged.
    Swap {
        /// One after the other, then from the first again.
        between: Vec<Schedule>,
        /// After this time each.
        every_ns: Nanos,
    },
}

/// What is wrong with an experiment: one line. The caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct SpecError(#[from] ScenarioError);

/// A schedule, and how it was written.
struct Named(String, Schedule);

impl FromStr for Named {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        Ok(Self(text.trim().to_owned(), text.parse()?))
    }
}

impl Experiment {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Ok(read(text)?)
    }

    /// The row with this label.
    pub fn row(&self, label: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.label == label)
    }

    /// How long all rounds take if none has to be repeated.
    pub fn length_ns(&self, repetitions: u32) -> Nanos {
        let rounds = self.rows.len() as u64 * u64::from(repetitions);
        rounds.saturating_mul(self.round_ns + self.settle_ns)
    }
}

fn read(text: &str) -> Result<Experiment, ScenarioError> {
    let mut fields = Fields::parse(text)?;
    let name = fields.label("name")?;
    let name = fields.required("name", name, "a name")?;
    if !muster_vmm::node_link::is_name(&name) {
        let expected = "letters, digits, -, _ and .: files are called by it";
        return Err(fields.bad("name", format!("{name:?}"), expected));
    }
    let about = fields.text("about")?;
    let about = fields.required("about", about, "what it shows, and whose work it follows")?;
    let round_ns = bounded(&mut fields, "round", SECOND, ROUND_MIN, ROUND_MAX)?;
    let settle_ns = bounded(&mut fields, "settle", 300 * MS, 0, SETTLE_MAX)?;
    let repetitions = fields.count("repetitions", 1..=REPETITIONS_MAX, 10)?;
    let vms = vms(&mut fields)?;
    let rows = rows(&mut fields, &vms)?;
    let tables = tables(&mut fields, "metric", METRICS_MAX)?;
    if tables.is_empty() {
        return fields.required("metric", None, "one [[metric]] at least");
    }
    let mut metrics: Vec<Metric> = Vec::new();
    for table in tables {
        let metric = Metric::read(table, &vms, &metrics)?;
        metrics.push(metric);
    }
    let goals = tables_of_goals(&mut fields, &rows, &metrics)?;
    fields.finish()?;
    Ok(Experiment {
        name,
        about,
        rows,
        round_ns,
        settle_ns,
        repetitions,
        vms,
        metrics,
        goals,
    })
}

fn tables_of_goals(
    fields: &mut Fields,
    rows: &[Row],
    metrics: &[Metric],
) -> Result<Vec<Goal>, ScenarioError> {
    let tables = tables(fields, "goal", GOALS_MAX)?.into_iter();
    tables
        .map(|table| Goal::read(table, rows, metrics))
        .collect()
}

/// A time within bounds.
fn bounded(
    fields: &mut Fields,
    key: &'static str,
    default: Nanos,
    min: Nanos,
    max: Nanos,
) -> Result<Nanos, ScenarioError> {
    let time = fields.time_or(key, default)?;
    if (min..=max).contains(&time) {
        return Ok(time);
    }
    let text = muster_scheduler::params::format_duration;
    let expected = format!("a time from {} to {}", text(min), text(max));
    Err(fields.bad(key, format!("{:?}", text(time)), expected))
}

/// Not too many tables.
fn tables(
    fields: &mut Fields,
    key: &'static str,
    max: usize,
) -> Result<Vec<Fields>, ScenarioError> {
    let tables = fields.tables(key)?;
    if tables.len() > max {
        let expected = format!("at most {max} tables [[{key}]]");
        return Err(fields.bad(key, tables.len(), expected));
    }
    Ok(tables)
}

fn vms(fields: &mut Fields) -> Result<Vec<VmSpec>, ScenarioError> {
    let tables = tables(fields, "vm", VMS_MAX)?;
    if tables.is_empty() {
        return fields.required("vm", None, "one [[vm]] at least");
    }
    let mut vms: Vec<VmSpec> = Vec::new();
    for table in tables {
        let vm = VmSpec::read(table, &vms)?;
        vms.push(vm);
    }
    let total: u32 = vms.iter().map(|vm| vm.vcpus).sum();
    if total > VCPUS_TOTAL_MAX {
        let expected = format!("at most {VCPUS_TOTAL_MAX} vCPUs in all VMs");
        return Err(fields.bad("vm", total, expected));
    }
    Ok(vms)
}

/// Baselines, schedules, and the two special rows.
fn rows(fields: &mut Fields, vms: &[VmSpec]) -> Result<Vec<Row>, ScenarioError> {
    let mut baselines: Vec<Named> = fields.parsed_list("baselines")?;
    if baselines.is_empty() {
        let default = BASELINES.map(|text| text.parse().expect("baselines are schedules"));
        baselines = default.into();
    }
    let schedules: Vec<Named> = fields.parsed_list("schedules")?;
    let as_row = |is_baseline| {
        move |Named(label, schedule): Named| Row {
            label,
            kind: RowKind::Schedule(schedule),
            is_baseline,
        }
    };
    let baselines = baselines.into_iter().map(as_row(true));
    let mut rows: Vec<Row> = baselines
        .chain(schedules.into_iter().map(as_row(false)))
        .collect();
    let special = |label: &str, kind| Row {
        label: label.to_owned(),
        kind,
        is_baseline: false,
    };
    if let Some(name) = fields.text("alone")? {
        let vm = find_vm(fields, "alone", vms, &name)?;
        rows.push(special(ALONE, RowKind::Alone(vm)));
    }
    if let Some(mut swap) = fields.optional_table("swap")? {
        let every_ns = bounded(&mut swap, "every", 100 * MS, SWAP_MIN, ROUND_MAX)?;
        let between: Vec<Named> = swap.parsed_list("between")?;
        if !(2..=ROWS_MAX).contains(&between.len()) {
            let expected = format!("2 to {ROWS_MAX} schedules");
            return Err(swap.bad("between", between.len(), expected));
        }
        let between = between.into_iter().map(|Named(_, schedule)| schedule);
        let between = between.collect();
        swap.finish()?;
        rows.push(special(SWAP, RowKind::Swap { between, every_ns }));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = rows.iter().find(|row| !seen.insert(&row.label)) {
        let label = format!("{:?}", twice.label);
        return Err(fields.bad("schedules", label, "every schedule only once"));
    }
    if rows.len() > ROWS_MAX {
        let expected = format!("at most {ROWS_MAX} rows");
        return Err(fields.bad("schedules", rows.len(), expected));
    }
    Ok(rows)
}

/// The VM of this name.
fn find_vm(fields: &Fields, key: &str, vms: &[VmSpec], name: &str) -> Result<usize, ScenarioError> {
    let found = vms.iter().position(|vm| vm.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
        let expected = format!("one of {}", names.join(", "));
        fields.bad(key, format!("{name:?}"), expected)
    })
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

#[cfg(test)]
mod tests;
