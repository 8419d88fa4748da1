//! The life of a VM: built, run, restarted if the guest asks for it, and taken down.
//!
//! Disks and console are opened once and outlive restarts; everything else is made anew, so that a
//! reboot starts from the same state as the first boot.

use std::io;
use std::sync::Arc;

use muster_devices::Action;
use muster_devices::disk::Disk;
use muster_devices::disk::raw::{OpenDiskError, RawDisk, RawDiskSpec};
use nix::sys::signal::Signal;
use thiserror::Error;

use crate::boot::{self, BootError};
use crate::console::escape::{self, Command};
use crate::console::terminal::RawMode;
use crate::console::{Console, ConsoleError};
use crate::control::{Event, Signals};
use crate::host::{self, KvmKind};
use crate::kvm::{self, KvmError, VcpuFailure};
use crate::machine::{Machine, MachineError, RunningMachine};
use crate::spec::{OnReboot, VmSpec};
use crate::vcpu::VcpuEnd;

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEnd {
    /// It switched itself off. `status` is what it wrote to the exit-status port, 0 if nothing.
    PowerOff {
        /// The guest's exit status.
        status: u8,
    },
    /// It asked for a reset, and [`OnReboot::Exit`] was set.
    Reset,
    /// Its processor shut down after a triple fault, and [`OnReboot::Exit`] was set.
    TripleFault,
    /// The person at the console ended it.
    Quit,
    /// A second termination signal ended it.
    Killed(Signal),
}

/// A VM could not be started, or could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// KVM is missing or refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The machine cannot be built or started.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The kernel cannot be looked at.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] OpenDiskError),
    /// The console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// A stock kernel where ring 0 is emulated.
    #[error(
        "this host's KVM (kvm-pvm) cannot run an unmodified Linux kernel: use a host with VT-x or \
         AMD-V, or the lab host (`cargo xtask lab`)"
    )]
    LinuxOnPvm,
    /// The control loop.
    #[error("cannot watch for events")]
    Control(#[source] io::Error),
    /// KVM gave up on the guest.
    #[error("the guest cannot go on: {0}")]
    Vcpu(VcpuFailure),
    /// A defect of muster, reported by the panic's own message.
    #[error("a vCPU thread failed; this is a defect of muster")]
    Panicked,
    /// A vCPU thread does not come back, so the VM cannot be restarted.
    #[error("a vCPU thread is stuck in the host; the guest cannot be restarted")]
    Stuck,
}

/// Runs a VM until its guest ends.
///
/// Blocks SIGTERM, SIGINT and SIGHUP for the calling thread meanwhile: the first of them presses
/// the guest's power button, the second ends the VM.
pub fn run(spec: &VmSpec) -> Result<GuestEnd, RunError> {
    let signals = Signals::block().map_err(RunError::Control)?;
    let kvm = kvm::open()?;
    if host::kvm_kind() == KvmKind::Pvm && boot::is_linux(&spec.kernel)? {
        return Err(RunError::LinuxOnPvm);
    }
    let disks = open_disks(spec)?;
    let console = Console::open(&spec.console)?;
    let mut raw_mode = None;
    loop {
        let machine = Machine::new(&kvm, spec, &disks, &console)?;
        if console.reads_stdin() && raw_mode.is_none() {
            raw_mode = RawMode::enter().map_err(ConsoleError::Stdio)?;
        }
        let mut running = machine.start(&signals)?;
        let end = supervise(&mut running)?;
        let stopped = running.stop();
        match end {
            GuestEnd::Reset | GuestEnd::TripleFault if spec.on_reboot == OnReboot::Restart => {
                tracing::info!(?end, "the guest restarts");
                stopped.map_err(|_| RunError::Stuck)?;
            }
            end => return Ok(end),
        }
    }
}

fn open_disks(spec: &VmSpec) -> Result<Vec<Arc<dyn Disk>>, RunError> {
    let open = |disk: &crate::spec::DiskSpec| {
        let raw = RawDiskSpec {
            read_only: disk.read_only,
            serial: disk.serial.clone(),
        };
        Ok(Arc::new(RawDisk::open(&disk.path, &raw)?) as Arc<dyn Disk>)
    };
    spec.disks.iter().map(open).collect()
}

/// Answers events until the guest has ended.
fn supervise(machine: &mut RunningMachine) -> Result<GuestEnd, RunError> {
    let mut asked_to_end = false;
    loop {
        match machine.next_event().map_err(RunError::Control)? {
            Event::Vcpu(end) => return guest_end(end, machine.exit_status()),
            Event::Terminate(signal) if asked_to_end => return Ok(GuestEnd::Killed(signal)),
            Event::Terminate(signal) => {
                asked_to_end = true;
                tracing::warn!(
                    "{signal}: pressed the guest's power button; a second signal ends the VM at once"
                );
                machine.press_power_button();
            }
            Event::Command(Command::PowerButton) => machine.press_power_button(),
            Event::Command(Command::Quit) => return Ok(GuestEnd::Quit),
            Event::Command(Command::Help) => eprint!("{}", escape::HELP),
        }
    }
}

fn guest_end(end: VcpuEnd, status: u8) -> Result<GuestEnd, RunError> {
    match end {
        VcpuEnd::Action(Action::Shutdown) => Ok(GuestEnd::PowerOff { status }),
        VcpuEnd::Action(Action::Reset) => Ok(GuestEnd::Reset),
        VcpuEnd::Action(Action::None) => unreachable!("vCPUs report only what ends them"),
        VcpuEnd::TripleFault => Ok(GuestEnd::TripleFault),
        VcpuEnd::Failed(failure) => Err(RunError::Vcpu(failure)),
        VcpuEnd::Panicked => Err(RunError::Panicked),
    }
}
