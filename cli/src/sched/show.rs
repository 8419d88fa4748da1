//! `muster sched show`: what there is and how it is, for people and programs.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::snapshot::Snapshot;

use super::connection::{NodeArg, answered};
use crate::output;

mod page;

/// How wide a page is if no terminal says.
const WIDTH: usize = 120;
/// How often the page is shown anew.
const PERIOD: Duration = Duration::from_secs(1);
/// Moves a terminal's cursor to its first line and erases what is there.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// The form of the JSON. Grows when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// Options of `muster sched show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Show it anew each second, with what happened within that second
    #[arg(long, conflicts_with = "json")]
    watch: bool,

    /// Print JSON for programs: times in nanoseconds since the machines joined
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    node: NodeArg,
}

/// Runs the command.
pub fn run(args: &ShowArgs) -> Result<()> {
    let client = args.node.client()?;
    let mut snapshot = answered(client.snapshot())?;
    if args.json {
        return output::print(&json(&snapshot)?);
    }
    let width = || output::terminal_width().unwrap_or(WIDTH);
    if !args.watch {
        return output::print(&page::page(&snapshot, None, width()));
    }
    let clear = if output::terminal_width().is_some() {
        CLEAR
    } else {
        ""
    };
    loop {
        thread::sleep(PERIOD);
        let next = answered(client.snapshot())?;
        let page = page::page(&next, Some(&snapshot), width());
        if !output::print_to_reader(&format!("{clear}{page}\n"))? {
            return Ok(());
        }
        snapshot = next;
    }
}

fn json(snapshot: &Snapshot) -> Result<String> {
    let mut value = serde_json::to_value(snapshot).context("cannot write the answer as JSON")?;
    value["schema"] = SCHEMA.into();
    Ok(format!("{value:#}\n"))
}
