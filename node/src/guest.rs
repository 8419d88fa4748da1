//! A VM that has joined, as the manager knows it.

use std::array;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_scheduler::{Engine, Nanos, Runstate, VmId};
use muster_vmm::board::{Board, LockSource};
use muster_vmm::kvm::stats::{StatsReader, VcpuStats};
use muster_vmm::thread_schedule::ThreadSchedule;

use crate::load::{LoadMeter, Totals};
use crate::seat::Seat;
use crate::snapshot::{Locks, VcpuSnapshot, VmSnapshot};
use crate::thread::KernelTimes;

/// A vCPU that waits for interrupts most of the time is left to the kernel, which lets it run at once
/// when one comes: one that runs less than this part of the time.
const IDLE_RATIO: Nanos = 4;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Guest {
    pub vm: VmId,
    pub name: String,
    pub pid: u32,
    /// Its connection's number.
    pub connection: u64,
    pub joined_ns: Nanos,
    pub vcpus: Vec<GuestVcpu>,
    load: LoadMeter,
}

/// One of its vCPUs.
#[derive(Debug)]
pub(crate) struct GuestVcpu {
    pub seat: Arc<Seat>,
    stats: StatsReader,
    last: Option<VcpuStats>,
    /// When it was last looked at closer, and how long it had run then.
    last_run: Option<(Nanos, Nanos)>,
    /// How its thread was scheduled when it came.
    pub schedule: Option<ThreadSchedule>,
    /// What had been counted when it came.
    times_before: KernelTimes,
    parked_before: Nanos,
    halted_before: Nanos,
    /// How long it has waited for interrupts, as of the last look.
    halted_ns: Nanos,
}

/// What a look at a vCPU's statistics says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It waits for an interrupt, and has hardly done anything since the last look.
    Waits,
    /// It has done something since.
    Active,
    /// Nothing can be said: it waits at its gate, or this is the first look.
    Unknown,
}

impl GuestVcpu {
    pub(crate) fn new(seat: Arc<Seat>, mut stats: StatsReader) -> Self {
        let halted_ns = stats.read().map_or(0, |stats| stats.halted_ns);
        Self {
            halted_before: halted_ns,
            halted_ns,
            last: None,
            last_run: None,
            schedule: ThreadSchedule::of(seat.tid()).ok(),
            times_before: seat.kernel_times().unwrap_or_default(),
            parked_before: seat.parked_ns(),
            seat,
            stats,
        }
    }

    /// It has never been in its guest: it waits for its start-up interrupt, unless it is the first.
    pub(crate) fn is_unborn(&mut self) -> bool {
        self.stats.read().is_ok_and(|stats| stats.exits == 0)
    }

    /// Looks at KVM's statistics.
    pub(crate) fn look(&mut self, now: Nanos) -> Seen {
        if self.seat.is_parked() {
            self.last = None;
            self.last_run = None;
            return Seen::Unknown;
        }
        let Ok(stats) = self.stats.read() else {
            return Seen::Unknown;
        };
        self.halted_ns = stats.halted_ns;
        match self.last.replace(stats) {
            None if stats.blocking || self.seat.is_halted() => Seen::Unknown,
            Some(last) if stats.blocking && stats.halts == last.halts => Seen::Waits,
            // Has it done anything to speak of? A timer's tick is not.
            Some(_) if stats.blocking || self.seat.is_halted() => self.look_closer(now),
            _ => Seen::Active,
        }
    }

    /// Looks how much a vCPU that waits now and then has run since the last time.
    fn look_closer(&mut self, now: Nanos) -> Seen {
        let Some(times) = self.seat.kernel_times() else {
            return Seen::Active;
        };
        match self.last_run.replace((now, times.run)) {
            Some((before, run)) if (times.run - run.min(times.run)) * IDLE_RATIO < now - before => {
                Seen::Waits
            }
            _ => Seen::Active,
        }
    }

    /// Its times in the `age` since it came: on a CPU, and waiting for one, at its gate or for the
    /// kernel.
    fn times(&self, age: Nanos) -> (Nanos, Nanos) {
        let now = self.seat.kernel_times().unwrap_or(self.times_before);
        let run = now.run.saturating_sub(self.times_before.run);
        let wait = now.wait.saturating_sub(self.times_before.wait);
        let parked = self.seat.parked_ns().saturating_sub(self.parked_before);
        let halted = self.halted_ns.saturating_sub(self.halted_before);
        (run, waited(age, run, halted, wait, parked))
    }

