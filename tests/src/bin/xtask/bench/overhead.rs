//! `cargo xtask bench overhead`: what a monitor costs beside its guest.
//!
//! The guest prints one byte with its first instructions and then sleeps, so the byte shows that the
//! first KVM_RUN has begun, an exit ago. Any KVM will do for it. Monitors and numbers of vCPUs take
//! turns, so that a host's changing speed meets all alike.

mod monitor;
mod process;

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_tests::child::die_with_parent;
use muster_vmm::host::{Guests, HostReport, survey};
use nix::unistd::Pid;
use serde_json::{Value, json};

use self::monitor::{MEMORY_MIB, Monitor};
use self::process::{Resident, count, cpu_time};
use super::results::Results;
use super::table::Table;
use crate::{TaskResult, build, packages};

/// Measure muster's memory, threads and start-up time, beside its guest's.
///
/// Compares muster with QEMU's microvm, and writes docs/results/overhead.md and overhead.json.
#[derive(Debug, Args)]
pub struct OverheadArgs {
    /// How often each monitor runs each size of guest.
    #[arg(long, default_value_t = 11, value_name = "N")]
    rounds: usize,
    /// Only print the table.
    #[arg(long)]
    dry_run: bool,
}

const VCPUS: [u32; 3] = [1, 8, 64];
const DISK_LEN: u64 = 64 << 20;

/// After this long all threads sleep.
const SETTLE: Duration = Duration::from_millis(200);

const HEAD: [&str; 9] = [
    "monitor, vCPUs",
    "own memory, KiB",
    "files' pages of it",
    "threads",
    "descriptors",
    "CPU until the first byte, ms",
    "worst",
    "CPU until all sleep, ms",
    "wall until the first byte, ms",
];

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    cpu_asleep: Duration,
    resident: Resident,
    threads: u64,
    fds: u64,
}

/// Runs the task.
pub fn run(args: &OverheadArgs) -> TaskResult {
    let host = survey();
    ensure!(
        host.guests != Guests::None,
        "this needs a /dev/kvm that opens: see `muster doctor`"
    );
    ensure!(args.rounds > 0, "no rounds, no figures");
    packages::ensure_installed(&[packages::QEMU])?;
    let muster = build::optimised(&["muster"])?.join("muster");
    let dir = tempfile::tempdir()?;
    let (kernel, disk) = (dir.path().join("guest.elf"), dir.path().join("disk"));
    fs::write(&kernel, monitor::kernel())?;
    File::create(&disk)?.set_len(DISK_LEN)?;
    let mut cases: Vec<(Monitor, u32, Vec<Run>)> = Monitor::ALL
        .iter()
        .flat_map(|&monitor| VCPUS.map(|vcpus| (monitor, vcpus, Vec::new())))
        .collect();
    for _ in 0..args.rounds {
        for (monitor, vcpus, runs) in &mut cases {
            let run = start(monitor.command(&muster, &kernel, &disk, *vcpus));
            runs.push(run.with_context(|| format!("{} with {vcpus} vCPUs", monitor.name()))?);
        }
    }
    let mut table = Table::new(&HEAD);
    for (monitor, vcpus, runs) in &cases {
        table.row(cells(*monitor, *vcpus, runs));
    }
    print!("{table}");
    if !args.dry_run {
        let records: Vec<Value> = cases
            .iter()
            .map(|(monitor, vcpus, runs)| record(*monitor, *vcpus, runs))
            .collect();
        let host_line = describe(&host);
        Results {
            page: page(&host_line, args.rounds, &table),
            record: json!({ "host": host_line, "memory_mib": MEMORY_MIB, "cases": records }),
        }
        .write("overhead")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn start(mut command: Command) -> Result<Run> {
    // Not null: a monitor is to watch its console's input, as it does for a person.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    die_with_parent(&mut command);
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start it")?;
    let console = child.stdout.as_mut().context("there is no console")?;
    let heard = console.read_exact(&mut [0]);
    let wall = start.elapsed();
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let measure = || -> Result<Run> {
        heard.context("it ended without a word")?;
        let cpu = cpu_time(pid)?;
        sleep(SETTLE);
        Ok(Run {
            wall,
            cpu,
            cpu_asleep: cpu_time(pid)?,
            resident: Resident::of(pid, MEMORY_MIB << 10)?,
            threads: count(pid, "task")?,
            fds: count(pid, "fd")?,
        })
    };
    let run = measure();
    child.kill()?;
    child.wait()?;
    run
}

fn cells(monitor: Monitor, vcpus: u32, runs: &[Run]) -> Vec<String> {
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let worst = runs.iter().map(|run| run.cpu).max().unwrap_or_default();
    vec![
        format!("{}, {vcpus}", monitor.name()),
        median(runs, |run| run.resident.own).to_string(),
        median(runs, |run| run.resident.of_files).to_string(),
        median(runs, |run| run.threads).to_string(),
        median(runs, |run| run.fds).to_string(),
        ms(median(runs, |run| run.cpu)),
        ms(worst),
        ms(median(runs, |run| run.cpu_asleep)),
        ms(median(runs, |run| run.wall)),
    ]
}

fn median<T: Ord>(runs: &[Run], value: impl Fn(&Run) -> T) -> T {
    let mut values: Vec<T> = runs.iter().map(value).collect();
    values.sort();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}

fn record(monitor: Monitor, vcpus: u32, runs: &[Run]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "own_kib": run.resident.own,
                "own_file_kib": run.resident.of_files,
                "guest_kib": run.resident.guest,
                "threads": run.threads,
                "descriptors": run.fds,
                "cpu_ms": run.cpu.as_secs_f64() * 1e3,
                "cpu_asleep_ms": run.cpu_asleep.as_secs_f64() * 1e3,
                "wall_ms": run.wall.as_secs_f64() * 1e3,
            })
        })
        .collect();
    json!({ "monitor": monitor.name(), "vcpus": vcpus, "runs": runs })
}

fn describe(host: &HostReport) -> String {
    let model = host.cpus.model.as_deref().unwrap_or("unknown processor");
    format!("{}; {} CPUs, {model}", host.kvm.kind, host.cpus.online)
}

fn page(host: &str, rounds: usize, table: &Table) -> String {
    format!(
        "# Overhead\n\n\
         Measured by `cargo xtask bench overhead`: medians of {rounds} rounds in which all cases \
         take turns.\n\n{table}\n\
         Targets for muster: under 4 MiB of own memory, under 10 ms of CPU until the first KVM_RUN.\n\n\
         - Host: {host}. Guest: {MEMORY_MIB} MiB, one disk, a program that writes a byte to the \
         serial port and halts.\n\
         - Own memory is all that is resident but the guest's, which is the one private anonymous \
         mapping of exactly its size. The kernel's memory for the guest (KVM, page tables) is not \
         counted.\n\
         - CPU time is of all threads since the process was made. Until the first byte, a thread \
         that is running then may lack its latest stretch; until all sleep, nothing is missing, \
         and the start of the other vCPUs is included.\n\
         - Threads include the one that KVM adds to each process with a guest.\n"
    )
}
