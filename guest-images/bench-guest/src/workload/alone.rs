//! Workloads whose workers do not depend on each other.

use core::sync::atomic::Ordering;

use bench_guest::counter;

use super::team;
use crate::cpu;
use crate::worker::Worker;

/// The words of a cache line.
const LINE_WORDS: usize = 8;
/// Operations between two looks at the clock.
const BATCH: u64 = 1_000;
/// How long a hog computes between two looks at the clock.
const HOG_NS: u64 = 10_000;

/// Changes cache lines of the worker's own memory in no order that a processor could foresee.
pub fn compute(worker: &Worker, set_kib: u64) {
    let words = (set_kib << 10) as usize / 8;
    let mine = &worker.run.ram[words * worker.index as usize..][..words];
    let lines = (words / LINE_WORDS) as u64;
    let mut random = 0x9e37_79b9_7f4a_7c15 ^ u64::from(worker.index);
    while team::may_work(worker) && !worker.is_over() {
        for _ in 0..BATCH {
            // Knuth's MMIX; its upper bits are the good ones.
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let line = (((random >> 32) * lines) >> 32) as usize;
            let word = &mine[line * LINE_WORDS];
            word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        worker.count(counter::WORK, BATCH);
    }
}

/// Halts until the next deadline, again and again, and counts how late it was woken.
pub fn timer(worker: &Worker, period_ns: u64, busy_ns: u64) {
    let run = worker.run;
    let busy = run.loops(busy_ns);
    let begin = cpu::tsc();
    let mut periods: u64 = 1;
    loop {
        // From the beginning, so that rounding does not add up.
        let deadline = begin + run.cycles(period_ns * periods);
        if !worker.sleep_until(deadline) {
            return;
        }
        let late_ns = run.ns(cpu::tsc() - deadline);
        worker.count_time(late_ns);
        worker.count(counter::WORK, 1);
        worker.count(counter::LATE_NS, late_ns);
        worker.compute(busy);
        // A deadline that has passed already is left out: it would only measure the same wait again.
        let next = run.ns(cpu::tsc() - begin) / period_ns + 1;
        worker.count(counter::MISSED, next.saturating_sub(periods + 1));
        periods = next.max(periods + 1);
    }
}

/// Computes and halts in turn. The record's `phase` is odd while it computes.
pub fn phases(worker: &Worker, run_ns: u64, rest_ns: u64) {
    let run = worker.run;
    let chunk_ns = run_ns.min(HOG_NS);
    let mut phase = 1;
    while !worker.is_over() {
        let mut left_ns = run_ns;
        while left_ns > 0 {
            let now_ns = left_ns.min(chunk_ns);
            worker.compute(run.loops(now_ns));
            left_ns -= now_ns;
            if worker.is_over() {
                return;
            }
        }
        worker.count(counter::WORK, 1);
        phase += 1;
        worker.record.phase.store(phase, Ordering::Relaxed);
        if !worker.sleep_until(cpu::tsc() + run.cycles(rest_ns)) {
            return;
        }
        phase += 1;
        worker.record.phase.store(phase, Ordering::Relaxed);
    }
}

/// Computes for ever.
pub fn hog(worker: &Worker) {
    let loops = worker.run.loops(HOG_NS);
    while team::may_work(worker) && !worker.is_over() {
        worker.compute(loops);
        worker.count(counter::WORK, 1);
    }
}
