//! `cargo xtask bench sim`: what a decision of the scheduler's core costs, and how fast its simulator
//! is.
//!
//! Every figure comes from a process of its own, so that one case's memory and caches do not meet the
//! next. Cases take turns, so that a host's changing speed meets all alike.

mod plot;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_scheduler::PolicySpec;
use serde_json::{Value, json};

use super::results::Results;
use super::table::Table;
use crate::build::workspace;
use crate::{TaskResult, build};

use plot::Series;

/// Measure the scheduler's core and its simulator.
///
/// Writes docs/results/sim.md, sim.json and sim.svg.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// How often each case is run.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Only print the tables.
    #[arg(long)]
    dry_run: bool,
}

/// Every base, and the layers where they are used most.
const POLICIES: [&str; 13] = [
    "pinned",
    "central",
    "affinity",
    "balance",
    "hybrid",
    "space",
    "dynamic",
    "gang",
    "gang:backfill",
    "linux",
    "affinity+relaxed",
    "affinity+smart",
    "gang+smart",
];
/// CPUs and vCPUs.
const SIZES: [(u32, u32); 3] = [(2, 8), (64, 256), (1024, 4096)];
/// On 64 CPUs.
const GROWTH: [u32; 6] = [64, 128, 256, 512, 1024, 2048];
const TARGET_NS: f64 = 1000.0;

/// A case, and a figure for each round.
struct Case {
    what: &'static str,
    policy: &'static str,
    cpus: u32,
    vcpus: u32,
    answers: Vec<Value>,
}

impl Case {
    fn new(what: &'static str, policy: &'static str, cpus: u32, vcpus: u32) -> Self {
        let answers = Vec::new();
        Self {
            what,
            policy,
            cpus,
            vcpus,
            answers,
        }
    }

    fn run(&mut self, program: &Path) -> Result<()> {
        let numbers = [self.cpus.to_string(), self.vcpus.to_string()];
        let output = Command::new(program)
            .args([self.what, self.policy])
            .args(&numbers)
            .output()
            .context("cannot start scheduler-bench")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} {numbers:?}: {complaint}",
            self.policy
        );
        self.answers.push(serde_json::from_slice(&output.stdout)?);
        Ok(())
    }

    /// The median, least and greatest of a figure.
    fn spread(&self, key: &str) -> (f64, f64, f64) {
        let values = self
            .answers
            .iter()
            .filter_map(|answer| answer[key].as_f64());
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        (values[last / 2], values[0], values[last])
    }

    fn is(&self, what: &str, policy: &str, cpus: u32, vcpus: u32) -> bool {
        (self.what, self.policy, self.cpus, self.vcpus) == (what, policy, cpus, vcpus)
    }
}

/// Runs the task.
pub fn run(args: &SimArgs) -> TaskResult {
    ensure!(args.rounds > 0, "no rounds, no figures");
    for policy in POLICIES {
        policy.parse::<PolicySpec>()?;
    }
    let program = build::optimised(&["scheduler-bench"])?.join("scheduler-bench");
    let mut cases = cases();
    for round in 0..args.rounds {
        eprintln!("xtask: round {} of {}", round + 1, args.rounds);
        for case in &mut cases {
            case.run(&program)?;
        }
    }
    let (decisions, speed) = (decisions(&cases), throughput(&cases));
    let growth = growth(&cases);
    print!("{decisions}\n{growth}\n{speed}");
    if !args.dry_run {
        let drawing = plot::draw(&series(&cases), TARGET_NS);
        let path = workspace().join("docs/results/sim.svg");
        std::fs::write(&path, drawing)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Results {
            page: page(args.rounds, &decisions, &growth, &speed),
            record: record(&cases),
        }
        .write("sim")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for policy in POLICIES {
        for (cpus, vcpus) in SIZES {
            cases.push(Case::new("decision", policy, cpus, vcpus));
            cases.push(Case::new("throughput", policy, cpus, vcpus));
        }
        for vcpus in GROWTH {
            if !SIZES.contains(&(64, vcpus)) {
                cases.push(Case::new("decision", policy, 64, vcpus));
            }
        }
    }
    cases
}

fn find<'a>(cases: &'a [Case], what: &str, policy: &str, cpus: u32, vcpus: u32) -> &'a Case {
    let found = cases.iter().find(|case| case.is(what, policy, cpus, vcpus));
    found.expect("every case that is shown was run")
}

