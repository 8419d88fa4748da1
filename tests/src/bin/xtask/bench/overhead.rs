//! `cargo xtask bench overhead`: what muster costs beside its guest.
//!
//! The guest prints one byte with its first instructions and then sleeps, so the byte shows that the
//! first KVM_RUN has begun, an exit ago. Any KVM will do for it. Processor time is what the kernel has
//! charged to all of muster's threads until then.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_tests::child::die_with_parent;
use muster_tests::vm::footprint::Footprint;
use muster_vmm::host::{Guests, survey};
use nix::unistd::Pid;
use serde_json::json;

use super::results::Results;
use super::table::Table;
use crate::TaskResult;
use crate::build;

/// Measure muster's memory, threads and start-up time, beside its guest's.
///
/// Writes docs/results/overhead.md and overhead.json.
#[derive(Debug, Args)]
pub struct OverheadArgs {
    /// How often each size of guest runs.
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
    /// Only print the table.
    #[arg(long)]
    dry_run: bool,
}

const VCPUS: [u32; 3] = [1, 8, 64];
const MEMORY: &str = "512M";

/// Prints `!` on the serial port, then sleeps for ever.
const CODE: [u8; 10] = [
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'!', // mov al, '!'
    0xee, // out dx, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];
const LOAD_ADDRESS: u64 = 0x10_0000;

/// After this long all threads sleep.
const SETTLE: Duration = Duration::from_millis(200);

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    footprint: Footprint,
}

/// Runs the task.
pub fn run(args: &OverheadArgs) -> TaskResult {
    let host = survey();
    ensure!(
        host.guests != Guests::None,
        "this needs a /dev/kvm that opens: see `muster doctor`"
    );
    ensure!(args.rounds > 0, "no rounds, no figures");
    let muster = build::optimised(&["muster"])?.join("muster");
    let dir = tempfile::tempdir()?;
    let kernel = dir.path().join("guest.elf");
    fs::write(&kernel, elf(&CODE))?;
    let head = [
        "vCPUs",
        "start, CPU time",
        "start, wall time",
        "resident memory",
        "threads",
    ];
    let mut table = Table::new(&head);
    let mut rows = Vec::new();
    for vcpus in VCPUS {
        let runs: Vec<Run> = (0..args.rounds)
            .map(|_| start(&muster, &kernel, vcpus))
            .collect::<Result<_>>()
            .with_context(|| format!("a guest with {vcpus} vCPUs"))?;
        let cpu = median(runs.iter().map(|run| run.cpu));
        let wall = median(runs.iter().map(|run| run.wall));
        let own_kib = median(runs.iter().map(|run| run.footprint.own_kib));
        let threads = median(runs.iter().map(|run| run.footprint.threads));
        table.row(vec![
            vcpus.to_string(),
            format!("{:.1} ms", cpu.as_secs_f64() * 1e3),
            format!("{:.1} ms", wall.as_secs_f64() * 1e3),
            format!("{own_kib} KiB"),
            threads.to_string(),
        ]);
        rows.push(json!({
            "vcpus": vcpus,
            "start_cpu_us": u64::try_from(cpu.as_micros())?,
            "start_wall_us": u64::try_from(wall.as_micros())?,
            "resident_kib": own_kib,
            "threads": threads,
        }));
    }
    print!("{table}");
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let kind = host.kvm.kind.to_string();
    let page = format!(
        "# Overhead\n\n\
         Measured by `cargo xtask bench overhead` on {kind}: medians of {} runs with {MEMORY} of guest \
         memory. Start-up ends with the guest's first output, an exit after its first instruction; \
         processor time is that of all threads. Resident memory is all but the guest's own.\n\n{table}",
        args.rounds,
    );
    Results {
        page,
        record: json!({ "host": kind, "rounds": args.rounds, "vcpus": rows }),
    }
    .write("overhead")?;
    Ok(ExitCode::SUCCESS)
}

fn start(muster: &Path, kernel: &Path, vcpus: u32) -> Result<Run> {
    let mut command = Command::new(muster);
    command
        .args([
            "run",
            "--memory",
            MEMORY,
            "--cpus",
            &vcpus.to_string(),
            "--kernel",
        ])
        .arg(kernel);
    // Not null: muster is to watch its console's input, as it does for a person.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    die_with_parent(&mut command);
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start muster")?;
    let mut first = [0];
    let console = child.stdout.as_mut().context("there is no console")?;
    let heard = console.read_exact(&mut first);
    let wall = start.elapsed();
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let cpu = cpu_time(pid);
    sleep(SETTLE);
    let footprint = heard.is_ok().then(|| Footprint::of(pid));
    child.kill()?;
    let status = child.wait()?;
    let footprint = footprint.with_context(|| format!("muster ended with {status}"))?;
    Ok(Run {
        wall,
        cpu: cpu?,
        footprint,
    })
}

/// Processor time of all threads of a process.
fn cpu_time(pid: Pid) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = text
            .split_whitespace()
            .next()
            .context("no scheduler statistics")?;
        total += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(total)
}

fn median<T: Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}

/// A 64-bit ELF file with `code` as its only segment and entry.
fn elf(code: &[u8]) -> Vec<u8> {
    const FILE_HEADER_LEN: u16 = 64;
    const SEGMENT_HEADER_LEN: u16 = 56;
    let offset = u64::from(FILE_HEADER_LEN + SEGMENT_HEADER_LEN);
    let len = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut add = |bytes: &[u8]| file.extend_from_slice(bytes);
    add(&2_u16.to_le_bytes()); // executable
    add(&62_u16.to_le_bytes()); // x86-64
    add(&1_u32.to_le_bytes());
    add(&LOAD_ADDRESS.to_le_bytes()); // entry
    add(&u64::from(FILE_HEADER_LEN).to_le_bytes()); // where segment headers are
    add(&[0; 12]); // no sections, no flags
    for half in [FILE_HEADER_LEN, SEGMENT_HEADER_LEN, 1, 0, 0, 0] {
        add(&half.to_le_bytes());
    }
    add(&1_u32.to_le_bytes()); // to be loaded
    add(&5_u32.to_le_bytes()); // readable, executable
    for word in [offset, LOAD_ADDRESS, LOAD_ADDRESS, len, len, 0x1000] {
        add(&word.to_le_bytes());
    }
    add(code);
    file
}
