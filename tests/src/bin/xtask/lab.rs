//! `cargo xtask lab`: a shell or a command in the lab host.

use std::time::Duration;

use clap::Args;
use muster_guest_images::Cache;
use muster_tests::images::GuestImages;
use muster_tests::lab::Lab;
use muster_tests::place::equip;

use crate::build;
use crate::{TaskResult, exit_code, packages};

/// Run a command, or a shell, in the lab host: a machine with real KVM, emulated by QEMU.
///
/// `muster` is in the path there, and /lab/images has what its guests boot from: vmlinuz, vmlinux
/// and initramfs.cpio. Without a command you get a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask lab\n  cargo xtask lab -- muster doctor\n  \
    cargo xtask lab -- muster run --kernel /lab/images/vmlinux --initrd /lab/images/initramfs.cpio"
)]
pub struct LabArgs {
    /// CPUs of the lab. With more than one, QEMU before 8.1 stands still now and then.
    #[arg(long, default_value_t = 1, value_name = "N")]
    cpus: u32,
    /// Memory of the lab in MiB.
    #[arg(long, default_value_t = 3072, value_name = "MIB")]
    memory: u32,
    /// Count time in instructions, one nanosecond each, on one CPU.
    #[arg(long)]
    icount: bool,
    /// Take the optimised build of muster.
    #[arg(long)]
    release: bool,
    /// Neither build muster nor put it into the lab.
    #[arg(long, conflicts_with = "release")]
    bare: bool,
    /// Run the command as an ordinary user in group kvm.
    #[arg(long)]
    user: bool,
    /// Print where the time went to standard error.
    #[arg(long)]
    times: bool,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Put a file into the lab.
    #[arg(long = "file", value_name = "HOST:LAB", value_parser = parse_file)]
    files: Vec<(String, String)>,
    /// The command and its arguments.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

fn parse_file(text: &str) -> Result<(String, String), String> {
    let (host, lab) = text.split_once(':').ok_or("expected HOST:LAB")?;
    Ok((host.to_owned(), lab.to_owned()))
}

/// Runs the task.
pub fn run(args: &LabArgs) -> TaskResult {
    packages::ensure_installed(&[packages::QEMU])?;
    let cache = Cache::open_default()?;
    let command = if args.command.is_empty() {
        vec!["sh".to_owned()]
    } else {
        args.command.clone()
    };
    let mut lab = Lab::new(command)
        .cpus(args.cpus)
        .memory_mib(args.memory)
        .stdin()
        .signals();
    if args.bare {
        build::lab_init()?;
    } else {
        let mut programs = build::programs()?;
        if args.release {
            programs = build::optimised(&["muster"])?;
        }
        let muster = programs.join("muster");
        lab = equip(lab, &GuestImages::prepare(&cache)?, muster);
    }
    for (host, path) in &args.files {
        lab = lab.file(host, path);
    }
    if args.icount {
        lab = lab.icount();
    }
    if args.user {
        lab = lab.as_user();
    }
    if let Some(seconds) = args.timeout {
        lab = lab.timeout(Duration::from_secs(seconds));
    }
    let outcome = lab.run(&cache)?;
    if args.times {
        let times = outcome.times;
        eprintln!(
            "xtask: lab {:.2?}, command {:.2?}",
            times.start, times.command
        );
    }
    Ok(exit_code(outcome.status))
}
