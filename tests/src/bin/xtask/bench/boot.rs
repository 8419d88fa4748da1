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
use clap::{Args, ValueEnum};
use muster_guest_images::initramfs::Initramfs;
use muster_guest_images::{Busybox, Cache, Kernel, MinimalKernel};
use muster_tests::boot_timing::{Plan, Sample};
use muster_tests::lab::Lab;

use self::report::{BootedKernel, Series};
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
    /// Boot only this kernel.
    #[arg(long, value_enum)]
    kernel: Option<Guest>,
    /// Only print the tables.
    #[arg(long)]
    dry_run: bool,
}

/// The kernels that are booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Guest {
    /// Debian's kernel for virtual machines.
    Debian,
    /// A small one, compiled for this.
    Minimal,
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
    let mut guests = vec![Guest::Debian, Guest::Minimal];
    guests.retain(|guest| args.kernel.is_none_or(|only| only == *guest));
    // All is made before anything is measured.
    let kernels = guests.iter().map(|guest| guest.kernel(&cache));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
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
    let all = kernels.into_iter().map(|kernel| bench.series(kernel));
    let all = all.collect::<Result<Vec<_>>>()?;
    if !args.dry_run {
        let qemu = contenders::qemu_version()?;
        let results = Results {
            page: report::page(&all, args.rounds, &qemu),
            record: report::record(&all, &qemu),
        };
        results.write("boot")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Guest {
    fn kernel(self, cache: &Cache) -> Result<BootedKernel> {
        Ok(match self {
            Self::Debian => {
                let kernel = Kernel::debian_cloud(cache)?;
                BootedKernel {
                    title: "Debian's kernel",
                    about: "From Debian's `linux-image-cloud-amd64`, the ELF file inside its bzImage. \
                            At boot it tests its ciphers, unless `cryptomgr.notests` tells it not to.",
                    release: kernel.version,
                    vmlinux: kernel.vmlinux,
                }
            }
            Self::Minimal => {
                packages::ensure_installed(&packages::FOR_MINIMAL_KERNEL)?;
                let kernel = MinimalKernel::debian(cache)?;
                BootedKernel {
                    title: "A minimal kernel",
                    about: "Compiled from Debian's `linux-source` with what a guest of muster needs and \
                            little else (`guest-images/src/kernel/minimal.config`). It has no ciphers \
                            to test.",
                    release: kernel.version,
                    vmlinux: kernel.vmlinux,
                }
            }
        })
    }
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
    fn series(&self, kernel: BootedKernel) -> Result<Series> {
        eprintln!(
            "xtask: booting {} guests with Linux {} in the lab host, each of which may take minutes",
            self.plan.contenders.len() * self.plan.rounds as usize,
            kernel.release
        );
        let samples = self.boot(&kernel.vmlinux)?;
        let series = Series::new(kernel, &self.plan.contenders, &samples)?;
        println!("{}", series.section());
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
