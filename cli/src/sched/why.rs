//! `muster sched why`: the reasons of the last decisions.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::snapshot::Decision;

use super::connection::{NodeArg, answered};
use crate::output;

/// Options of `muster sched why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// How many decisions, the latest last
    #[arg(value_name = "N", default_value_t = 20)]
    count: usize,

    /// Print JSON for programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    node: NodeArg,
}

/// Runs the command.
pub fn run(args: &WhyArgs) -> Result<()> {
    let client = args.node.client()?;
    let decisions = answered(client.decisions(args.count))?;
    let text = if args.json {
        serde_json::to_string_pretty(&decisions).context("cannot write the answer as JSON")? + "\n"
    } else {
        page(&decisions)
    };
    output::print(&text)
}

/// A line per decision: when, where, who left for whom, and why.
fn page(decisions: &[Decision]) -> String {
    if decisions.is_empty() {
        return "nothing has been decided yet\n".to_owned();
    }
    let name = |vcpu: &Option<String>| vcpu.clone().unwrap_or_else(|| "nobody".to_owned());
    let rows: Vec<[String; 5]> = decisions
        .iter()
        .map(|decision| {
            [
                format!("{:.6} s", decision.at_ns as f64 / 1e9),
                format!("CPU {}", decision.cpu),
                name(&decision.from),
                name(&decision.to),
                decision.reason.clone(),
            ]
        })
        .collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [when, cpu, from, to] = [0, 1, 2, 3].map(widest);
    let mut out = String::new();
    for [at, on, left, came, reason] in &rows {
        let _ = writeln!(
            out,
            "{at:>when$}  {on:<cpu$}  {left:<from$} -> {came:<to$}  {reason}"
        );
    }
    out
}

#[cfg(test)]
mod tests;
