//! A vCPU's gate: where the node manager holds it back.
//!
//! Problem: a vCPU must stop and go when another process says so, soon, without locks, and never stop
//! for good because that process has gone.
//!
//! Approach: the vCPU's thread looks at its [`VcpuCell`] before each entry into the guest, where it
//! holds no lock of the VMM. If the gate is closed it waits there, by a futex, until the wish changes,
//! the machine stops or the lease ends. Whoever closes the gate also signals the thread (`kick`).
//!
//! *Stop, then inspect*: a vCPU that is to stop may hold a spin lock that its siblings wait for.
//! Looking from outside and stopping then is too late: locks are taken and given back meanwhile. So
//! the thread itself looks once its vCPU stands still, and if a lock is held lets it go on for some
//! microseconds at a time, up to the grace that was allowed. Each time is half as long again as the one
//! before: most locks are free soon, and a guest that takes and leaves its lock in a rhythm is not met
//! in the same phase at every look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::futex;

use crate::board::{Board, LockSeen, Place, VcpuCell, is_closed, now_ns};
use crate::kick::Listening;

/// How long a vCPU that holds a lock goes on before it is looked at again, at first: longer than it takes to
/// leave the guest and enter it again.
const FIRST_STEP_NS: u64 = 30_000;
/// The most grace that is ever given.
const GRACE_NS_MAX: u64 = 500_000;

/// See the module's head. It belongs to the vCPU's thread.
pub struct Gate {
    board: Arc<Board>,
    index: u32,
    /// The last wish that was seen, and since when.
    wish: u32,
    wish_since_ns: u64,
    /// How long the vCPU was let go on at last after this wish; 0 if it was not.
    step_ns: u64,
}

impl Gate {
    /// The gate of vCPU number `index`, which this thread runs.
    pub fn new(board: Arc<Board>, index: u32) -> Self {
        let tid = nix::unistd::gettid().as_raw();
        let cell = board.cell(index);
        cell.tid.store(tid.cast_unsigned(), Ordering::Release);
        cell.place.store(Place::Guest as u32, Ordering::Release);
        Self {
            board,
            index,
            wish: 0,
            wish_since_ns: 0,
            step_ns: 0,
        }
    }

    /// Waits until the vCPU may enter the guest, or `stop` is set. To be called after
    /// [`Listening::clear`] and before the entry, so that no wish is missed. `look` tells what the
    /// vCPU is about, for a guest that does not say so itself.
    pub fn pass(
        &mut self,
        listening: &Listening,
        stop: &AtomicBool,
        mut look: impl FnMut() -> LockSeen,
    ) {
        loop {
            let cell = self.board.cell(self.index);
            let want = cell.want.load(Ordering::Acquire);
            if !is_closed(want) {
                if want != self.wish {
                    self.wish = want;
                    acknowledge(cell, want);
                }
                return;
            }
            let now = now_ns();
            if want != self.wish {
                self.wish = want;
                self.wish_since_ns = now;
                self.step_ns = 0;
            }
            if stop.load(Ordering::SeqCst) || self.board.lease_left_ns(now) == 0 {
                return;
            }
            let lock = match self.board.lock_told(self.index) {
                LockSeen::Free => look(),
                told => told,
            };
            if lock == LockSeen::Holding
                && let Some(step_ns) = self.grace_step(cell, now)
            {
                self.step_ns = step_ns;
                listening.alarm(Duration::from_nanos(step_ns));
                return;
            }
            let used = match self.step_ns {
                0 => 0,
                _ => now - self.wish_since_ns,
            };
            cell.lock.store(lock as u32, Ordering::Release);
            cell.grace_used_ns
                .store(u32::try_from(used).unwrap_or(u32::MAX), Ordering::Release);
            self.park(cell, want, stop);
        }
    }

    /// How long the vCPU may go on at once; `None` if its grace is used up.
    fn grace_step(&self, cell: &VcpuCell, now: u64) -> Option<u64> {
        let allowed = u64::from(cell.grace_ns.load(Ordering::Acquire)).min(GRACE_NS_MAX);
        let left = allowed.saturating_sub(now - self.wish_since_ns);
        (left > 0).then(|| next_step(self.step_ns).min(left))
    }

    fn park(&self, cell: &VcpuCell, want: u32, stop: &AtomicBool) {
        let began = now_ns();
        cell.parked_since_ns.store(began, Ordering::Release);
        cell.place.store(Place::Parked as u32, Ordering::Release);
        acknowledge(cell, want);
        while !stop.load(Ordering::SeqCst) && cell.want.load(Ordering::Acquire) == want {
            let left = self.board.lease_left_ns(now_ns());
            if left == 0 {
                break;
            }
            let timeout = rustix::time::Timespec {
                tv_sec: 0,
                // Less than a second: leases are short.
                tv_nsec: left as i64,
            };
            // Whatever wakes it, a signal or the timeout too, the loop looks again.
            let _ = futex::wait(&cell.want, futex::Flags::empty(), want, Some(&timeout));
        }
        cell.place.store(Place::Guest as u32, Ordering::Release);
        // Once the gate is open it is the kernel that the vCPU waits for, which counts that itself.
        let now = now_ns();
        let opened = cell.opened_ns.load(Ordering::Acquire);
        let end = if began <= opened {
            opened.min(now)
        } else {
            now
        };
        cell.parked_since_ns.store(0, Ordering::Release);
        cell.parked_ns.fetch_add(end - began, Ordering::Release);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let cell = self.board.cell(self.index);
        cell.place.store(Place::Ended as u32, Ordering::Release);
        // Nobody is to wait for an answer that will not come.
        acknowledge(cell, cell.want.load(Ordering::Acquire));
    }
}

/// How long a vCPU goes on after it went on for `step_ns` and holds a lock again, or still.
fn next_step(step_ns: u64) -> u64 {
    (step_ns * 3 / 2).max(FIRST_STEP_NS)
}

/// Tells the node manager that a wish is obeyed.
fn acknowledge(cell: &VcpuCell, want: u32) {
    cell.ack.store(want, Ordering::Release);
    // Fails only for an address that is no memory.
    let _ = futex::wake(&cell.ack, futex::Flags::empty(), u32::MAX);
}

#[cfg(test)]
mod tests;
