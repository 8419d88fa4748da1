//! `muster sim`: what would happen.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use muster_scheduler::params::{format_duration, parse_duration};
use muster_scheduler::sim::gantt::{GanttSpec, Window, gantt};
use muster_scheduler::sim::perfetto::Trace;
use muster_scheduler::sim::report::Report;
use muster_scheduler::sim::shipped::SHIPPED;
use muster_scheduler::sim::svg::{Drawing, stack};
use muster_scheduler::sim::{self, Keep, Scenario, html};
use muster_scheduler::{MS, Nanos, PolicySpec};

use crate::{UsageError, output, text_file, whole_file};

/// How much of a run is drawn: so many of the longest quantum among the policies.
const SLOTS_DRAWN: Nanos = 12;
/// The same if no policy has a quantum.
const DRAWN_NS: Nanos = 100 * MS;

const AFTER_HELP: &str = "\
Runs the scenario once under the baseline and once under each policy, with the same random draws,
and prints how the policies compare. What is in a scenario file, and how to read what comes out:
docs/simulator.md. What there is for --policy: muster sched policies.

Examples:
  muster sim sched --list
  muster sim sched gang-matrix --about
  muster sim sched gang-matrix --svg gang.svg
  muster sim sched my.toml --policy gang:quantum=20ms --policy affinity --seed 7 --html out.html
  muster sim sched my.toml --trace out.json     open it with https://ui.perfetto.dev

Exit status:
  0  the runs are done
  1  a run failed, or a file could not be written
  2  the command line or the scenario is wrong";

