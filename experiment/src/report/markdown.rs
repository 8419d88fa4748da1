//! A report for other pages.

use std::fmt::Write as _;

use muster_scheduler::sim::table::Table;

use super::charts::Charts;
use super::{NamedDrawing, facts, sections};
use crate::results::Results;

pub(super) fn text(results: &Results, plots: &[NamedDrawing], charts: &Charts) -> String {
    let experiment = &results.experiment;
    let mut out = format!(
        "# {}\n\n{}\n\nMeasured with `muster experiment run`: {}.\n\nThe machine: {}.\n",
        experiment.name,
        experiment.about.trim(),
        facts(results),
        results.machine.summary()
    );
    for (heading, table) in sections(results) {
        let _ = writeln!(out, "\n## {}\n", plain(&heading));
        push_table(&mut out, &table);
    }
    if let Some(reason) = &results.replay.without {
        let _ = writeln!(out, "\nThere is no simulation: {}.", plain(reason));
    }
    out.push_str("\n## All rounds\n");
    for (name, drawing) in plots {
        let _ = writeln!(out, "\n![{}]({name})", plain(&drawing.title));
    }
    if !charts.lanes.is_empty() {
        out.push_str("\n## Who was on which CPU\n\nOne round of each policy, from its switches.\n");
        for (name, drawing) in &charts.lanes {
            let _ = writeln!(out, "\n![{}]({name})", plain(&drawing.title));
        }
    }
    out.push_str("\n[All data](data.json), [the page](report.html)");
    if charts.trace.is_some() {
        out.push_str(", [a trace](trace.json) for [Perfetto](https://ui.perfetto.dev)");
    }
    if results.replay.scenario.is_some() {
        out.push_str(", [the scenario](scenario.toml) for `muster sim sched`");
    }
    out.push_str(".\n");
    out
}

/// Text in which nothing has a meaning.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Names to the left, values to the right.
fn push_table(out: &mut String, table: &Table) {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| plain(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    out.push_str(&row(table.heads()));
    let columns = table.heads().len();
    let _ = writeln!(out, "|---{}|", "|--:".repeat(columns - 1));
    for cells in table.rows() {
        out.push_str(&row(cells));
    }
}
