//! `cargo xtask bench boot`: instructions from a monitor's start to the first line of its guest's
//! init.
//!
//! The lab counts time in instructions here, so the figures do not depend on this host's speed or
//! load; time that a monitor or guest spends waiting counts as well. All contenders boot the same
//! kernel with the same initramfs on one virtual CPU. Two things besides the monitor decide how long
//! that takes, so they are told apart: the kernel, of which there are two, and the words of its
//! command line, of which each monitor gets both muster's and the usual ones.

mod contenders;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_guest_images::initramfs::Initramfs;
use muster_guest_images::{Busybox, Cache, Kernel, MinimalKernel};
use muster_tests::boot_timing::{Plan, Sample};
use muster_tests::lab::Lab;

use self::report::Series;
use super::results::Results;
use crate::{TaskResult, build, packages};

/// Count instructions from the start of a monitor to the first line of its guest's init.
///
/// Compares muster with QEMU's microvm, both in the lab host with time counted in instructions, for
/// Debian's kernel and for a minimal one, and writes docs/results/boot.md and boot.json.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// How often each contender runs.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Only print the tables.
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
    packages::ensure_installed(&packages::FOR_MINIMAL_KERNEL)?;
    ensure!(args.rounds > 0, "no rounds, no figures");
    let programs = build::optimised(&["muster", "boot-timer"])?;
    let cache = Cache::open_default()?;
    let debian = Kernel::debian_cloud(&cache)?;
    let minimal = MinimalKernel::debian(&cache)?;
    let script = format!("echo {MARKER}\nbusybox poweroff -f\n");
    let initramfs = Initramfs::minimal(&Busybox::debian(&cache)?, &script)?;
    let bench = Bench {
        plan: Plan {
            contenders: contenders::all(),
            rounds: args.rounds,
            marker: MARKER.to_owned(),
        },
        initramfs: &initramfs.build(&cache, "bench")?,
        programs: &programs,
        cache: &cache,
    };
    let about_debian = format!(
        "Linux {} of Debian's `linux-image-cloud-amd64`, the ELF file from inside its bzImage. By \
         default it tests its ciphers at boot, which `cryptomgr.notests` leaves out.",
        debian.version
    );
    let about_minimal = format!(
        "Linux {} compiled from Debian's `linux-source` with what a guest of muster needs and nothing \
         else (`guest-images/src/kernel/minimal.config`). It has no ciphers to test, so the words \
         matter little and the monitors much.",
        minimal.version
    );
    let all = [
        bench.series(
            "Debian's kernel",
            about_debian,
            debian.version,
            &debian.vmlinux,
        )?,
        bench.series(
            "A minimal kernel",
            about_minimal,
            minimal.version,
            &minimal.vmlinux,
        )?,
    ];
    if !args.dry_run {
        let qemu = contenders::qemu_version()?;
        let results = Results {
            page: report::page(&all, args.rounds, &qemu)?,
            record: report::record(&all, &qemu),
        };
        results.write("boot")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the boots of all kernels have in common.
#[derive(Debug)]
struct Bench<'a> {
    plan: Plan,
    initramfs: &'a Path,
    programs: &'a Path,
    cache: &'a Cache,
}

impl Bench<'_> {
    /// Has everyone boot this kernel, and prints their table.
    fn series(
        &self,
        title: &'static str,
        about: String,
        release: String,
        vmlinux: &Path,
    ) -> Result<Series> {
        eprintln!(
            "xtask: Linux {release}: booting {} guests in the lab host, which takes minutes",
            self.plan.contenders.len() * self.plan.rounds as usize
        );
        let samples = self.boot(vmlinux)?;
        let series = Series::new(title, about, release, &self.plan.contenders, &samples)?;
        println!("{title}, Linux {}\n\n{}", series.release, series.table()?);
        Ok(series)
    }

    fn boot(&self, vmlinux: &Path) -> Result<Vec<Sample>> {
        let mut lab = Lab::new([TIMER, &serde_json::to_string(&self.plan)?])
            .icount()
            .timeout(TIMEOUT)
            .file(vmlinux, contenders::KERNEL)
            .file(self.initramfs, contenders::INITRAMFS)
            .file(self.programs.join("muster"), contenders::MUSTER)
            .file(self.programs.join("boot-timer"), TIMER);
        for path in contenders::qemu_files()? {
            let there = path.display().to_string();
            lab = lab.file(path, there);
        }
        let output = lab.output(self.cache)?;
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
}
