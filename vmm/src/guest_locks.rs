//! What an unmodified Linux guest's vCPUs hold: read in the guest's memory.
//!
//! Problem: who takes a CPU from a vCPU that holds a spin lock has to know that it does, and a stock
//! kernel tells nobody.
//!
//! Approach: Linux counts, per processor, what forbids it to exchange tasks: spin locks among others.
//! A vCPU's thread reads that word when its vCPU stands still ([`LockReader`]). Where the word is, the
//! kernel itself says: it carries a description of its types (BTF). It is looked for in memory, by a
//! thread for that alone, once a vCPU has been seen to run a kernel. In memory, and not in the file
//! that the guest was started from, because there it is unpacked, whatever it was packed with, and
//! because what counts is the kernel that runs.
//!
//! All that is read there may be anything. So every length is bounded, what follows from nonsense is
//! that muster stops looking ([`Unseen`] says why), and the only thing that a guest can gain by a lie is
//! the grace that its policy grants to holders.
//!
//! Locks: none. Threads share one cell that is filled once, a number that only grows, and a channel.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use muster_devices::memory::GuestRam;
use vm_memory::GuestAddress;

use crate::board::{Board, LockSource, Unseen};

mod btf;
mod image;
mod per_cpu;
mod reader;
#[cfg(test)]
mod testing;

pub use image::find_per_cpu;
pub use per_cpu::{PerCpu, Task};
pub use reader::{LockReader, Standing, Stopped};

/// What the threads of one guest share.
#[derive(Debug)]
pub struct GuestLocks {
    ram: GuestRam,
    board: Arc<Board>,
    /// Where the kernel's code is goes here, once.
    finder: SyncSender<Option<GuestAddress>>,
    is_asked: AtomicBool,
    per_cpu: OnceLock<PerCpu>,
}

/// The thread that looks for the kernel's types. Dropping it waits for its end, which takes a moment.
#[derive(Debug)]
pub struct Finder {
    locks: Arc<GuestLocks>,
    thread: Option<JoinHandle<()>>,
}

impl Finder {
    /// Begins to look at a guest of which it is known that it boots Linux.
    pub fn start(ram: GuestRam, board: Arc<Board>) -> io::Result<Self> {
        let (finder, asked) = sync_channel(1);
        board.set_lock_source(LockSource::Awaited);
        let locks = Arc::new(GuestLocks {
            ram,
            board,
            finder,
            is_asked: AtomicBool::new(false),
            per_cpu: OnceLock::new(),
        });
        let own = locks.clone();
        let thread = thread::Builder::new()
            .name("locks".into())
            .spawn(move || find(&own, &asked))?;
        let thread = Some(thread);
        Ok(Self { locks, thread })
    }

    /// What vCPUs' threads need.
    pub fn locks(&self) -> &Arc<GuestLocks> {
        &self.locks
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        // If there is no room it has been asked, and ends by itself.
        let _ = self.locks.finder.try_send(None);
        if let Some(thread) = self.thread.take() {
            // Whoever panicked has said so.
            let _ = thread.join();
        }
    }
}

impl GuestLocks {
    /// Where the count is, if that is known and worth looking at.
    fn per_cpu(&self) -> Option<PerCpu> {
        let is_read = self.board.lock_source() == LockSource::Linux;
        self.per_cpu.get().copied().filter(|_| is_read)
    }

    /// Whether nobody has seen the kernel yet.
    fn is_awaited(&self) -> bool {
        !self.is_asked.load(Ordering::Acquire)
    }

    /// The kernel has code at `address`.
    fn look_at(&self, address: GuestAddress) {
        if !self.is_asked.swap(true, Ordering::AcqRel) {
            // There is room for one. Without a receiver the machine is ending.
            let _ = self.finder.try_send(Some(address));
        }
    }

    /// Looks no more, and says so.
    fn switch_off(&self, reason: Unseen) {
        self.board.set_lock_source(LockSource::Unseen(reason));
        tracing::info!("this guest's spin locks are not seen: {reason}");
    }
}

/// The finder's thread.
fn find(locks: &GuestLocks, asked: &Receiver<Option<GuestAddress>>) {
    let Ok(Some(code)) = asked.recv() else {
        return;
    };
    match find_per_cpu(&locks.ram, code) {
        Ok(per_cpu) => {
            tracing::debug!(?per_cpu, "this guest's preempt counts are found");
            let _ = locks.per_cpu.set(per_cpu);
            locks.board.set_lock_source(LockSource::Linux);
        }
        Err(reason) => locks.switch_off(reason),
    }
}

#[cfg(test)]
mod tests;
