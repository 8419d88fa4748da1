//! What is measured of VMs.

use super::{Run, RunError};
use crate::sim::guest::Step;
use crate::sim::record::{Recording, Source, VmOutcome};
use crate::sim::sync::Shared;
use crate::view::LockState;
use crate::{MS, Nanos, PolicySpec, RunTimes, Runstate, US, VcpuId};

/// The most latencies that are kept of a VM.
const LATENCIES_MAX: u64 = 4096;
/// Leads of one VM are looked at no more often than this.
const LEAD_EVERY: Nanos = 100 * US;
/// How old the progress of the furthest vCPU may be when another one catches up with it.
const FURTHEST_AGE: Nanos = MS;

impl Run<'_> {
    /// A vCPU's progress: its running time, and what it was given for having been halted.
    fn progress_of(&self, vcpu: VcpuId) -> Nanos {
        let credit = self.vcpus[vcpu.index()].as_ref().map(|vcpu| vcpu.credit_ns);
        let running = self.engine.view().vcpu(vcpu).running_ns(self.now);
        running + credit.expect("it is there")
    }

    /// One of a VM's vCPUs stops: how far are its vCPUs apart?
    pub(in crate::sim) fn note_lead(&mut self, vcpu: VcpuId) {
        let now = self.now;
        let vm = self.vm_of(vcpu);
        let recent = vm.lead_at.is_some_and(|at| now - at < LEAD_EVERY);
        if vm.vcpus == 1 || recent {
            return;
        }
        vm.lead_at = Some(now);
        let (first, count) = (vm.first.0, vm.vcpus);
        let mut furthest = 0;
        let mut slowest = Nanos::MAX;
        for sibling in (first..first + count).map(VcpuId) {
            let progress = self.progress_of(sibling);
            furthest = furthest.max(progress);
            if self.engine.view().vcpu(sibling).runnable() {
                slowest = slowest.min(progress);
            }
        }
        let vm = self.vm_of(vcpu);
        vm.furthest = (furthest, now);
        let lead = furthest.saturating_sub(slowest);
        vm.outcome.skew_max_ns = vm.outcome.skew_max_ns.max(lead);
    }

    /// A vCPU that was halted does not lag: it takes up with the furthest.
    pub(in crate::sim) fn catch_up(&mut self, vcpu: VcpuId) {
        let now = self.now;
        let vm = self.vm_of(vcpu);
        if vm.vcpus == 1 {
            return;
        }
        let (mut furthest, looked_at) = vm.furthest;
        if now - looked_at >= FURTHEST_AGE {
            let vcpus = vm.first.0..vm.first.0 + vm.vcpus;
            let progress = vcpus.map(|sibling| self.progress_of(VcpuId(sibling)));
            furthest = progress.max().unwrap_or(0);
            self.vm_of(vcpu).furthest = (furthest, now);
        }
        let behind = furthest.saturating_sub(self.progress_of(vcpu));
        self.vcpu(vcpu).credit_ns += behind;
    }

    /// A vCPU runs: if it was woken, that took so long.
    pub(in crate::sim) fn note_latency(&mut self, vcpu: VcpuId) {
        let now = self.now;
        let Some(at) = self.vcpu(vcpu).woken_at.take() else {
            return;
        };
        let vm = self.vm_of(vcpu);
        vm.latencies += 1;
        let seen = vm.latencies;
        if seen <= LATENCIES_MAX {
            vm.outcome.wake_latencies_ns.push(now - at);
            return;
        }
        // Each of those seen so far is kept with the same chance (reservoir sampling).
        let place = self.samples.below(seen);
        if place < LATENCIES_MAX {
            let vm = self.vm_of(vcpu);
            vm.outcome.wake_latencies_ns[place as usize] = now - at;
        }
    }

    /// Writes down what a VM's time was spent on.
    pub(super) fn note_times(&mut self, number: usize) {
        let vm = &mut self.vms[number];
        let view = self.engine.view();
        let vcpus = (vm.first.0..vm.first.0 + vm.vcpus).map(VcpuId);
        let times = vcpus.zip(&vm.before).map(|(vcpu, before)| {
            let mut times = view.vcpu(vcpu).times(self.now);
            for state in Runstate::ALL {
                times[state] -= before[state];
            }
            times
        });
        vm.outcome.times = times.collect();
    }

    /// Measuring begins.
    pub(super) fn measure(&mut self) {
        let now = self.now;
        self.recorder.measure(now);
        self.decisions_before = self.engine.decisions();
        for vm in &mut self.vms {
            let outcome = &mut vm.outcome;
            *outcome = VmOutcome {
                ops: 0,
                holder_preemptions: 0,
                migrations: 0,
                skew_max_ns: 0,
                wakes: 0,
                wake_latencies_ns: Vec::new(),
                times: vec![RunTimes::default(); outcome.times.len()],
                ..outcome.clone()
            };
            vm.latencies = 0;
            if vm.present {
                let vcpus = (vm.first.0..vm.first.0 + vm.vcpus).map(VcpuId);
                let view = self.engine.view();
                vm.before = vcpus.map(|vcpu| view.vcpu(vcpu).times(now)).collect();
            }
        }
    }

    /// A policy that has just been put in charge may want to know.
    pub(super) fn report_all_locks(&mut self) -> Result<(), RunError> {
        for vcpu in (0..self.vcpus.len() as u32).map(VcpuId) {
            let Some(state) = &self.vcpus[vcpu.index()] else {
                continue;
            };
            let since = self.now;
            let lock = match state.step {
                Step::Critical(_) => LockState::Holding { since },
                Step::LockWait(_) if self.owns_lock(vcpu) && state.on_cpu.is_none() => {
                    LockState::Holding { since }
                }
                Step::LockWait(_) => LockState::Waiting,
                _ => LockState::Free,
            };
            self.report_lock(vcpu, lock)?;
        }
        Ok(())
    }

    /// Whether the lock that a vCPU waits for is its own already.
    fn owns_lock(&self, vcpu: VcpuId) -> bool {
        let state = self.vcpus[vcpu.index()].as_ref().expect("it is there");
        let shared = &self.vms[state.vm as usize].shared[state.phase];
        match (shared, state.step) {
            (Shared::Locks(locks), Step::LockWait(which)) => {
                locks[which as usize].owner == Some(vcpu)
            }
            _ => false,
        }
    }

    /// The time is over.
    pub(super) fn recording(mut self, policy: &PolicySpec) -> Recording {
        self.recorder.flush(self.now);
        for number in 0..self.vms.len() {
            if self.vms[number].present {
                self.note_times(number);
            }
        }
        let spans = self.recorder.take_spans();
        let times = &self.recorder.vm_times;
        let outcomes = self.vms.into_iter().zip(times).map(|(vm, times)| {
            let mut outcome = vm.outcome;
            outcome.work_ns = times.work_ns;
            outcome.spin_ns = times.spin_ns;
            outcome.refill_ns = times.refill_ns;
            outcome.wake_latencies_ns.sort_unstable();
            outcome
        });
        Recording {
            scenario: self.scenario.name.clone(),
            policy: policy.to_string(),
            source: Source::Simulation,
            seed: self.seed,
            cpus: self.cpus.len() as u32,
            warm_up_ns: self.scenario.warm_up_ns,
            duration_ns: self.scenario.duration_ns,
            cpu_totals: self.recorder.totals(),
            vms: outcomes.collect(),
            spans,
            spans_lost: self.recorder.spans_lost,
            decisions: self.engine.decisions() - self.decisions_before,
            events: self.events,
            hash: self.recorder.hash(),
            marks: self.recorder.marks,
            runstates: self.recorder.runstates,
            turns: self.recorder.turns,
        }
    }
}
