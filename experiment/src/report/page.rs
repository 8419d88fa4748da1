//! A report as one page that needs nothing else: no script, no font, no network.

use std::fmt::Write as _;

use muster_scheduler::sim::html::{STYLE, table};
use muster_scheduler::sim::svg::escape;

use super::{NamedDrawing, facts, sections};
use crate::results::Results;

/// What the columns mean, for readers who see the page only.
const GLOSSARY: [(&str, &str); 8] = [
    (
        "host, host:pin, host:slice",
        "the host's own scheduler: as it is; with each vCPU on a CPU of its own choice, siblings apart; \
         with longer slices",
    ),
    (
        "median, min, p5, p95",
        "over all rounds that count: half of them are below the median, a twentieth below p5 and above p95",
    ),
    ("over ...", "the median as a multiple of that row's"),
    (
        "alone",
        "the VM with the CPUs to itself, all others stopped",
    ),
    (
        "switch",
        "from the time for which a switch was planned until the next vCPU may enter its guest",
    ),
    (
        "others, steal",
        "CPU time that other programs on the host took, and what is below the host, of all CPUs",
    ),
    (
        "row skew",
        "how far apart the CPUs of one row of a gang's table switch",
    ),
    (
        "simulated",
        "the same VMs and policies in the simulator: what it does not know, as how long an exchange \
         takes, is taken from the reference row",
    ),
];

pub(super) fn page(results: &Results, plots: &[NamedDrawing], lanes: &[NamedDrawing]) -> String {
    let name = escape(&results.experiment.name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<p class=\"facts\">{}</p>\n",
        escape(&results.machine.summary())
    );
    for paragraph in results.experiment.about.trim().split("\n\n") {
        let _ = writeln!(out, "<p>{}</p>", escape(paragraph));
    }
    let _ = writeln!(out, "<p class=\"facts\">{}</p>", escape(&facts(results)));
    let metrics = results.experiment.metrics.len();
    for (index, (heading, rows)) in sections(results).iter().enumerate() {
        let _ = writeln!(out, "<h2>{}</h2>", escape(heading));
        table(&mut out, rows);
        let plot = format!("rounds-{}.svg", index + 1);
        let plot = plots
            .iter()
            .find(|(name, _)| index < metrics && *name == plot);
        if let Some((_, drawing)) = plot {
            out.push_str(&drawing.element());
        }
    }
    if let Some(reason) = &results.replay.without {
        let _ = writeln!(out, "<p>There is no simulation: {}.</p>", escape(reason));
    }
    if !lanes.is_empty() {
        out.push_str("<h2>Who was on which CPU</h2>\n");
        out.push_str("<p>One round of each policy, from its switches.</p>\n");
    }
    for (_, drawing) in lanes {
        out.push_str(&drawing.element());
    }
    out.push_str("<h2>What the words mean</h2>\n<dl>\n");
    for (term, meaning) in GLOSSARY {
        let _ = writeln!(out, "<dt>{term}</dt><dd>{}</dd>", escape(meaning));
    }
    out.push_str("</dl>\n</body>\n</html>\n");
    out
}
