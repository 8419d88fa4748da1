//! `muster run`: one virtual machine, in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use muster_scheduler::vm::{WEIGHT_DEFAULT, WEIGHT_MAX};
use muster_vmm::boot::{Protocol, cmdline};
use muster_vmm::lifecycle::{self, GuestEnd};
use muster_vmm::node_link::{self, Hello, NodeSpec};
use muster_vmm::{ConsoleSpec, DiskSpec, OnReboot, VmSpec};

pub(crate) mod values;

/// The guest asked for a reset, with `--on-reboot exit`.
pub const STATUS_RESET: u8 = 3;
/// The guest's processor shut down after a triple fault, with `--on-reboot exit`.
pub const STATUS_TRIPLE_FAULT: u8 = 4;
/// The person at the console ended the guest: as if it were killed, 128 + SIGKILL.
pub const STATUS_QUIT: u8 = 137;

const AFTER_HELP: &str = "\
Examples:
  A kernel and an initramfs, console on this terminal:
    muster run --kernel vmlinuz --initrd initrd.img --cpus 2 --memory 1G

  A root disk that the guest may write to, and one that it may not:
    muster run --kernel vmlinuz --initrd initrd.img --cmdline root=/dev/vda \\
        --disk root.img --disk data.img,ro,serial=data

  A job whose exit status becomes muster's, with its console in a file:
    muster run --kernel vmlinux --initrd job.cpio --console file=job.log --on-reboot exit

  Scheduled together with other machines by the node manager on this host:
    muster node --sched gang &
    muster run --kernel vmlinuz --initrd initrd.img --cpus 2 --node --name web

Keys on the console:
  Ctrl-a h help, Ctrl-a x end the machine, Ctrl-a p power button, Ctrl-a a send Ctrl-a

Signals:
  The first SIGTERM, SIGINT, SIGHUP or SIGQUIT presses the guest's power button, the second ends it.

Exit status:
  0    the guest powered off (or the status that it wrote to port 0x501 before that)
  1    muster could not start the guest, or could not go on
  2    the command line is wrong
  3    the guest rebooted or panicked, with --on-reboot exit
  4    the guest's processor shut down (triple fault), with --on-reboot exit
  137  the machine was ended from the console
  128+N  a second signal N ended the machine";

