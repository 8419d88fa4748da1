//! A vCPU of a VM that has joined, as the manager and the agents share it.
//!
//! Locks: the mutex around the last wish. It is held for a few stores and a signal.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use muster_scheduler::{CpuId, VcpuId, VmId};
use muster_vmm::board::{Board, LockSeen, Place, VcpuCell, is_closed, now_ns};
use muster_vmm::kick;
use muster_vmm::thread_schedule::set_affinity;
use nix::errno::Errno;
use rustix::thread::futex;

use crate::enforcement::Enforcement;
use crate::thread::{KernelTimes, Thread};

/// No CPU.
const NOWHERE: u32 = u32::MAX;
/// How long one waits before it asks again: a signal cannot get lost, but a thread can be slow.
const ASK_AGAIN_NS: u64 = 1_000_000;

/// See the module's head.
#[derive(Debug)]
pub struct Seat {
    /// The engine's name for it.
    pub id: VcpuId,
    /// Its VM.
    pub vm: VmId,
    /// People's name for it: `web/1`.
    pub name: String,
    /// Its number within its VM.
    pub index: u32,
    /// How the schedule is enforced on it.
    pub enforcement: Enforcement,
    board: Arc<Board>,
    thread: Thread,
    /// The last wish that was written to its gate.
    wish: Mutex<u32>,
    /// Which agent has it. A futex.
    cpu: AtomicU32,
    /// The only CPU that its thread is bound to.
    bound: AtomicU32,
    /// It waits for an interrupt, as the manager last saw.
    halted: AtomicBool,
    /// Its VM has left: nobody answers any more.
    gone: AtomicBool,
    /// How often it was stopped.
    pub preemptions: AtomicU64,
    /// How often it held a lock then.
    pub holder_preemptions: AtomicU64,
}

impl Seat {
    /// The seat of vCPU number `index` of a VM. That `thread` is what runs it, has been checked.
    pub fn new(
        (vm, id): (VmId, VcpuId),
        name: String,
        index: u32,
        enforcement: Enforcement,
        (board, thread): (Arc<Board>, Thread),
    ) -> Self {
        let wish = board.cell(index).want.load(Ordering::Acquire);
        Self {
            id,
            vm,
            name,
            index,
            enforcement,
            board,
            thread,
            wish: Mutex::new(wish),
            cpu: AtomicU32::new(NOWHERE),
            bound: AtomicU32::new(NOWHERE),
            halted: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            preemptions: AtomicU64::new(0),
            holder_preemptions: AtomicU64::new(0),
        }
    }

    fn cell(&self) -> &VcpuCell {
        self.board.cell(self.index)
    }

    /// Its thread.
    pub fn tid(&self) -> u32 {
        self.thread.tid
    }

    /// What the kernel has counted for its thread.
    pub fn kernel_times(&self) -> Option<KernelTimes> {
        self.thread.times()
    }

    /// How long it has waited at its gate.
    pub fn parked_ns(&self) -> u64 {
        self.cell().parked_until(now_ns())
    }

    /// What it shares with its VM.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// It waits for an interrupt, as was last seen.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// What was seen.
    pub fn set_halted(&self, halted: bool) {
        self.halted.store(halted, Ordering::Release);
    }

    /// Nobody needs to wait for it any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// It runs, or would: to stop it takes closing its gate.
    pub fn can_be_stopped(&self) -> bool {
        !self.is_halted() && !self.is_gone()
    }

    /// Its VM has left, or its thread has ended.
    pub fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// The vCPU waits at its gate.
    pub fn is_parked(&self) -> bool {
        self.cell().place.load(Ordering::Acquire) == Place::Parked as u32
    }

    /// It runs although its gate is to be closed: its lease had ended.
    pub fn has_escaped(&self) -> bool {
        let cell = self.cell();
        let want = cell.want.load(Ordering::Acquire);
        is_closed(want) && cell.ack.load(Ordering::Acquire) == want && !self.is_parked()
    }

    /// Its gate is to be closed.
    pub fn is_closed(&self) -> bool {
        is_closed(*self.wish())
    }

