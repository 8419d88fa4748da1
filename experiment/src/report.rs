//! What is written of an experiment: for people a page, for other pages Markdown and charts, for programs
//! all rounds as JSON.

mod charts;
mod data;
mod markdown;
mod page;
mod plot;
mod tables;

use muster_scheduler::sim::svg::Drawing;
use muster_scheduler::sim::table::Table;
use thiserror::Error;

use crate::figures::figure;
use crate::results::Results;

/// With more of the CPUs' time, other programs are mentioned.
const FOREIGN_MAX: f64 = 2.0;

/// A file of a report: its name within the report's directory, and all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Letters, digits, `-` and `.`.
    pub name: String,
    /// What is in it.
    pub content: String,
}

/// A report cannot be made: a mistake of muster's.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The data.
    #[error("cannot write the data as JSON")]
    Json(#[from] serde_json::Error),
}

/// Everything, the report itself last.
pub fn files(results: &Results) -> Result<Vec<File>, ReportError> {
    let plots = plot::plots(results);
    let charts = charts::charts(results);
    let mut files = Vec::new();
    let mut add = |name: &str, content: String| {
        files.push(File {
            name: name.to_owned(),
            content,
        });
    };
    for (name, drawing) in plots.iter().chain(&charts.lanes) {
        add(name, drawing.element());
    }
    if let Some(trace) = &charts.trace {
        add("trace.json", trace.clone());
    }
    if let Some(scenario) = &results.replay.scenario {
        add("scenario.toml", scenario.clone());
    }
    add("data.json", data::json(results)?);
    add("report.html", page::page(results, &plots, &charts.lanes));
    add("report.md", markdown::text(results, &plots, &charts));
    Ok(files)
}

/// The report for a terminal of `width` columns: tables and goals.
pub fn text(results: &Results, width: usize) -> String {
    let mut out = format!("{}\n", facts(results));
    for (heading, table) in sections(results) {
        out.push_str(&format!("\n{heading}\n\n{}", table.text(width)));
    }
    out
}

/// A drawing and the name of its file.
type NamedDrawing = (String, Drawing);

/// What was measured, in one line.
fn facts(results: &Results) -> String {
    let discarded = match results.discarded() {
        0 => "no round discarded".to_owned(),
        1 => "1 round discarded and repeated".to_owned(),
        count => format!("{count} rounds discarded and repeated"),
    };
    let foreign = results.foreign_percent();
    let others = if foreign > FOREIGN_MAX {
        let foreign = figure(foreign);
        format!("; other programs took {foreign} % of all CPUs meanwhile, so compare with care")
    } else {
        String::new()
    };
    let experiment = &results.experiment;
    let time = muster_scheduler::params::format_duration;
    format!(
        "{}: {} repetitions in random order (seed {}), rounds of {} after {}; {discarded} for more than \
         {} % steal{others}",
        experiment.name,
        results.options.repetitions,
        results.options.seed,
        time(experiment.round_ns),
        time(experiment.settle_ns),
        results.options.steal_limit_percent
    )
}

/// All tables with their headings.
fn sections(results: &Results) -> Vec<(String, Table)> {
    let mut sections = Vec::new();
    for (index, metric) in results.experiment.metrics.iter().enumerate() {
        let better = if metric.measure.more_is_better() {
            "more"
        } else {
            "less"
        };
        let heading = format!("{} ({}, {better} is better)", metric.name, metric.unit);
        sections.push((heading, tables::metric(results, index)));
    }
    if !results.verdicts.is_empty() {
        sections.push(("Goals".to_owned(), tables::goals(results)));
    }
    let heading = "What scheduling cost, and what disturbed it".to_owned();
    sections.push((heading, tables::manager(results)));
    if let Some(reference) = &results.replay.reference {
        let heading =
            format!("Measured and simulated (rates agree by construction with {reference})");
        sections.push((heading, tables::replay(results)));
    }
    sections
}

/// A label as a part of a file's name.
fn file_part(label: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    label.chars().map(plain).collect()
}

#[cfg(test)]
mod tests;
