//! `cargo xtask demo`: a Debian guest from nothing but Rust and apt.
//!
//! On a host with hardware KVM the guest runs there. Elsewhere it runs in the lab host, which gives
//! the guest the same machine, only slower.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use muster_guest_images::{Cache, RootDisk, cmdline};
use muster_tests::child::{die_with_parent, status_number};
use muster_tests::images::GuestImages;
use muster_tests::lab::Lab;
use muster_tests::place::{equip, muster};
use muster_vmm::host::{Guests, survey};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::excerpt::Excerpt;
use crate::images::{self, AllImages};
use crate::{TaskResult, exit_code, packages};

/// Boot Debian on muster, with a shell on its console.
///
/// Ctrl-a x ends the guest, Ctrl-a h helps. What the guest writes to its disk is gone afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --exec 'uname -a; nproc; lsblk'"
)]
pub struct DemoArgs {
    /// Run this shell command in the guest, print its output and exit with its status.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Virtual CPUs.
    #[arg(long, default_value_t = 2, value_name = "N")]
    cpus: u32,
    /// Memory of the guest, like 512M or 1G.
    #[arg(long, default_value = "512M", value_name = "SIZE")]
    memory: String,
}

/// What stands before and after the command's output on the console.
const BEGIN: &str = "\x02output\x02";
const END: &str = "\x03output\x03";

/// The root disk, as the lab has it.
const LAB_DISK: &str = "/dev/vda";
/// The root disk, as the guest has it.
const GUEST_DISK: &str = "/dev/vda";

/// Memory of the lab beside the guest's.
const LAB_MEMORY_MIB: u32 = 1024;

/// Runs the task.
pub fn run(args: &DemoArgs) -> TaskResult {
    let here = survey().guests == Guests::All;
    if !here {
        packages::ensure_installed(&[packages::QEMU])?;
    }
    let images = images::prepare()?;
    if !here {
        eprintln!(
            "xtask: no usable hardware KVM here: the guest runs in the lab host, which takes a while"
        );
    }
    if args.exec.is_none() {
        eprintln!("xtask: booting Debian; Ctrl-a x ends it, Ctrl-a h helps");
    }
    let status = match (&args.exec, here) {
        (None, true) => return shell_here(args, &images),
        (None, false) => shell_in_lab(args, &images)?,
        (Some(command), true) => exec_here(args, &images, command)?,
        (Some(command), false) => exec_in_lab(args, &images, command)?,
    };
    Ok(exit_code(status))
}

/// Words of `muster run` and its options.
fn arguments(args: &DemoArgs, images: &GuestImages, disk: &str, cmdline: &str) -> Vec<String> {
    let path = |path: &std::path::Path| path.display().to_string();
    [
        "run",
        "--kernel",
        &path(&images.vmlinux),
        "--initrd",
        &path(&images.initramfs),
        "--disk",
        disk,
        "--cpus",
        &args.cpus.to_string(),
        "--memory",
        &args.memory,
        "--on-reboot",
        if args.exec.is_some() {
            "exit"
        } else {
            "restart"
        },
        "--cmdline",
        cmdline,
    ]
    .map(str::to_owned)
    .into()
}

/// Kernel parameters for a person: the whole system on the disk.
fn shell_words() -> String {
    format!("quiet {}", cmdline::root(GUEST_DISK))
}

/// Kernel parameters for a command. It runs in the disk's system, but without starting that system's
/// services, on a console that nobody else writes to and that leaves line ends alone.
fn exec_words(command: &str) -> String {
    let quoted = format!("'{}'", command.replace('\'', r"'\''"));
    let script = format!(
        "stty -opost; mount -t ext4 {GUEST_DISK} /mnt || exit 125; \
         for dir in dev proc sys; do mount --rbind /$dir /mnt/$dir; done; \
         printf '{BEGIN}'; chroot /mnt /bin/sh -c {quoted}; status=$?; printf '{END}'; exit $status"
    );
    format!("quiet loglevel=0 {}", cmdline::exec(script))
}

/// Becomes `muster run`, which then has the terminal to itself.
fn shell_here(args: &DemoArgs, images: &AllImages) -> TaskResult {
    let disk = scratch_copy(&images.root_disk)?;
    // It stays open in muster, the only name that the copy has.
    fcntl(&disk, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot pass on the disk")?;
    let arguments = arguments(args, &images.guest, &own_path(&disk), &shell_words());
    Err(Command::new(muster()).args(arguments).exec()).context("cannot start muster")
}

fn exec_here(args: &DemoArgs, images: &AllImages, command: &str) -> Result<i32> {
    let disk = scratch_copy(&images.root_disk)?;
    fcntl(&disk, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot pass on the disk")?;
    let arguments = arguments(args, &images.guest, &own_path(&disk), &exec_words(command));
    let mut muster = Command::new(muster());
    muster
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    die_with_parent(&mut muster);
    let mut child = muster.spawn().context("cannot start muster")?;
    let mut excerpt = Excerpt::new(io::stdout(), BEGIN, END);
    let mut console = child
        .stdout
        .take()
        .context("muster has no standard output")?;
    io::copy(&mut console, &mut excerpt).context("cannot pass on the output")?;
    let began = excerpt.has_begun();
    excerpt.finish()?;
    let status = status_number(child.wait()?);
    ensure!(
        began,
        "the guest did not come to run the command (status {status})"
    );
    Ok(status)
}

fn shell_in_lab(args: &DemoArgs, images: &AllImages) -> Result<i32> {
    let lab = lab(args, images, &shell_words())?.stdin();
    Ok(lab.run(&images.cache)?.status)
}

fn exec_in_lab(args: &DemoArgs, images: &AllImages, command: &str) -> Result<i32> {
    let mut excerpt = Excerpt::new(io::stdout(), BEGIN, END);
    let lab = lab(args, images, &exec_words(command))?;
    let outcome = lab.run_to(&images.cache, &mut excerpt, &mut io::stderr())?;
    let began = excerpt.has_begun();
    excerpt.finish()?;
    ensure!(
        began,
        "the guest did not come to run the command (status {})",
        outcome.status
    );
    Ok(outcome.status)
}

/// A lab that is to run the guest.
fn lab(args: &DemoArgs, images: &AllImages, cmdline: &str) -> Result<Lab> {
    let mut argv = vec!["muster".to_owned()];
    argv.extend(arguments(args, &GuestImages::in_lab(), LAB_DISK, cmdline));
    let lab = equip(Lab::new(argv), &images.guest, muster());
    Ok(lab
        .disk(&images.root_disk.image)
        .memory_mib(LAB_MEMORY_MIB + mib(&args.memory)?)
        .signals())
}

/// A copy of the root disk that the guest may write to. It has no name and goes with its last user.
fn scratch_copy(disk: &RootDisk) -> Result<File> {
    let dir = Cache::open_default()?.dir().to_owned();
    let path = dir.join(format!("demo-{}.raw", std::process::id()));
    disk.copy_to(&path)?;
    let file = File::options().read(true).write(true).open(&path);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// A path that leads a process to its own open file, whatever the file's name.
fn own_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A size like `512M` in MiB.
fn mib(size: &str) -> Result<u32> {
    let (number, unit) = size.split_at(size.len().saturating_sub(1));
    let factor = match unit {
        "M" => 1,
        "G" => 1024,
        _ => anyhow::bail!("{size} is no size of memory: expected one like 512M or 1G"),
    };
    let number: u32 = number
        .parse()
        .with_context(|| format!("{size} is no size of memory"))?;
    number
        .checked_mul(factor)
        .with_context(|| format!("{size} is too much memory"))
}
