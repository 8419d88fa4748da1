//! vCPU threads: one per vCPU, running the guest until it ends or is stopped.
//!
//! Locking: a vCPU thread takes a device's lock for the length of one register access, and never
//! holds two. It reports to the control loop through a channel, at most once, and then ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvm_bindings::kvm_msr_entry;
use muster_devices::{Action, Bus, THREAD_STACK_LEN};
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::Killable;

use crate::board::{Board, LockSeen};
use crate::gate::Gate;
use crate::guest_locks::{GuestLocks, LockReader};
use crate::kick::{self, Listening};
use crate::kvm::{Exit, KvmError, Vcpu, VcpuFailure};

/// How long dropping the vCPUs waits for a thread that is busy in the host.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the signal is sent again meanwhile: one that comes just before the thread enters some
/// other system call does not interrupt that call.
const STOP_RETRY: Duration = Duration::from_micros(200);

/// How long the threads have to begin, and how often that is looked at.
const START_TIMEOUT: Duration = Duration::from_secs(1);
const START_POLL: Duration = Duration::from_micros(100);

/// IA32_MISC_ENABLE, and its bit that says string instructions are fast.
const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
/// IA32_MTRR_DEF_TYPE: MTRRs on, memory is write-back. Without it Linux gives up PAT as well.
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;

/// The registers that firmware would have set on each processor.
pub fn firmware_msrs() -> [kvm_msr_entry; 2] {
    let msr = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    [
        msr(MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING),
        msr(MSR_MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK),
    ]
}

/// The two address spaces of the machine.
#[derive(Default)]
pub struct AddressSpaces {
    /// I/O ports.
    pub ports: Bus,
    /// Memory-mapped registers.
    pub mmio: Bus,
}

/// Why a vCPU thread ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VcpuEnd {
    /// A device asked for it.
    Action(Action),
    /// Triple fault.
    TripleFault,
    /// KVM cannot go on.
    Failed(VcpuFailure),
    /// The thread panicked: a defect of muster.
    Panicked,
}

/// Answers one exit. `None`: on with the guest.
pub fn handle_exit(exit: Exit<'_>, spaces: &AddressSpaces) -> Option<VcpuEnd> {
    let action = match exit {
        Exit::PortRead { port, width, data } => {
            for access in data.chunks_mut(width.max(1)) {
                spaces.ports.read(u64::from(port), access);
            }
            Action::None
        }
        Exit::PortWrite { port, width, data } => data
            .chunks(width.max(1))
            .map(|access| spaces.ports.write(u64::from(port), access))
            .find(|action| *action != Action::None)
            .unwrap_or_default(),
        Exit::MmioRead { address, data } => {
            spaces.mmio.read(address, data);
            Action::None
        }
        Exit::MmioWrite { address, data } => spaces.mmio.write(address, data),
        Exit::Interrupted => Action::None,
        Exit::TripleFault => return Some(VcpuEnd::TripleFault),
        Exit::Failed(failure) => return Some(VcpuEnd::Failed(failure)),
    };
    (action != Action::None).then_some(VcpuEnd::Action(action))
}

/// Where vCPU threads report their end: a channel, and an eventfd that wakes the control loop.
#[derive(Debug, Clone)]
pub struct Reporter {
    sender: Sender<VcpuEnd>,
    wake: Arc<EventFd>,
}

impl Reporter {
    /// Reports through `sender`, then signals `wake`.
    pub fn new(sender: Sender<VcpuEnd>, wake: EventFd) -> Self {
        Self {
            sender,
            wake: Arc::new(wake),
        }
    }

    fn report(&self, end: VcpuEnd) {
        // Without a receiver the machine is being stopped already.
        if self.sender.send(end).is_ok() {
            self.wake.write(1).expect("an eventfd takes a small number");
        }
    }
}

/// Reports a panic while its thread unwinds.
struct PanicGuard<'a>(&'a Reporter);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.report(VcpuEnd::Panicked);
        }
    }
}

