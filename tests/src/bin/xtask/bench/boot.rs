//! `cargo xtask bench boot`: instructions from a monitor's start to the first line of its guest's
//! init.
//!
//! The lab counts time in instructions here, so the figures do not depend on this host's speed or
//! load; time that a monitor or guest spends waiting counts as well. All contenders boot the same
//! kernel with the same initramfs on one virtual CPU. The words of the kernel's command line matter
//! as well, so each monitor's guest gets both muster's and the usual ones: that tells what the words
//! do from what the monitor does.

mod contenders;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_guest_images::initramfs::Initramfs;
use muster_guest_images::{Busybox, Cache, Kernel};
use muster_tests::boot_timing::{Plan, Sample};
use muster_tests::lab::Lab;

use self::report::Figures;
use super::results::Results;
use crate::{TaskResult, build, packages};

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

const TIMER: &str = "/lab/bin/boot-timer";

/// The longest that a sensible number of rounds takes.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs the task.
pub fn run(args: &BootArgs) -> TaskResult {
    packages::ensure_installed(&[packages::QEMU])?;
    ensure!(args.rounds > 0, "no rounds, no figures");
    let programs = build::optimised(&["muster", "boot-timer"])?;
    let cache = Cache::open_default()?;
    let kernel = Kernel::debian_cloud(&cache)?;
    let script = format!("echo {MARKER}\nbusybox poweroff -f\n");
    let initramfs = Initramfs::minimal(&Busybox::debian(&cache)?, &script)?;
    let plan = Plan {
        contenders: contenders::all(),
        rounds: args.rounds,
        marker: MARKER.to_owned(),
    };
    let mut lab = Lab::new([TIMER, &serde_json::to_string(&plan)?])
        .icount()
        .timeout(TIMEOUT)
        .file(&kernel.vmlinux, contenders::KERNEL)
        .file(&initramfs.build(&cache, "bench")?, contenders::INITRAMFS)
        .file(programs.join("muster"), contenders::MUSTER)
        .file(programs.join("boot-timer"), TIMER);
    for path in contenders::qemu_files()? {
        let there = path.display().to_string();
        lab = lab.file(path, there);
    }
    eprintln!(
        "xtask: booting {} guests in the lab host, a minute or two each",
        plan.contenders.len() * plan.rounds as usize
    );
    let figures = Figures::new(&plan.contenders, &boot(&lab, &cache)?)?;
    print!("{}", figures.table());
    if !args.dry_run {
        let qemu = contenders::qemu_version()?;
        let results = Results {
            page: report::page(&figures, args.rounds, &kernel.version, &qemu),
            record: report::record(&figures, &kernel.version, &qemu),
        };
        results.write("boot")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has everyone boot their guests.
fn boot(lab: &Lab, cache: &Cache) -> Result<Vec<Sample>> {
    let output = lab.output(cache)?;
    ensure!(
        output.outcome.status == 0,
        "boot-timer failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("boot-timer's answer is not valid")
}