/// Options of `muster run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    /// Kernel: a bzImage (vmlinuz) or a 64-bit ELF file (vmlinux)
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    kernel: PathBuf,

    /// Initrd or initramfs
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    initrd: Option<PathBuf>,

    /// Words added to the kernel's default command line; may be repeated
    #[arg(
        long,
        value_name = "WORDS",
        help_heading = "Boot",
        allow_hyphen_values = true
    )]
    cmdline: Vec<String>,

    /// The kernel's whole command line, instead of the default
    #[arg(
        long,
        value_name = "LINE",
        help_heading = "Boot",
        conflicts_with = "cmdline",
        allow_hyphen_values = true
    )]
    raw_cmdline: Option<String>,

    /// How an ELF kernel is entered
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "PROTOCOL",
        help_heading = "Boot"
    )]
    boot_protocol: EntryProtocol,

    /// Number of virtual CPUs, 1 to 64
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64),
        help_heading = "Machine"
    )]
    cpus: u32,

    /// Guest memory with its unit, like 512M or 5G; 64M or more
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "512M",
        value_parser = values::memory_bytes,
        help_heading = "Machine"
    )]
    memory: u64,

    /// A disk: a raw image file or block device; may be repeated (a comma in PATH is written twice)
    #[arg(
        long = "disk",
        value_name = "PATH[,ro][,serial=TEXT]",
        value_parser = values::disk,
        help_heading = "Machine"
    )]
    disks: Vec<DiskSpec>,

    /// The guest's console: tty (standard input and output), null, or file=PATH
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "tty",
        value_parser = values::console,
        help_heading = "Machine"
    )]
    console: ConsoleSpec,

    /// What a reboot or triple fault of the guest does
    #[arg(
        long,
        value_enum,
        value_name = "ACTION",
        default_value = "restart",
        help_heading = "Machine"
    )]
    on_reboot: RebootAction,

    /// The machine's name for the node manager [default: vm- and the process's number]
    #[arg(
        long,
        value_name = "NAME",
        value_parser = values::name,
        requires = "node",
        help_heading = "Scheduling"
    )]
    name: Option<String>,

    /// Have the node manager schedule the vCPUs; without PATH, the one at its usual place
    #[arg(
        long,
        value_name = "PATH",
        num_args = 0..=1,
        require_equals = true,
        help_heading = "Scheduling"
    )]
    node: Option<Option<PathBuf>>,

    /// Share of the host's CPUs beside other machines, 1 to 10000
    #[arg(
        long,
        value_name = "N",
        default_value_t = WEIGHT_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)),
        requires = "node",
        help_heading = "Scheduling"
    )]
    weight: u32,

    /// The most CPU time that the machine may use, in percent of one CPU
    #[arg(
        long,
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u32).range(1..=102_400),
        requires = "node",
        help_heading = "Scheduling"
    )]
    cap: Option<u32>,

    /// The host CPUs that the vCPUs may run on, like 0-3,8 [default: any]
    #[arg(
        long,
        value_name = "LIST",
        value_parser = values::cpu_list,
        requires = "node",
        help_heading = "Scheduling"
    )]
    host_cpus: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RebootAction {
    /// Boot the guest again
    Restart,
    /// End, with an exit status that tells why
    Exit,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EntryProtocol {
    /// The 64-bit Linux entry where the kernel has one, else PVH
    Auto,
    /// The 64-bit entry with Linux boot parameters
    Linux64,
    /// The PVH entry
    Pvh,
}

impl RunArgs {
    /// The machine that the command line describes.
    pub fn spec(&self) -> VmSpec {
        let on_reboot = match self.on_reboot {
            RebootAction::Restart => OnReboot::Restart,
            RebootAction::Exit => OnReboot::Exit,
        };
        let cmdline = match &self.raw_cmdline {
            Some(line) => line.clone(),
            None => cmdline::with_defaults(on_reboot, &self.cmdline),
        };
        VmSpec {
            cpus: self.cpus,
            memory_bytes: self.memory,
            kernel: self.kernel.clone(),
            protocol: match self.boot_protocol {
                EntryProtocol::Auto => Protocol::Auto,
                EntryProtocol::Linux64 => Protocol::Linux64,
                EntryProtocol::Pvh => Protocol::Pvh,
            },
            initrd: self.initrd.clone(),
            cmdline,
            disks: self.disks.clone(),
            console: self.console.clone(),
            on_reboot,
            node: self.node_spec(),
        }
    }

    fn node_spec(&self) -> Option<NodeSpec> {
        let path = self.node.as_ref()?.clone();
        let name = self.name.clone();
        Some(NodeSpec {
            socket: path.unwrap_or_else(node_link::default_socket),
            hello: Hello {
                protocol: node_link::PROTOCOL,
                name: name.unwrap_or_else(|| format!("vm-{}", std::process::id())),
                weight: self.weight,
                cap_percent: self.cap,
                cpus: self.host_cpus.clone(),
            },
        })
    }
}

/// Runs the machine and turns its end into an exit status.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let end = lifecycle::run(&args.spec())?;
    tracing::info!(?end, "the guest has ended");
    Ok(ExitCode::from(exit_status(end)))
}

fn exit_status(end: GuestEnd) -> u8 {
    match end {
        GuestEnd::PowerOff { status } => status,
        GuestEnd::Reset => STATUS_RESET,
        GuestEnd::TripleFault => STATUS_TRIPLE_FAULT,
        GuestEnd::Quit => STATUS_QUIT,
        GuestEnd::Killed(signal) => 128 + signal as u8,
    }
}

#[cfg(test)]
mod tests;
