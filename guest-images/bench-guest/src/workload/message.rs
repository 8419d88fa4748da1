//! Messages: of each pair of vCPUs the even one sends through a bounded queue, the odd one receives.
//!
//! A vCPU without a partner does both sides.

use core::sync::atomic::{AtomicU64, Ordering};

use bench_guest::config::Wait;
use bench_guest::counter;
use muster_guest_page::VCPUS_MAX;

use crate::worker::{Line, Worker};

/// Messages that a queue holds.
const SLOTS: u64 = 64;
/// Words of the longest message.
const WORDS: usize = 4096 / 8;

/// One queue. Both numbers only grow.
struct Queue {
    sent: Line<AtomicU64>,
    received: Line<AtomicU64>,
    slots: [[AtomicU64; WORDS]; SLOTS as usize],
}

static QUEUES: [Queue; VCPUS_MAX / 2] = [const {
    Queue {
        sent: Line(AtomicU64::new(0)),
        received: Line(AtomicU64::new(0)),
        slots: [const { [const { AtomicU64::new(0) }; WORDS] }; SLOTS as usize],
    }
}; VCPUS_MAX / 2];

/// Sends or receives.
pub fn run(worker: &Worker, how: Wait, size: u64) {
    let queue = &QUEUES[worker.index as usize / 2];
    let words = size.div_ceil(8) as usize;
    let partner = worker.index ^ 1;
    let mut number = 0;
    while !worker.is_over_now_and_then() {
        let done = if partner >= worker.run.cpus {
            send(worker, queue, how, words, number, None)
                && receive(worker, queue, how, words, number, None)
        } else if worker.index < partner {
            send(worker, queue, how, words, number, Some(partner))
        } else {
            receive(worker, queue, how, words, number, Some(partner))
        };
        if !done {
            return;
        }
        worker.count(counter::WORK, 1);
        number += 1;
    }
}

fn wake(worker: &Worker, how: Wait, partner: Option<u32>) {
    if let (Wait::Halt, Some(partner)) = (how, partner) {
        worker.wake(partner);
    }
}

/// Sends message `number`; `false` if the run is over before there is room.
fn send(
    worker: &Worker,
    queue: &Queue,
    how: Wait,
    words: usize,
    number: u64,
    partner: Option<u32>,
) -> bool {
    if !worker.wait(how, || {
        number - queue.received.0.load(Ordering::Acquire) < SLOTS
    }) {
        return false;
    }
    for word in &queue.slots[(number % SLOTS) as usize][..words] {
        word.store(number, Ordering::Relaxed);
    }
    queue.sent.0.store(number + 1, Ordering::Release);
    wake(worker, how, partner);
    true
}

/// Receives message `number`; `false` if the run is over before it comes.
fn receive(
    worker: &Worker,
    queue: &Queue,
    how: Wait,
    words: usize,
    number: u64,
    partner: Option<u32>,
) -> bool {
    if !worker.wait(how, || queue.sent.0.load(Ordering::Acquire) > number) {
        return false;
    }
    for word in &queue.slots[(number % SLOTS) as usize][..words] {
        assert!(
            word.load(Ordering::Relaxed) == number,
            "a message is damaged"
        );
    }
    queue.received.0.store(number + 1, Ordering::Release);
    wake(worker, how, partner);
    true
}