/// Options of `muster sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    /// Compare scheduling policies in simulation
    Sched(Box<SchedArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
struct SchedArgs {
    /// A scenario file, or the name of one that comes with muster
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    scenario: Option<PathBuf>,

    /// Run this policy, instead of those in the scenario; may be repeated
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<PolicySpec>,

    /// Compare with this policy, instead of the scenario's
    #[arg(long, value_name = "POLICY")]
    baseline: Option<PolicySpec>,

    /// Draw random numbers from this seed, instead of the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// List the scenarios that come with muster
    #[arg(long, conflicts_with = "scenario")]
    list: bool,

    /// Tell what the scenario shows and by what it is judged, and run nothing
    #[arg(long)]
    about: bool,

    /// Write the report as JSON; - is standard output, instead of the tables
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,

    /// Draw who was on which CPU: all policies in one .svg file, or each in one in a directory
    #[arg(long, value_name = "FILE|DIR", help_heading = "Output")]
    svg: Option<PathBuf>,

    /// Write report and charts as one HTML page
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,

    /// Write a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    trace: Option<PathBuf>,

    /// Begin charts and trace at this time, such as 100ms
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Output")]
    from: Option<Nanos>,

    /// End charts and trace at this time
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Output")]
    to: Option<Nanos>,
}

fn time(text: &str) -> Result<Nanos, String> {
    let time = parse_duration(text);
    time.ok_or_else(|| "is not a time: give a number and ns, us, ms or s, like 20ms".to_owned())
}

/// Runs the command.
pub fn run(args: &SimArgs) -> Result<ExitCode> {
    let SimCommand::Sched(args) = &args.command;
    match &args.scenario {
        None => list()?,
        Some(scenario) if args.about => about(&load(scenario)?)?,
        Some(scenario) => compare(args, &load(scenario)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the scenarios that come with the program, a line for each.
fn list() -> Result<()> {
    let width = SHIPPED.iter().map(|shipped| shipped.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for shipped in SHIPPED {
        let scenario = Scenario::parse(shipped.text)
            .with_context(|| format!("cannot read the scenario {}", shipped.name))?;
        let line = format!(
            "{:width$}  {}",
            shipped.name,
            text_file::first_sentence(&scenario.about)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("\nAll of what one shows: muster sim sched NAME --about\n");
    output::print(&text)
}

/// Prints what a scenario says of itself.
fn about(scenario: &Scenario) -> Result<()> {
    let width = output::terminal_width().unwrap_or(100);
    let mut text = format!("{}\n", scenario.name);
    for paragraph in scenario.about.split("\n\n") {
        text.push('\n');
        for line in output::wrap(paragraph, width.max(30)) {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    output::print(&text)
}

/// The scenario in this file or of this name.
fn load(scenario: &Path) -> Result<Scenario> {
    let shipped = SHIPPED.iter().map(|shipped| (shipped.name, shipped.text));
    let text = text_file::shipped_or_read(scenario, "a scenario", shipped)?;
    Scenario::parse(&text)
        .map_err(|error| UsageError(format!("{}: {error}", scenario.display())).into())
}

/// Runs every policy and writes what was asked for.
fn compare(args: &SchedArgs, scenario: &Scenario) -> Result<()> {
    let policies = policies(args, scenario);
    check_policies(args, scenario)?;
    let window = window(args, scenario, &policies)?;
    check_outputs(args)?;
    let draws = args.svg.is_some() || args.html.is_some();
    let keep = if draws || args.trace.is_some() {
        Keep::Window {
            from_ns: window.from_ns,
            to_ns: window.to_ns,
        }
    } else {
        Keep::Totals
    };
    let seed = args.seed.unwrap_or(scenario.seed);
    let mut recordings = Vec::new();
    let mut charts = Vec::new();
    let mut trace = Trace::default();
    for (number, policy) in policies.iter().enumerate() {
        tracing::info!(%policy, seed, "running");
        let mut recording = sim::run(scenario, policy, seed, keep)
            .with_context(|| format!("{}: policy {policy}, seed {seed}", scenario.name))?;
        if draws {
            let spec = GanttSpec { window, number };
            charts.push(gantt(&recording, &spec));
        }
        if args.trace.is_some() {
            trace.add(&recording, window);
        }
        // They may be many, and nobody asks for them any more.
        recording.spans = Vec::new();
        recording.runstates = Vec::new();
        recording.marks = Vec::new();
        recordings.push(recording);
    }
    let report = Report::new(&recordings);
    write_outputs(args, scenario, &report, &charts, &trace)
}

/// The baseline, then the others, each once.
fn policies(args: &SchedArgs, scenario: &Scenario) -> Vec<PolicySpec> {
    let baseline = args.baseline.as_ref().unwrap_or(&scenario.baseline);
    let others = if args.policies.is_empty() {
        &scenario.policies
    } else {
        &args.policies
    };
    let mut seen = BTreeSet::new();
    let all = std::iter::once(baseline).chain(others);
    all.filter(|policy| seen.insert(policy.to_string()))
        .cloned()
        .collect()
}

/// Those of the scenario have been checked with it.
fn check_policies(args: &SchedArgs, scenario: &Scenario) -> Result<()> {
    let policies = args.policies.iter().map(|policy| ("--policy", policy));
    let baseline = args.baseline.iter().map(|policy| ("--baseline", policy));
    for (option, policy) in policies.chain(baseline) {
        let checked = scenario.check_policy(option, policy);
        checked.map_err(|error| UsageError(error.to_string()))?;
    }
    Ok(())
}

/// The part of the runs that is drawn.
fn window(args: &SchedArgs, scenario: &Scenario, policies: &[PolicySpec]) -> Result<Window> {
    let end = scenario.total_ns();
    let picture = scenario.picture;
    let from_ns = picture.from_ns.unwrap_or(scenario.warm_up_ns);
    let from_ns = Some(from_ns).filter(|from| args.to.is_none_or(|to| *from < to));
    let from_ns = args.from.or(from_ns).unwrap_or(0);
    let picture_end = picture.to_ns.filter(|&to| from_ns < to);
    let slot = policies.iter().filter_map(PolicySpec::quantum).max();
    let length = slot.map_or(DRAWN_NS, |slot| slot.saturating_mul(SLOTS_DRAWN));
    let to_ns = args
        .to
        .or(picture_end)
        .unwrap_or_else(|| from_ns.saturating_add(length).min(end));
    if from_ns >= to_ns || to_ns > end {
        let error = format!(
            "--from {} --to {}: expected times from 0ns to {}, the first before the second",
            format_duration(from_ns),
            format_duration(to_ns),
            format_duration(end)
        );
        return Err(UsageError(error).into());
    }
    Ok(Window { from_ns, to_ns })
}

fn is_stdout(path: &Path) -> bool {
    path == OsStr::new("-")
}

/// Where the charts go.
fn svg_is_dir(path: &Path) -> bool {
    path.is_dir() || path.extension().is_none()
}

/// Finds before the runs what would be a pity to find after them.
fn check_outputs(args: &SchedArgs) -> Result<()> {
    if let Some(svg) = &args.svg
        && !svg_is_dir(svg)
        && svg.extension() != Some(OsStr::new("svg"))
    {
        let svg = svg.display();
        let error = format!("--svg {svg}: expected a file name that ends in .svg, or a directory");
        return Err(UsageError(error).into());
    }
    let files = [("html", &args.html), ("trace", &args.trace)];
    for (option, path) in files.into_iter().chain([("svg", &args.svg)]) {
        if path.as_deref().is_some_and(is_stdout) {
            let error = format!("--{option} -: expected a file; only --json takes standard output");
            return Err(UsageError(error).into());
        }
    }
    for path in [&args.json, &args.html, &args.trace].into_iter().flatten() {
        if !is_stdout(path) && path.is_dir() {
            anyhow::bail!("cannot write {}: it is a directory", path.display());
        }
    }
    for path in [&args.json, &args.svg, &args.html, &args.trace]
        .into_iter()
        .flatten()
    {
        let dir = path.parent().filter(|dir| *dir != Path::new(""));
        if let Some(dir) = dir
            && !dir.is_dir()
        {
            let (path, dir) = (path.display(), dir.display());
            anyhow::bail!("cannot write {path}: {dir} is no directory");
        }
    }
    Ok(())
}

fn write_outputs(
    args: &SchedArgs,
    scenario: &Scenario,
    report: &Report,
    charts: &[Drawing],
    trace: &Trace,
) -> Result<()> {
    let mut json_printed = false;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(report).context("cannot write the report")?;
        json_printed = is_stdout(path);
        if json_printed {
            output::print(&(json + "\n"))?;
        } else {
            whole_file::replace(path, &(json + "\n"))?;
        }
    }
    if let Some(path) = &args.svg {
        write_charts(path, report, charts)?;
    }
    if let Some(path) = &args.html {
        whole_file::replace(path, &html::page(report, &scenario.about, charts))?;
    }
    if let Some(path) = &args.trace {
        whole_file::replace(path, &trace.json())?;
    }
    if !json_printed {
        // Nothing cuts the lines of a file.
        let width = output::terminal_width().unwrap_or(usize::MAX);
        output::print(&report.text(width))?;
    }
    Ok(())
}

fn write_charts(path: &Path, report: &Report, charts: &[Drawing]) -> Result<()> {
    if !svg_is_dir(path) {
        return whole_file::replace(path, &stack(charts));
    }
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut used = BTreeSet::new();
    for (row, chart) in report.policies.iter().zip(charts) {
        let stem = format!("{}.{}", file_word(&report.scenario), file_word(&row.policy));
        let name = (1..).map(|number| match number {
            1 => format!("{stem}.svg"),
            number => format!("{stem}-{number}.svg"),
        });
        let mut name = name.skip_while(|name| used.contains(name));
        let name = name.next().expect("there are enough numbers");
        whole_file::replace(&path.join(&name), &chart.element())?;
        used.insert(name);
    }
    Ok(())
}

/// A text as a part of a file's name, of which systems allow no more than 255 bytes.
fn file_word(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    text.chars().take(80).map(plain).collect()
}

#[cfg(test)]
mod tests;
