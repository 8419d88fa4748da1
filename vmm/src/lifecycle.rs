//! The life of a VM: built, run, restarted if the guest asks for it, and taken down.
//!
//! Disks and console are opened once and outlive restarts; everything else is made anew, so that a
//! reboot starts from the same state as the first boot.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_devices::Action;
use muster_devices::disk::Disk;
use muster_devices::disk::raw::{OpenDiskError, RawDisk, RawDiskSpec};
use nix::sys::signal::Signal;
use thiserror::Error;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::boot::{self, BootError};
use crate::console::escape::{self, Command};
use crate::console::terminal::RawMode;
use crate::console::{Console, ConsoleError};
use crate::control::signals::Signals;
use crate::control::{ControlLoop, Event};
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
         AMD-V, or the emulated one that `cargo xtask lab` starts in muster's source tree"
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

/// How long a final stop waits for a vCPU that is busy in the host, with a full pipe for instance.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The same before a restart, where it may be a slow disk.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a VM looks whether its node manager lives.
const NODE_PERIOD: Duration = Duration::from_millis(50);

/// Runs a VM until its guest ends.
///
/// While the guest runs, SIGTERM, SIGINT, SIGHUP and SIGQUIT do not end the process: the first of
/// them presses the guest's power button, the second ends the VM. After the first, a guest that
/// resets is not restarted.
pub fn run(spec: &VmSpec) -> Result<GuestEnd, RunError> {
    let kvm = kvm::open()?;
    if host::kvm_kind() == KvmKind::Pvm && boot::is_linux(&spec.kernel)? {
        return Err(RunError::LinuxOnPvm);
    }
    let disks = open_disks(spec)?;
    let mut console = Console::open(&spec.console, &files(spec))?;
    let room = EventFd::new(EFD_NONBLOCK).map_err(RunError::Control)?;
    let clone_room = || room.try_clone().map_err(RunError::Control);
    let mut machine = Machine::new(&kvm, spec, &disks, &console, clone_room()?)?;

    // From here on there is something to shut down, and a terminal to give back.
    let signals = Signals::block().map_err(RunError::Control)?;
    console.begin()?;
    let raw_mode = if console.reads_stdin() {
        RawMode::enter().map_err(ConsoleError::Stdio)?
    } else {
        None
    };
    let mut supervisor = Supervisor {
        control: ControlLoop::new(&signals, clone_room()?, console.reads_stdin())
            .map_err(RunError::Control)?,
        raw_mode,
        asked_to_end: false,
    };
    if spec.node.is_some() {
        let ticks = supervisor.control.tick_every(NODE_PERIOD);
        ticks.map_err(RunError::Control)?;
    }
    loop {
        let serial = machine.serial();
        let mut running = machine.start(supervisor.control.reporter())?;
        supervisor
            .control
            .attach(serial)
            .map_err(RunError::Control)?;
        let end = supervisor.supervise(&mut running)?;
        let resets = matches!(end, GuestEnd::Reset | GuestEnd::TripleFault);
        if !resets || spec.on_reboot == OnReboot::Exit || supervisor.asked_to_end {
            // Should the host hang now, one more signal ends the process.
            drop(supervisor);
            drop(signals);
            if running.stop(STOP_TIMEOUT).is_err() {
                tracing::warn!("a vCPU thread is still busy in the host");
            }
            return Ok(end);
        }
        tracing::info!(?end, "the guest restarts");
        running.stop(RESTART_TIMEOUT).map_err(|_| RunError::Stuck)?;
        supervisor
            .control
            .forget_vcpus()
            .map_err(RunError::Control)?;
        machine = Machine::new(&kvm, spec, &disks, &console, clone_room()?)?;
    }
}

/// All files that the guest is made of.
fn files(spec: &VmSpec) -> Vec<&Path> {
    let disks = spec.disks.iter().map(|disk| disk.path.as_path());
    let boot = [Some(spec.kernel.as_path()), spec.initrd.as_deref()];
    boot.into_iter().flatten().chain(disks).collect()
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

/// What outlives restarts of the guest: its operator's side.
struct Supervisor {
    control: ControlLoop,
    raw_mode: Option<RawMode>,
    /// A termination signal has come: the next one ends the VM.
    asked_to_end: bool,
}

impl Supervisor {
    /// Answers events until the guest has ended.
    fn supervise(&mut self, machine: &mut RunningMachine) -> Result<GuestEnd, RunError> {
        loop {
            match self.control.next().map_err(RunError::Control)? {
                Event::Vcpu(end) => return guest_end(end, machine.exit_status()),
                Event::Terminate(signal) if self.asked_to_end => {
                    return Ok(GuestEnd::Killed(signal));
                }
                Event::Terminate(signal) => {
                    self.asked_to_end = true;
                    tracing::warn!(
                        "{signal}: pressed the guest's power button; a second signal ends the VM \
                         at once"
                    );
                    machine.press_power_button();
                }
                Event::Tick => machine.look_after_node(),
                Event::Continued => self.enter_raw_mode_again(),
                Event::Command(Command::PowerButton) => machine.press_power_button(),
                Event::Command(Command::Quit) => return Ok(GuestEnd::Quit),
                // A terminal that has gone needs no help.
                Event::Command(Command::Help) => drop(write!(io::stderr(), "{}", escape::HELP)),
            }
        }
    }

    fn enter_raw_mode_again(&self) {
        if let Some(raw_mode) = &self.raw_mode
            && let Err(error) = raw_mode.enter_again()
        {
            tracing::warn!(%error, "the terminal is not in raw mode any more");
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
