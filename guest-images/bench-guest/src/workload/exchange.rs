//! Request and reply: of each pair of vCPUs the even one asks and the odd one answers.
//!
//! A mailbox is one word: an odd number is a request, the even number after it the reply. A vCPU
//! without a partner does both sides.

use core::sync::atomic::{AtomicU64, Ordering};

use bench_guest::config::Wait;
use bench_guest::counter;
use muster_guest_page::VCPUS_MAX;

use crate::cpu;
use crate::worker::{Line, Worker};

static MAILBOXES: [Line<AtomicU64>; VCPUS_MAX / 2] =
    [const { Line(AtomicU64::new(0)) }; VCPUS_MAX / 2];

/// Asks or answers. Who asks keeps the times from request to reply if `timed`.
pub fn run(worker: &Worker, how: Wait, timed: bool) {
    let mailbox = &MAILBOXES[worker.index as usize / 2].0;
    let partner = worker.index ^ 1;
    if partner >= worker.run.cpus {
        alone(worker, mailbox);
    } else if worker.index < partner {
        ask(worker, mailbox, partner, how, timed);
    } else {
        answer(worker, mailbox, partner, how);
    }
}

fn put(worker: &Worker, mailbox: &AtomicU64, partner: u32, how: Wait, number: u64) {
    mailbox.store(number, Ordering::Release);
    if how == Wait::Halt {
        worker.wake(partner);
    }
}

fn ask(worker: &Worker, mailbox: &AtomicU64, partner: u32, how: Wait, timed: bool) {
    let mut number = 0;
    while !worker.is_over_now_and_then() {
        let begin = if timed { cpu::tsc() } else { 0 };
        put(worker, mailbox, partner, how, number + 1);
        number += 2;
        if !worker.wait(how, || mailbox.load(Ordering::Acquire) == number) {
            return;
        }
        if timed {
            worker.count_time(worker.run.ns(cpu::tsc() - begin));
        }
        worker.count(counter::WORK, 1);
    }
}

fn answer(worker: &Worker, mailbox: &AtomicU64, partner: u32, how: Wait) {
    let mut number = 1;
    while worker.wait(how, || mailbox.load(Ordering::Acquire) == number) {
        put(worker, mailbox, partner, how, number + 1);
        worker.count(counter::WORK, 1);
        number += 2;
    }
}

fn alone(worker: &Worker, mailbox: &AtomicU64) {
    while !worker.is_over_now_and_then() {
        mailbox.fetch_add(1, Ordering::AcqRel);
        mailbox.fetch_add(1, Ordering::AcqRel);
        worker.count(counter::WORK, 1);
    }
}
