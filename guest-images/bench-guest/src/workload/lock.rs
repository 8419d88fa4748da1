//! Locks: all compute with the same lock, then without it.
//!
//! The record's `lock_depth` is 1 from right after a worker has got the lock until right after it has
//! given it back, and `waiting` is 1 while it spins for it.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bench_guest::config::LockKind;
use bench_guest::counter;
use muster_guest_page::VCPUS_MAX;

use super::team;
use crate::worker::{Line, Worker};

static WORD: Line<AtomicU32> = Line(AtomicU32::new(0));
static NEXT_TICKET: Line<AtomicU32> = Line(AtomicU32::new(0));
static SERVED: Line<AtomicU32> = Line(AtomicU32::new(0));
/// The last in the queue: its vCPU and 1; 0 if nobody is.
static TAIL: Line<AtomicU32> = Line(AtomicU32::new(0));
static NODES: [Line<Node>; VCPUS_MAX] = [const {
    Line(Node {
        next: AtomicU32::new(0),
        blocked: AtomicU32::new(0),
    })
}; VCPUS_MAX];
/// Counts acquisitions by a load and a store: some get lost if two workers have the lock at once.
static PROTECTED: Line<AtomicU64> = Line(AtomicU64::new(0));

/// A vCPU's place in the queue.
struct Node {
    /// Who comes after: its vCPU and 1; 0 if nobody does.
    next: AtomicU32,
    /// Not 0 until the lock is handed on.
    blocked: AtomicU32,
}

/// How many acquisitions the lock has protected.
pub fn protected() -> u64 {
    PROTECTED.0.load(Ordering::SeqCst)
}

/// Takes and gives back the lock until the run is over.
pub fn run(worker: &Worker, kind: LockKind, critical_ns: u64, outside_ns: u64) {
    let critical = worker.run.loops(critical_ns);
    let outside = worker.run.loops(outside_ns);
    while team::may_work(worker) && !worker.is_over_now_and_then() {
        if !acquire(worker, kind) {
            return;
        }
        worker.record.lock_depth.store(1, Ordering::Relaxed);
        let count = PROTECTED.0.load(Ordering::Relaxed);
        worker.compute(critical);
        PROTECTED.0.store(count + 1, Ordering::Relaxed);
        worker.count(counter::WORK, 1);
        release(worker, kind);
        worker.record.lock_depth.store(0, Ordering::Relaxed);
        worker.compute(outside);
    }
}

/// Gets the lock; `false` if the run is over before. What it leaves behind then is of no use to
/// others, whose run is over too.
fn acquire(worker: &Worker, kind: LockKind) -> bool {
    match kind {
        LockKind::Tas => worker
            .spin(|| WORD.0.load(Ordering::Relaxed) == 0 && WORD.0.swap(1, Ordering::Acquire) == 0),
        LockKind::Ticket => {
            let ticket = NEXT_TICKET.0.fetch_add(1, Ordering::Relaxed);
            worker.spin(|| SERVED.0.load(Ordering::Acquire) == ticket)
        }
        LockKind::Queue => {
            let node = &NODES[worker.index as usize].0;
            node.next.store(0, Ordering::Relaxed);
            node.blocked.store(1, Ordering::Relaxed);
            match TAIL.0.swap(worker.index + 1, Ordering::AcqRel) {
                0 => true,
                before => {
                    NODES[before as usize - 1]
                        .0
                        .next
                        .store(worker.index + 1, Ordering::Release);
                    worker.spin(|| node.blocked.load(Ordering::Acquire) == 0)
                }
            }
        }
    }
}

fn release(worker: &Worker, kind: LockKind) {
    match kind {
        LockKind::Tas => WORD.0.store(0, Ordering::Release),
        LockKind::Ticket => {
            let ticket = SERVED.0.load(Ordering::Relaxed);
            SERVED.0.store(ticket.wrapping_add(1), Ordering::Release);
        }
        LockKind::Queue => hand_on(worker),
    }
}

/// Hands the lock to who comes after, if anybody does.
fn hand_on(worker: &Worker) {
    let me = worker.index + 1;
    let node = &NODES[worker.index as usize].0;
    let last = || {
        TAIL.0
            .compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    if node.next.load(Ordering::Acquire) == 0 && last() {
        return;
    }
    // Somebody is between joining the queue and saying so. Even at the end of the run it will.
    while node.next.load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
    let next = node.next.load(Ordering::Acquire);
    NODES[next as usize - 1]
        .0
        .blocked
        .store(0, Ordering::Release);
}
