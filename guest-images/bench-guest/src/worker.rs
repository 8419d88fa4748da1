//! What every workload does with its vCPU: count, compute, wait, halt, and see when it is over.
//!
//! Halting: a worker that is going to halt sets its word in `ASLEEP`, then looks once more at what it
//! waits for; one that wakes it first does what is waited for, then clears the word, and sends an
//! interrupt if it had been set. The halting service of ring 0 reads the word with interrupts off, so
//! whatever the order, it does not halt, or the interrupt ends the halt.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use bench_guest::config::Wait;
use bench_guest::counter;
use muster_guest_page::{VcpuRecord, class_of};

use crate::apic;
use crate::cpu;
use crate::run::{ASLEEP, OVER, Run};

/// How many rounds of waiting or of short work go by between two looks at the clock.
const ROUNDS: u32 = 256;

/// Something in a pair of cache lines of its own, as processors fetch them in pairs.
#[repr(align(128))]
pub struct Line<T>(pub T);

/// One vCPU at work.
pub struct Worker {
    /// What all know.
    pub run: &'static Run,
    /// Its vCPU.
    pub index: u32,
    /// What it says of itself.
    pub record: &'static VcpuRecord,
    end: u64,
    rounds: Cell<u32>,
}

impl Worker {
    /// The worker of vCPU `index`, until `end`.
    pub fn new(run: &'static Run, index: u32, end: u64) -> Self {
        let record = run.records.record(index);
        record.phase.store(1, Ordering::Relaxed);
        Self {
            run,
            index,
            record,
            end,
            rounds: Cell::new(0),
        }
    }

    /// Adds to a counter. Nobody else writes it.
    #[inline]
    pub fn count(&self, which: usize, more: u64) {
        let counter: &AtomicU64 = &self.record.counters[which];
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Counts a length of time in the histogram.
    pub fn count_time(&self, ns: u64) {
        let class = &self.record.histogram[class_of(ns)];
        class.store(class.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Computes for so many rounds, and counts them.
    pub fn compute(&self, loops: u64) {
        cpu::compute(loops);
        self.count(counter::LOOPS, loops);
    }

    /// Whether the run is over. Who sees it first tells the others.
    pub fn is_over(&self) -> bool {
        if OVER.load(Ordering::Relaxed) {
            return true;
        }
        if cpu::tsc() < self.end {
            return false;
        }
        OVER.store(true, Ordering::SeqCst);
        for vcpu in 0..self.run.cpus {
            self.wake(vcpu);
        }
        true
    }

    /// As [`is_over`](Self::is_over), for loops that are too short to look at the clock each time.
    #[inline]
    pub fn is_over_now_and_then(&self) -> bool {
        let rounds = self.rounds.get() + 1;
        if rounds < ROUNDS {
            self.rounds.set(rounds);
            return false;
        }
        self.rounds.set(0);
        self.is_over()
    }

    /// Waits; `false` if the run is over before it is so.
    #[inline]
    pub fn wait(&self, how: Wait, ready: impl FnMut() -> bool) -> bool {
        match how {
            Wait::Spin => self.spin(ready),
            Wait::Halt => self.sleep(ready),
        }
    }

    /// Spins until `ready`; `false` if the run is over before.
    #[inline]
    pub fn spin(&self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        self.record.waiting.store(1, Ordering::Relaxed);
        self.count(counter::WAITS, 1);
        let mut spins = 0;
        let came = loop {
            core::hint::spin_loop();
            spins += 1;
            if ready() {
                break true;
            }
            if self.is_over_now_and_then() {
                break false;
            }
        };
        self.record.waiting.store(0, Ordering::Relaxed);
        self.count(counter::SPINS, spins);
        came
    }

    /// Halts until another has woken this vCPU and it is `ready`; `false` if the run is over before.
    pub fn sleep(&self, mut ready: impl FnMut() -> bool) -> bool {
        let asleep = &ASLEEP[self.index as usize].0;
        if ready() {
            return true;
        }
        self.count(counter::WAITS, 1);
        loop {
            asleep.swap(1, Ordering::SeqCst);
            let came = ready();
            if came || self.is_over() {
                asleep.store(0, Ordering::SeqCst);
                return came;
            }
            self.count(counter::HALTS, 1);
            cpu::halt(asleep, 0);
        }
    }

    /// Wakes a vCPU if it halts or is about to. What it waits for must have been done before.
    pub fn wake(&self, vcpu: u32) {
        let asleep = &ASLEEP[vcpu as usize].0;
        if vcpu != self.index && asleep.swap(0, Ordering::SeqCst) != 0 {
            apic::wake(vcpu);
            self.count(counter::WAKES, 1);
        }
    }

    /// Halts until the time stamp counter has reached `deadline`; `false` if the run is over before.
    pub fn sleep_until(&self, deadline: u64) -> bool {
        let asleep = &ASLEEP[self.index as usize].0;
        loop {
            asleep.swap(1, Ordering::SeqCst);
            let over = self.is_over();
            let now = cpu::tsc();
            if over || now >= deadline {
                asleep.store(0, Ordering::SeqCst);
                return !over;
            }
            let left = self.run.ns(deadline.min(self.end) - now);
            self.count(counter::HALTS, 1);
            cpu::halt(asleep, left.clamp(1, apic::TIMER_NS_MAX) as u32);
        }
    }
}
