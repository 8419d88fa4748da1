//! What came of an experiment.

use serde::Serialize;

use crate::machine::Machine;
use crate::replay::Replay;
use crate::round::Round;
use crate::run::{Measured, Options, Picture};
use crate::spec::{Bound, Experiment, Goal};
use crate::statistics::{Summary, ratio};

/// The form of the data that is written: 1. Fields may be added to it.
pub const SCHEMA: u32 = 1;

/// All that a report is made from.
#[derive(Debug)]
pub struct Results {
    /// What was asked.
    pub experiment: Experiment,
    /// How.
    pub options: Options,
    /// Where.
    pub machine: Machine,
    /// All rounds.
    pub rounds: Vec<Round>,
    /// Per row: who was on which CPU.
    pub pictures: Vec<Option<Picture>>,
    /// One per row of the experiment.
    pub rows: Vec<RowResult>,
    /// One per goal of the experiment.
    pub verdicts: Vec<Verdict>,
    /// What the simulator says.
    pub replay: Replay,
}

/// What all rounds of a row say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowResult {
    /// The row's label.
    pub row: String,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds that were discarded for their steal.
    pub discarded: usize,
    /// One per metric.
    pub values: Vec<Option<Summary>>,
    /// CPU time of programs that are not part of the experiment, in percent of all CPUs, in the
    /// middle of all rounds.
    pub foreign_percent: f64,
    /// The same of what is below the host.
    pub steal_percent: f64,
    /// What the node manager did, in the middle of all rounds.
    pub manager: ManagerResult,
}

/// Medians over a row's rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ManagerResult {
    /// CPU time of the node manager in percent of a CPU.
    pub cpu_percent: f64,
    /// Switches in a second.
    pub switches_per_second: f64,
    /// From the time for which a switch was planned until it was done, in microseconds.
    pub switch_p50_us: f64,
    /// The same, 99th percentile.
    pub switch_p99_us: f64,
    /// How far apart CPUs of a row switched, in microseconds.
    pub row_skew_p50_us: f64,
    /// The same, 99th percentile.
    pub row_skew_p99_us: f64,
    /// vCPUs that did not stop in time, in all rounds.
    pub late_stops: u64,
    /// Plans that broke a rule, in all rounds.
    pub illegal_plans: u64,
}

/// Whether a goal is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The goal in words.
    pub goal: String,
    /// What came of it; `None` if there is nothing to judge by.
    pub value: Option<f64>,
    /// Whether that is as it should be.
    pub is_met: bool,
    /// By how many percent of the bound it was missed.
    pub missed_by_percent: Option<f64>,
}

impl Results {
    /// Puts everything together.
    pub fn new(
        experiment: Experiment,
        options: Options,
        machine: Machine,
        measured: Measured,
        replay: Replay,
    ) -> Self {
        let rows = experiment.rows.iter();
        let rows: Vec<RowResult> = rows
            .map(|row| row_result(&row.label, experiment.metrics.len(), &measured.rounds))
            .collect();
        let goals = experiment.goals.iter();
        let verdicts = goals.map(|goal| judge(&experiment, goal, &rows)).collect();
        Self {
            experiment,
            options,
            machine,
            rounds: measured.rounds,
            pictures: measured.pictures,
            rows,
            verdicts,
            replay,
        }
    }

    /// A row's median over another's.
    pub fn ratio(&self, metric: usize, row: usize, over: usize) -> Option<f64> {
        ratio_of(&self.rows, metric, row, over)
    }

    /// What other programs took, in the middle of all rounds that count.
    pub fn foreign_percent(&self) -> f64 {
        let rounds = self.rounds.iter().filter(|round| round.counts);
        let summary = Summary::of(rounds.map(|round| round.foreign_percent));
        summary.map_or(0.0, |summary| summary.median)
    }

    /// How many rounds were discarded.
    pub fn discarded(&self) -> usize {
        self.rows.iter().map(|row| row.discarded).sum()
    }
}

/// The medians of what was measured so far, one per row: what a replay is compared with.
pub fn medians(experiment: &Experiment, rounds: &[Round]) -> Vec<Vec<Option<f64>>> {
    let rows = experiment.rows.iter();
    let rows = rows.map(|row| row_result(&row.label, experiment.metrics.len(), rounds));
    let median = |summary: Option<Summary>| summary.map(|summary| summary.median);
    rows.map(|row| row.values.into_iter().map(median).collect())
        .collect()
}

fn row_result(label: &str, metrics: usize, rounds: &[Round]) -> RowResult {
    let of_row: Vec<&Round> = rounds.iter().filter(|round| round.row == label).collect();
    let counting: Vec<&Round> = of_row
        .iter()
        .copied()
        .filter(|round| round.counts)
        .collect();
    let values = (0..metrics).map(|metric| {
        let values = counting.iter().filter_map(|round| round.values[metric]);
        Summary::of(values)
    });
    let median = |value: fn(&Round) -> f64| {
        let values = counting.iter().map(|round| value(round));
        Summary::of(values).map_or(0.0, |summary| summary.median)
    };
    let manager = ManagerResult {
        cpu_percent: median(|round| round.manager.cpu_percent),
        switches_per_second: median(|round| {
            round.manager.switches as f64 * 1e9 / round.length_ns as f64
        }),
        switch_p50_us: median(|round| round.manager.switch_p50_ns as f64 / 1e3),
        switch_p99_us: median(|round| round.manager.switch_p99_ns as f64 / 1e3),
        row_skew_p50_us: median(|round| round.manager.row_skew_p50_ns as f64 / 1e3),
        row_skew_p99_us: median(|round| round.manager.row_skew_p99_ns as f64 / 1e3),
        late_stops: counting.iter().map(|round| round.manager.late_stops).sum(),
        illegal_plans: counting
            .iter()
            .map(|round| round.manager.illegal_plans)
            .sum(),
    };
    RowResult {
        row: label.to_owned(),
        rounds: counting.len(),
        discarded: of_row.len() - counting.len(),
        values: values.collect(),
        foreign_percent: median(|round| round.foreign_percent),
        steal_percent: median(|round| round.steal_percent),
        manager,
    }
}

fn ratio_of(rows: &[RowResult], metric: usize, row: usize, over: usize) -> Option<f64> {
    ratio(
        rows[row].values[metric]?.median,
        rows[over].values[metric]?.median,
    )
}

fn judge(experiment: &Experiment, goal: &Goal, rows: &[RowResult]) -> Verdict {
    let (metric, row) = (&experiment.metrics[goal.metric], &experiment.rows[goal.row]);
    let (value, unit) = match goal.against {
        Some(against) => {
            let over = &experiment.rows[against].label;
            let value = ratio_of(rows, goal.metric, goal.row, against);
            (value, format!(" times {over}"))
        }
        None => {
            let value = rows[goal.row].values[goal.metric];
            let value = value.map(|summary| summary.median);
            (value, format!(" {}", metric.unit))
        }
    };
    let is_met = value.is_some_and(|value| goal.bound.holds(value));
    Verdict {
        goal: format!("{} with {}: {}{unit}", metric.name, row.label, goal.bound),
        value,
        is_met,
        missed_by_percent: missed_by(goal.bound, value).filter(|_| !is_met),
    }
}

fn missed_by(bound: Bound, value: Option<f64>) -> Option<f64> {
    let part = ratio(value?, bound.value())?;
    Some(100.0 * (part - 1.0).abs())
}

#[cfg(test)]
pub(crate) mod tests;