/// The vCPUs' threads could not be started.
#[derive(Debug, Error)]
pub enum StartVcpusError {
    /// KVM refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The host has no thread, descriptor or signal left.
    #[error("cannot start a vCPU thread")]
    Thread(#[source] io::Error),
}

/// All running vCPUs of one machine.
pub struct Vcpus {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A vCPU thread did not come out of the host in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Stuck;

impl Vcpus {
    /// Starts a thread for each of `vcpus`, which pass their gates on `board` and look at their
    /// guest's `locks` there. `stop` is set when they are to end.
    pub fn start(
        vcpus: Vec<Vcpu>,
        spaces: &Arc<AddressSpaces>,
        board: &Arc<Board>,
        locks: Option<&Arc<GuestLocks>>,
        reporter: &Reporter,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, StartVcpusError> {
        kick::install_handler().map_err(StartVcpusError::Thread)?;
        let mut started = Self {
            stop,
            threads: Vec::with_capacity(vcpus.len()),
        };
        for vcpu in vcpus {
            let reporter = reporter.clone();
            let (stop, spaces, board) = (started.stop.clone(), spaces.clone(), board.clone());
            let locks = locks.cloned().map(LockReader::new);
            let thread = thread::Builder::new()
                .name(format!("vcpu{}", vcpu.index()))
                .stack_size(THREAD_STACK_LEN)
                .spawn(move || run_vcpu(vcpu, &stop, &spaces, board, locks, &reporter))
                .map_err(StartVcpusError::Thread)?;
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// Waits until each thread has said on `board` which it is. One that does not has failed, and
    /// reports that itself.
    pub fn wait_until_known(&self, board: &Board) {
        let deadline = Instant::now() + START_TIMEOUT;
        let is_known = |index| board.cell(index).tid.load(Ordering::Acquire) != 0;
        while !(0..board.vcpus()).all(is_known) && Instant::now() < deadline {
            thread::sleep(START_POLL);
        }
    }

    /// Takes all vCPUs out of the guest and ends their threads. `Err` if one is still busy in the host
    /// after `timeout`; the process should then end without touching the machine again.
    pub fn stop(mut self, timeout: Duration) -> Result<(), Stuck> {
        self.halt(timeout)
    }

    fn halt(&mut self, timeout: Duration) -> Result<(), Stuck> {
        self.stop.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + timeout;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                if Instant::now() > deadline {
                    return Err(Stuck);
                }
                // Fails only if the thread has just ended.
                let _ = thread.kill(kick::signal());
                thread::park_timeout(STOP_RETRY);
            }
            // A panic was reported when it happened.
            let _ = thread.join();
        }
        Ok(())
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        if self.halt(DROP_TIMEOUT) == Err(Stuck) {
            tracing::warn!("a vCPU thread did not stop");
        }
    }
}

/// The body of a vCPU thread.
fn run_vcpu(
    mut vcpu: Vcpu,
    stop: &AtomicBool,
    spaces: &AddressSpaces,
    board: Arc<Board>,
    mut locks: Option<LockReader>,
    reporter: &Reporter,
) {
    let _guard = PanicGuard(reporter);
    let listening = match Listening::start(vcpu.page()) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(%error, "the host has no timer left for a vCPU");
            return reporter.report(VcpuEnd::Failed(VcpuFailure::NoTimer));
        }
    };
    let mut gate = Gate::new(board, vcpu.index());
    loop {
        // In this order: what changes from here on makes the next entry return.
        listening.clear();
        gate.pass(&listening, stop, || match &mut locks {
            Some(locks) => locks.look(&vcpu),
            None => LockSeen::Free,
        });
        if stop.load(Ordering::SeqCst) {
            return;
        }
        if let Some(end) = handle_exit(vcpu.run(), spaces) {
            if let VcpuEnd::TripleFault | VcpuEnd::Failed(_) = end {
                let rip = vcpu.instruction_pointer().unwrap_or_default();
                tracing::info!(
                    vcpu = vcpu.index(),
                    ?end,
                    rip = format_args!("{rip:#x}"),
                    "ended"
                );
            }
            return reporter.report(end);
        }
    }
}

#[cfg(test)]
mod tests;
