//! The tables of a report.

use muster_scheduler::sim::table::Table;

use crate::figures::{figure, figure_or_dash, times};
use crate::results::Results;
use crate::spec::{ALONE, RowKind};

/// A metric: a line per row, with its ratio to each baseline and to the VM that was alone.
pub(super) fn metric(results: &Results, metric: usize) -> Table {
    let rows = &results.experiment.rows;
    let is_reference = |row: &usize| rows[*row].is_baseline || rows[*row].label == ALONE;
    let references: Vec<usize> = (0..rows.len()).filter(is_reference).collect();
    let mut heads = ["schedule", "rounds", "median", "min", "p5", "p95"]
        .map(str::to_owned)
        .to_vec();
    heads.extend(
        references
            .iter()
            .map(|&row| format!("over {}", rows[row].label)),
    );
    let mut table = Table::new(heads);
    for (row, result) in results.rows.iter().enumerate() {
        let summary = result.values[metric];
        let part = |part: fn(&crate::statistics::Summary) -> f64| {
            figure_or_dash(summary.as_ref().map(part))
        };
        let mut cells = vec![
            name(results, row),
            result.rounds.to_string(),
            part(|summary| summary.median),
            part(|summary| summary.min),
            part(|summary| summary.p5),
            part(|summary| summary.p95),
        ];
        let ratios = references.iter().map(|&over| match over == row {
            true => String::new(),
            false => times(results.ratio(metric, row, over)),
        });
        cells.extend(ratios);
        table.row(cells);
    }
    table
}

/// A row by its label, and what is special about it.
fn name(results: &Results, row: usize) -> String {
    let experiment = &results.experiment;
    let row = &experiment.rows[row];
    match &row.kind {
        RowKind::Alone(vm) => format!("{} ({})", row.label, experiment.vms[*vm].name),
        RowKind::Swap { between, every_ns } => {
            let names: Vec<String> = between.iter().map(ToString::to_string).collect();
            let time = muster_scheduler::params::format_duration(*every_ns);
            format!("{} ({} every {time})", row.label, names.join(", "))
        }
        RowKind::Schedule(_) => row.label.clone(),
    }
}

/// The goals.
pub(super) fn goals(results: &Results) -> Table {
    let mut table = Table::new(["goal", "measured", "verdict"]);
    for verdict in &results.verdicts {
        let word = match (verdict.is_met, verdict.missed_by_percent) {
            (true, _) => "met".to_owned(),
            (false, Some(missed)) => format!("missed by {} %", figure(missed)),
            (false, None) => "missed: nothing to compare".to_owned(),
        };
        table.row([verdict.goal.clone(), figure_or_dash(verdict.value), word]);
    }
    table
}

/// What the node manager did and cost, and what disturbed it.
pub(super) fn manager(results: &Results) -> Table {
    let mut table = Table::new([
        "schedule",
        "CPU %",
        "switches per s",
        "switch p50 us",
        "switch p99 us",
        "row skew p50 us",
        "row skew p99 us",
        "late stops",
        "illegal plans",
        "others %",
        "steal %",
    ]);
    for row in &results.rows {
        let manager = &row.manager;
        // Under the host's schedules nothing is switched, and the last policy's times stand there.
        let time = |time: f64| match manager.switches_per_second > 0.0 {
            true => figure(time),
            false => "-".to_owned(),
        };
        table.row([
            row.row.clone(),
            figure(manager.cpu_percent),
            figure(manager.switches_per_second),
            time(manager.switch_p50_us),
            time(manager.switch_p99_us),
            time(manager.row_skew_p50_us),
            time(manager.row_skew_p99_us),
            manager.late_stops.to_string(),
            manager.illegal_plans.to_string(),
            figure(row.foreign_percent),
            figure(row.steal_percent),
        ]);
    }
    table
}

/// Measured beside simulated.
pub(super) fn replay(results: &Results) -> Table {
    let mut table = Table::new(["metric and schedule", "measured", "simulated", "error %"]);
    for one in &results.replay.comparisons {
        let error = match one.is_reference {
            true => "(reference)".to_owned(),
            false => one
                .error_percent
                .map_or("-".to_owned(), |error| format!("{error:+.0}")),
        };
        table.row([
            format!("{}, {}", one.metric, one.row),
            figure(one.measured),
            figure(one.simulated),
            error,
        ]);
    }
    table
}