    fn wish(&self) -> std::sync::MutexGuard<'_, u32> {
        // Whoever panics while it holds this takes the process along.
        self.wish.lock().expect("no holder panics")
    }

    /// Opens its gate.
    pub fn open(&self) {
        let mut wish = self.wish();
        if is_closed(*wish) {
            *wish = wish.wrapping_add(1);
            self.cell().opened_ns.store(now_ns(), Ordering::Release);
            self.cell().want.store(*wish, Ordering::Release);
            // Fails only for an address that is no memory.
            let _ = futex::wake(&self.cell().want, futex::Flags::empty(), 1);
        }
    }

    /// Has its gate closed, and says which wish that is. The vCPU may go on for `grace_ns` while it
    /// holds a lock.
    pub fn close(&self, grace_ns: u64) -> u32 {
        let mut wish = self.wish();
        if !is_closed(*wish) {
            *wish = wish.wrapping_add(1);
            let grace = u32::try_from(grace_ns).unwrap_or(u32::MAX);
            self.cell().grace_ns.store(grace, Ordering::Release);
            self.cell().want.store(*wish, Ordering::Release);
            self.kick();
        }
        *wish
    }

    /// Makes the vCPU look at its gate.
    pub fn kick(&self) {
        match self.thread.signal(kick::signal()) {
            Ok(()) => {}
            // It has ended; the connection will say so.
            Err(Errno::ESRCH) => self.set_gone(),
            Err(error) => tracing::warn!(vcpu = self.name, %error, "cannot signal a vCPU"),
        }
    }

    /// Waits until the vCPU has obeyed `want`, until `deadline_ns` at most. Tells whether it has.
    pub fn wait_obeyed(&self, want: u32, deadline_ns: u64) -> bool {
        let mut ask_again = now_ns() + ASK_AGAIN_NS;
        loop {
            let ack = self.cell().ack.load(Ordering::Acquire);
            if ack == want || self.is_gone() {
                return true;
            }
            let now = now_ns();
            if now >= deadline_ns {
                return false;
            }
            if now >= ask_again {
                self.kick();
                ask_again = now + ASK_AGAIN_NS;
            }
            wait(&self.cell().ack, ack, deadline_ns.min(ask_again) - now);
        }
    }

    /// How much of its grace it used, and what it was about, when it last stopped.
    pub fn last_stop(&self) -> (u64, LockSeen) {
        let used = self.cell().grace_used_ns.load(Ordering::Acquire);
        (used.into(), LockSeen::of(self.cell()))
    }

    /// Who has it.
    pub fn cpu(&self) -> Option<CpuId> {
        match self.cpu.load(Ordering::Acquire) {
            NOWHERE => None,
            cpu => Some(CpuId(cpu as u16)),
        }
    }

    /// An agent takes it, once no other has it; until `deadline_ns` at most. Tells whether it did.
    pub fn take(&self, cpu: CpuId, deadline_ns: u64) -> bool {
        loop {
            let taken = self.cpu.compare_exchange(
                NOWHERE,
                cpu.0.into(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            let Err(holder) = taken else { return true };
            let now = now_ns();
            if holder == u32::from(cpu.0) || now >= deadline_ns {
                return holder == u32::from(cpu.0);
            }
            wait(&self.cpu, holder, deadline_ns - now);
        }
    }

    /// The agent of `cpu` gives it away, unless it has done so before.
    pub fn release_from(&self, cpu: CpuId) {
        let had =
            self.cpu
                .compare_exchange(cpu.0.into(), NOWHERE, Ordering::AcqRel, Ordering::Acquire);
        if had.is_ok() {
            let _ = futex::wake(&self.cpu, futex::Flags::empty(), u32::MAX);
        }
    }

    /// Binds its thread to one CPU. Failure is worth a word, not more: the vCPU runs elsewhere.
    pub fn bind(&self, cpu: CpuId) {
        if self.bound.swap(cpu.0.into(), Ordering::AcqRel) != u32::from(cpu.0)
            && let Err(error) = set_affinity(self.tid(), &[cpu.index()])
        {
            self.forget_binding();
            tracing::debug!(vcpu = self.name, %error, "cannot bind a vCPU to {cpu}");
        }
    }

    /// Its thread has been bound to something else by somebody else.
    pub fn forget_binding(&self) {
        self.bound.store(NOWHERE, Ordering::Release);
    }
}

/// Waits until `word` is no more `value`, or for so long.
fn wait(word: &AtomicU32, value: u32, timeout_ns: u64) {
    let timeout = rustix::time::Timespec {
        tv_sec: (timeout_ns / 1_000_000_000) as i64,
        tv_nsec: (timeout_ns % 1_000_000_000) as i64,
    };
    // Whatever wakes it, the caller looks again.
    let _ = futex::wait(word, futex::Flags::empty(), value, Some(&timeout));
}

#[cfg(test)]
mod tests;