    fn snapshot(&self, engine: &Engine, guest_ns: Nanos) -> VcpuSnapshot {
        let state = engine.view().vcpu(self.seat.id);
        let (run_ns, waited_ns) = self.times(guest_ns);
        let co_stop_ns = engine.times(self.seat.id)[Runstate::CoStopped].min(waited_ns);
        let record = self.seat.board().record(self.seat.index);
        VcpuSnapshot {
            state: state.runstate().into(),
            cpu: state.on_cpu.map(|cpu| cpu.0),
            allowed: state.allowed.to_string(),
            run_ns,
            ready_ns: waited_ns - co_stop_ns,
            co_stop_ns,
            halted_ns: guest_ns.saturating_sub(run_ns + waited_ns),
            holder_preemptions: self.seat.holder_preemptions.load(Ordering::Relaxed),
            preemptions: self.seat.preemptions.load(Ordering::Relaxed),
            counters: array::from_fn(|at| record.counters[at].load(Ordering::Relaxed)),
            histogram: array::from_fn(|at| record.histogram[at].load(Ordering::Relaxed)),
        }
    }
}

/// How long a vCPU of this age has waited for a CPU, by the kernel's account and by what it says of its
/// gate: that may be anything.
fn waited(age: Nanos, run: Nanos, halted: Nanos, wait: Nanos, parked: Nanos) -> Nanos {
    // Linux keeps a thread that sleeps after it has run long among those that wait, for a while
    // (delayed dequeue, 6.12), so that both may count the same time.
    let free = age.saturating_sub(run.saturating_add(halted));
    wait.saturating_add(parked).min(free)
}

impl Guest {
    pub(crate) fn new(vm: VmId, name: String, pid: u32, connection: u64, now: Nanos) -> Self {
        Self {
            vm,
            name,
            pid,
            connection,
            joined_ns: now,
            vcpus: Vec::new(),
            load: LoadMeter::default(),
        }
    }

    /// Takes a reading of its load.
    pub(crate) fn measure(&mut self, now: Nanos) {
        let mut totals = Totals::default();
        for vcpu in &self.vcpus {
            let (run, waited) = vcpu.times(now - self.joined_ns);
            totals.run_ns += run;
            totals.waited_ns += waited;
        }
        let halted = self.vcpus.iter().filter(|vcpu| vcpu.seat.is_halted());
        let runnable = self.vcpus.len() - halted.count();
        self.load.read(now, totals, runnable);
    }

    /// How it is known what its vCPUs hold.
    fn locks(&self) -> Locks {
        // Whoever uses the page says so there with the first thing that it writes.
        let tells = |vcpu: &GuestVcpu| {
            let record = vcpu.seat.board().record(vcpu.seat.index);
            record.phase.load(Ordering::Relaxed) > 0
        };
        if self.vcpus.iter().any(tells) {
            return Locks::Page;
        }
        let board = self.vcpus.first().map(|vcpu| vcpu.seat.board());
        match board.map_or(LockSource::Page, Board::lock_source) {
            LockSource::Page => Locks::Untold,
            LockSource::Awaited => Locks::Awaited,
            LockSource::Linux => Locks::Linux,
            LockSource::Unseen(reason) => Locks::Unseen(reason.to_string()),
        }
    }

    pub(crate) fn snapshot(&self, engine: &Engine, now: Nanos) -> VmSnapshot {
        let spec = &engine.view().vm(self.vm).spec;
        let guest_ns = now - self.joined_ns;
        let vcpus = self.vcpus.iter();
        VmSnapshot {
            name: self.name.clone(),
            pid: self.pid,
            joined_ns: self.joined_ns,
            weight: spec.weight,
            cap_percent: spec.cap_percent,
            locks: self.locks(),
            load: self.load.load(),
            vcpus: vcpus.map(|vcpu| vcpu.snapshot(engine, guest_ns)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_vm_says_it_has_not_waited_longer_than_it_was_there() {
        assert_eq!(waited(100, 30, 20, 10, 5), 15);
        assert_eq!(waited(100, 30, 20, 10, Nanos::MAX), 50);
        assert_eq!(waited(100, Nanos::MAX, Nanos::MAX, 10, 5), 0);
        assert_eq!(waited(100, 90, 20, 10, 5), 0);
    }
}
