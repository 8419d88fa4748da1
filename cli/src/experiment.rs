//! `muster experiment`: real VMs under every schedule, and a report.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use muster_experiment::figures::{figure_or_dash, minutes};
use muster_experiment::host::RealHost;
use muster_experiment::interrupt::Interrupt;
use muster_experiment::machine::Machine;
use muster_experiment::replay::replay;
use muster_experiment::results::medians;
use muster_experiment::run::{Measured, Progress};
use muster_experiment::shipped::SHIPPED;
use muster_experiment::{Experiment, Options, Results, report};
use muster_node::Enforcement;

use crate::{UsageError, output, text_file, whole_file};

const AFTER_HELP: &str = "\
Starts the experiment's VMs, measures them under every schedule in turn, in random order and again and
again, prints a table, and writes a report: a page (report.html), Markdown, charts, a trace, and all
rounds as JSON. What is in an experiment's file, and how to read what comes out: docs/experiments.md.

Most experiments run the benchmark guest. It is the file that MUSTER_BENCH_GUEST names, else the one that
`cargo xtask images` made.

Examples:
  muster experiment list
  muster experiment run request-reply
  muster experiment run my.toml --reps 3 --out results

Exit status:
  0  the experiment is done, whatever came of it
  1  it was given up: a VM ended, the host was too busy, a signal came, or a file could not be written
  2  the command line or the experiment's file is wrong";

/// Options of `muster experiment`.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    #[command(subcommand)]
    command: ExperimentCommand,
}

#[derive(Debug, Subcommand)]
enum ExperimentCommand {
    /// Measure real VMs under every schedule of an experiment
    Run(RunArgs),
    /// List the experiments that come with muster
    List,
}

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
struct RunArgs {
    /// An experiment's file, or the name of one that comes with muster
    #[arg(value_name = "EXPERIMENT")]
    experiment: PathBuf,

    /// Measure every schedule so often, instead of as often as the experiment says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    reps: Option<u32>,

    /// Write the report into this directory [default: the experiment's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Draw the order of the schedules from this seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Repeat rounds in which more of the host's CPU time is taken by what is below it
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percent)]
    steal_limit: f64,

    /// How schedules are enforced: gate, pulse or affinity [default: the best that is permitted]
    #[arg(long, value_name = "HOW")]
    enforcement: Option<Enforcement>,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

/// Runs the command.
pub fn run(args: &ExperimentArgs) -> Result<ExitCode> {
    match &args.command {
        ExperimentCommand::Run(args) => measure(args)?,
        ExperimentCommand::List => list()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the experiments that come with the program, a line for each.
fn list() -> Result<()> {
    let width = SHIPPED.iter().map(|shipped| shipped.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for shipped in SHIPPED {
        let experiment = Experiment::parse(shipped.text)
            .with_context(|| format!("cannot read the experiment {}", shipped.name))?;
        let time = minutes(experiment.length_ns(experiment.repetitions));
        let about = text_file::first_sentence(&experiment.about);
        text.push_str(&format!("{:width$}  {about} ({time})\n", shipped.name));
    }
    text.push_str("\nRun one: muster experiment run NAME\n");
    output::print(&text)
}

/// The experiment in this file or of this name.
fn load(path: &Path) -> Result<Experiment> {
    let shipped = SHIPPED.iter().map(|shipped| (shipped.name, shipped.text));
    let text = text_file::shipped_or_read(path, "an experiment", shipped)?;
    Experiment::parse(&text)
        .map_err(|error| UsageError(format!("{}: {error}", path.display())).into())
}

/// Runs the experiment and writes its report.
fn measure(args: &RunArgs) -> Result<()> {
    let experiment = load(&args.experiment)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| experiment.name.clone().into());
    // Now rather than after minutes of measuring.
    fs::create_dir_all(&out).with_context(|| format!("cannot write to {}", out.display()))?;
    let options = Options {
        repetitions: args.reps.unwrap_or(experiment.repetitions),
        seed: args.seed,
        steal_limit_percent: args.steal_limit,
    };
    let time = minutes(experiment.length_ns(options.repetitions));
    let rows = experiment.rows.len();
    tell(&format!(
        "{}: {rows} rows, {} repetitions: about {time}",
        experiment.name, options.repetitions
    ));
    let (measured, enforcement) = measure_on_this_host(args, &experiment, &options)?;
    let machine = Machine::survey(&enforcement);
    tell("simulating the same");
    let medians = medians(&experiment, &measured.rounds);
    let replay = replay(&experiment, machine.cpus, &medians)?;
    let results = Results::new(experiment, options, machine, measured, replay);
    for file in report::files(&results)? {
        whole_file::replace(&out.join(&file.name), &file.content)?;
    }
    output::print(&report::text(
        &results,
        output::terminal_width().unwrap_or(120),
    ))?;
    tell(&format!(
        "the report is in {}",
        out.join("report.html").display()
    ));
    Ok(())
}

/// Starts the VMs, measures, and stops them.
fn measure_on_this_host(
    args: &RunArgs,
    experiment: &Experiment,
    options: &Options,
) -> Result<(Measured, String)> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let muster = std::env::current_exe().context("cannot find muster's own program")?;
    let mut host = RealHost::start(experiment, &muster, args.enforcement, interrupt)?;
    if let Some(reason) = host.shortfall() {
        tell(&format!(
            "switches wait while other programs run: {reason} (see muster doctor)"
        ));
    }
    let mut progress = |progress: &Progress| {
        let (done, total, round) = (progress.done, progress.total, progress.round);
        let value = figure_or_dash(round.values[0]);
        let unit = &experiment.metrics[0].unit;
        let note = if round.counts {
            ""
        } else {
            ", too much steal: again"
        };
        tell(&format!(
            "{done}/{total}  {}: {value} {unit}{note}",
            round.row
        ));
    };
    let measured = muster_experiment::run(experiment, options, &mut host, &mut progress)?;
    Ok((measured, host.enforcement()))
}

/// A line for whoever waits at a terminal.
fn tell(line: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // Nobody may be left to read it.
        let _ = writeln!(stderr, "{line}");
    } else {
        tracing::info!("{line}");
    }
}
