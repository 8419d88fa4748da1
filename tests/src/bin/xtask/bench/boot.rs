//! `cargo xtask bench boot`: instructions from a monitor's start to the first line of its guest's
//! init.
//!
//! The lab counts time in instructions here, so the figures do not depend on this host's speed or
//! load; time that a monitor or guest spends waiting counts as well. All contenders boot the same
//! kernel with the same initramfs and command line on one virtual CPU.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_guest_images::initramfs::Initramfs;
use muster_guest_images::{Busybox, Cache, Kernel};
use muster_tests::boot_timing::{Contender, Plan, Sample};
use muster_tests::lab::Lab;
use serde_json::json;

use super::results::Results;
use super::table::Table;
use crate::build::{self, Profile};
use crate::{TaskResult, packages};

/// Count instructions from the start of a monitor to the first line of its guest's init.
///
/// Compares muster with QEMU's microvm, both in the lab host with time counted in instructions, and
/// writes docs/results/boot.md and boot.json.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// How often each contender runs.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Only print the table.
    #[arg(long)]
    dry_run: bool,
}

const MARKER: &str = "init has started";
const CMDLINE: &str = "console=ttyS0 reboot=k panic=1 quiet";
const MEMORY_MIB: u32 = 128;

const KERNEL: &str = "/lab/vmlinux";
const INITRAMFS: &str = "/lab/initramfs.cpio";
const MUSTER: &str = "/lab/bin/muster";
const TIMER: &str = "/lab/bin/boot-timer";

/// The longest that a sensible number of rounds takes.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Firmware that QEMU's microvm loads, where Debian has it.
const QEMU_DATA: &str = "/usr/share/qemu";
const QEMU_FIRMWARE: [&str; 5] = [
    "bios-microvm.bin",
    "qboot.rom",
    "pvh.bin",
    "linuxboot_dma.bin",
    "kvmvapic.bin",
];

/// Runs the task.
pub fn run(args: &BootArgs) -> TaskResult {
    packages::ensure_installed(&[packages::QEMU])?;
    ensure!(args.rounds > 0, "no rounds, no figures");
    let programs = build::programs(Profile::Release)?;
    let cache = Cache::open_default()?;
    let kernel = Kernel::debian_cloud(&cache)?;
    let script = format!("echo {MARKER}\nbusybox poweroff -f\n");
    let initramfs = Initramfs::minimal(&Busybox::debian(&cache)?, &script)?;
    let initramfs = initramfs.build(&cache, "bench")?;
    let plan = Plan {
        contenders: vec![muster(), qemu_microvm()],
        rounds: args.rounds,
        marker: MARKER.to_owned(),
    };
    let mut lab = Lab::new([TIMER, &serde_json::to_string(&plan)?])
        .icount()
        .timeout(TIMEOUT)
        .file(&kernel.vmlinux, KERNEL)
        .file(&initramfs, INITRAMFS)
        .file(programs.join("muster"), MUSTER)
        .file(programs.join("boot-timer"), TIMER);
    for path in qemu_files()? {
        let there = path.display().to_string();
        lab = lab.file(path, there);
    }
    eprintln!(
        "xtask: booting {} guests in the lab host, about a minute each",
        2 * args.rounds
    );
    let output = lab.output(&cache)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.outcome.status == 0,
        "boot-timer failed: {}",
        said.trim()
    );
    let samples: Vec<Sample> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("boot-timer's answer is not valid")?;
    report(args, &plan, &samples, &kernel.version)
}

fn muster() -> Contender {
    let argv = [
        MUSTER,
        "run",
        "--kernel",
        KERNEL,
        "--initrd",
        INITRAMFS,
        "--raw-cmdline",
        CMDLINE,
        "--cpus",
        "1",
        "--memory",
        &format!("{MEMORY_MIB}M"),
    ];
    Contender {
        name: "muster run".into(),
        argv: argv.map(str::to_owned).into(),
    }
}

/// As its documentation recommends for Linux with a serial console.
fn qemu_microvm() -> Contender {
    let argv = [
        "/usr/bin/qemu-system-x86_64",
        "-machine",
        "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-smp",
        "1",
        "-m",
        &format!("{MEMORY_MIB}M"),
        "-nodefaults",
        "-no-user-config",
        "-nographic",
        "-serial",
        "stdio",
        "-kernel",
        KERNEL,
        "-initrd",
        INITRAMFS,
        "-append",
        CMDLINE,
    ];
    Contender {
        name: "QEMU microvm".into(),
        argv: argv.map(str::to_owned).into(),
    }
}

/// QEMU, its libraries and its firmware, at their places on this host.
fn qemu_files() -> Result<Vec<PathBuf>> {
    let program = PathBuf::from("/usr/bin/qemu-system-x86_64");
    let output = Command::new("ldd")
        .arg(&program)
        .output()
        .context("cannot start ldd")?;
    let list = String::from_utf8(output.stdout)?;
    let libraries = list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    let firmware = QEMU_FIRMWARE
        .iter()
        .map(|name| Path::new(QEMU_DATA).join(name));
    Ok([program]
        .into_iter()
        .chain(libraries)
        .chain(firmware.filter(|path| path.exists()))
        .collect())
}

fn report(args: &BootArgs, plan: &Plan, samples: &[Sample], kernel: &str) -> TaskResult {
    let head = ["monitor", "instructions, best", "median", "worst"];
    let mut table = Table::new(&head);
    let mut rows = Vec::new();
    for contender in &plan.contenders {
        let mut figures: Vec<u64> = samples
            .iter()
            .filter(|sample| sample.name == contender.name)
            .map(|sample| sample.nanoseconds)
            .collect();
        figures.sort_unstable();
        let (Some(best), Some(worst)) = (figures.first(), figures.last()) else {
            anyhow::bail!("{} has no figures", contender.name);
        };
        let median = figures[figures.len() / 2];
        let millions = |number: u64| format!("{} M", number / 1_000_000);
        table.row(vec![
            contender.name.clone(),
            millions(*best),
            millions(median),
            millions(*worst),
        ]);
        rows.push(json!({
            "monitor": contender.name,
            "command": contender.argv,
            "instructions": figures,
        }));
    }
    print!("{table}");
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let qemu = qemu_version()?;
    let page = format!(
        "# Boot time\n\n\
         Measured by `cargo xtask bench boot`: instructions from the start of the monitor to the \
         first line of its guest's init, in the lab host, where one instruction takes one nanosecond \
         and waiting counts as well.\n\n{table}\n\
         Guest: Debian's Linux {kernel} as an ELF file, an uncompressed initramfs with BusyBox, 1 \
         vCPU, {MEMORY_MIB} MiB, `{CMDLINE}`; {} rounds, interleaved. Peer: {qemu}.\n",
        args.rounds,
    );
    let record = json!({
        "kernel": kernel,
        "cmdline": CMDLINE,
        "memory_mib": MEMORY_MIB,
        "qemu": qemu,
        "monitors": rows,
    });
    Results { page, record }.write("boot")?;
    Ok(ExitCode::SUCCESS)
}

fn qemu_version() -> Result<String> {
    let output = Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