fn decisions(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "ns per decision (least to most)",
        "2 CPUs, 8 vCPUs",
        "64 CPUs, 256 vCPUs",
        "1024 CPUs, 4096 vCPUs",
    ]);
    for policy in POLICIES {
        let cells = SIZES.map(|(cpus, vcpus)| {
            let case = find(cases, "decision", policy, cpus, vcpus);
            let (median, least, most) = case.spread("ns_per_decision");
            format!("{median:.0} ({least:.0} to {most:.0})")
        });
        table.row([vec![policy.to_owned()], cells.to_vec()].concat());
    }
    table
}

fn growth(cases: &[Case]) -> Table {
    let head = GROWTH.map(|vcpus| format!("{vcpus} vCPUs"));
    let mut names = vec!["ns per decision, 64 CPUs"];
    names.extend(head.iter().map(String::as_str));
    let mut table = Table::new(&names);
    for series in series(cases) {
        let cells = series.points.iter().map(|&(_, ns)| format!("{ns:.0}"));
        table.row([vec![series.name.to_owned()], cells.collect()].concat());
    }
    table
}

fn series(cases: &[Case]) -> Vec<Series> {
    let of = |policy: &'static str| Series {
        name: policy,
        points: GROWTH
            .map(|vcpus| {
                let case = find(cases, "decision", policy, 64, vcpus);
                (f64::from(vcpus), case.spread("ns_per_decision").0)
            })
            .to_vec(),
    };
    POLICIES.map(of).into()
}

fn throughput(cases: &[Case]) -> Table {
    let mut table = Table::new(&[
        "million events per second",
        "2 CPUs, 8 vCPUs",
        "64 CPUs, 256 vCPUs",
        "1024 CPUs, 4096 vCPUs",
        "bytes per vCPU, 1024 CPUs",
    ]);
    for policy in POLICIES {
        let mut row = vec![policy.to_owned()];
        for (cpus, vcpus) in SIZES {
            let case = find(cases, "throughput", policy, cpus, vcpus);
            let (median, least, most) = case.spread("events_per_s");
            let million = |events: f64| events / 1e6;
            row.push(format!(
                "{:.2} ({:.2} to {:.2})",
                million(median),
                million(least),
                million(most)
            ));
        }
        let (cpus, vcpus) = SIZES[2];
        let case = find(cases, "throughput", policy, cpus, vcpus);
        row.push(format!("{:.0}", case.spread("bytes_per_vcpu").0));
        table.row(row);
    }
    table
}

fn record(cases: &[Case]) -> Value {
    let records = cases.iter().map(|case| {
        json!({
            "what": case.what,
            "policy": case.policy,
            "cpus": case.cpus,
            "vcpus": case.vcpus,
            "runs": case.answers,
        })
    });
    json!({ "cases": records.collect::<Vec<_>>() })
}

fn page(rounds: usize, decisions: &Table, growth: &Table, speed: &Table) -> String {
    format!(
        "# The scheduler's core: speed\n\n\
         Measured by `cargo xtask bench sim`: medians of {rounds} rounds in which all cases take \
         turns, each in a process of its own; in brackets the least and the most.\n\n\
         ## A decision\n\n\
         {decisions}\n\
         The target is 1000 ns on 64 CPUs with 256 vCPUs. A decision is one event told to the policy, \
         everything included: the engine's bookkeeping, the policy, the check of its plan, and the \
         reports of a machine that carries out every switch at once. VMs have four vCPUs, each of \
         which halts or wakes every 4 ms on average. Policies that decide rarely about many CPUs, \
         as gang scheduling does at the end of a slot, have fewer and dearer decisions.\n\n\
         ## Growth\n\n\
         {growth}\n\
         ![ns per decision by the number of vCPUs](sim.svg)\n\n\
         ## The simulator\n\n\
         {speed}\n\
         Half of the VMs meet at barriers every 100 us, half compute for 200 us and wait for I/O for \
         200 us. Bytes are those of the process's peak beyond its size before the run, so they hold \
         CPUs, queues and the recording too.\n"
    )
}
