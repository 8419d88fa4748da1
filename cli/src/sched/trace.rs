//! `muster sched trace`: who is on which CPU when, from the switches as they happen.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::snapshot::{Snapshot, SwitchRecord};
use muster_node::{Client, recording};
use muster_scheduler::Nanos;
use muster_scheduler::sim::gantt::{GanttSpec, Window, gantt};
use muster_scheduler::sim::perfetto::Trace;
use muster_scheduler::sim::svg::stack;

use super::connection::{NodeArg, answered};
use crate::{UsageError, output, whole_file};

/// How often switches are fetched: the node manager keeps some seconds of them.
const PERIOD: Duration = Duration::from_millis(500);
/// Agents report a switch a little after it was done, and not in order.
const OVERLAP_NS: Nanos = 1_000_000_000;

/// Options of `muster sched trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// How long to record
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=600)
    )]
    seconds: u32,

    /// Write a trace for ui.perfetto.dev, a lane per CPU
    #[arg(short, value_name = "FILE", required_unless_present = "svg")]
    output: Option<PathBuf>,

    /// Draw the same as a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    node: NodeArg,
}

/// Runs the command.
pub fn run(args: &TraceArgs) -> Result<()> {
    for path in [&args.output, &args.svg].into_iter().flatten() {
        check(path)?;
    }
    let client = args.node.client()?;
    let length = Duration::from_secs(args.seconds.into());
    let (snapshot, switches, window) = record(&client, length)?;
    let recording = recording::recording(&snapshot, &switches, window);
    let whole = Window {
        from_ns: 0,
        to_ns: window.length_ns(),
    };
    if let Some(path) = &args.output {
        let mut trace = Trace::default();
        trace.add(&recording, whole);
        whole_file::replace(path, &trace.json())?;
    }
    if let Some(path) = &args.svg {
        let spec = GanttSpec {
            window: whole,
            number: 0,
        };
        whole_file::replace(path, &stack(&[gantt(&recording, &spec)]))?;
    }
    let (turns, vms) = (recording.spans.len(), recording.vms.len());
    output::print(&format!(
        "{turns} turns of {vms} VMs in {} s\n",
        args.seconds
    ))
}

/// Finds before recording what would be a pity to find after it.
fn check(path: &Path) -> Result<()> {
    if path == OsStr::new("-") {
        let error = "a trace goes to a file: - is not known here";
        return Err(UsageError(error.to_owned()).into());
    }
    if path.is_dir() {
        anyhow::bail!("cannot write {}: it is a directory", path.display());
    }
    let dir = path.parent().filter(|dir| *dir != Path::new(""));
    if let Some(dir) = dir
        && !dir.is_dir()
    {
        let (path, dir) = (path.display(), dir.display());
        anyhow::bail!("cannot write {path}: {dir} is no directory");
    }
    Ok(())
}

/// All switches from now on, and those that say who has the CPUs now.
fn record(client: &Client, length: Duration) -> Result<(Snapshot, Vec<SwitchRecord>, Window)> {
    let first = answered(client.snapshot())?;
    let mut collected = Collected::default();
    collected.start(&first);
    collected.add(answered(client.switches(0))?);
    let end = Instant::now() + length;
    let mut fetched_ns = first.at_ns;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        thread::sleep(left.min(PERIOD));
        let now = answered(client.snapshot()).context("the recording was cut off")?;
        let since = fetched_ns.saturating_sub(OVERLAP_NS);
        collected.add(answered(client.switches(since)).context("the recording was cut off")?);
        anyhow::ensure!(
            now.at_ns > fetched_ns,
            "the recording was cut off: the node manager has started anew"
        );
        fetched_ns = now.at_ns;
        if left <= PERIOD {
            let window = Window {
                from_ns: first.at_ns,
                to_ns: now.at_ns,
            };
            return Ok((now, collected.0.into_values().collect(), window));
        }
    }
}

/// Switches, each once.
#[derive(Debug, Default)]
struct Collected(BTreeMap<(Nanos, u16), SwitchRecord>);

impl Collected {
    /// Who had the CPUs at first, if their last switches are no longer kept.
    fn start(&mut self, snapshot: &Snapshot) {
        for cpu in &snapshot.cpus {
            let switch = SwitchRecord {
                planned_ns: 0,
                done_ns: 0,
                cpu: cpu.cpu,
                vcpu: cpu.vcpu.clone(),
                level: None,
            };
            self.0.insert((0, cpu.cpu), switch);
        }
    }

    fn add(&mut self, switches: Vec<SwitchRecord>) {
        let keyed = switches.into_iter();
        self.0
            .extend(keyed.map(|switch| ((switch.done_ns, switch.cpu), switch)));
    }
}

#[cfg(test)]
mod tests;
