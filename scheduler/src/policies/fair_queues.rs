//! A queue per CPU, fair by weights.
//!
//! Problem: whose turn is it on this CPU, so that in the long run everybody has had time by weight?
//!
//! Approach: each vCPU has a *virtual time*, the cost of all its CPU time (see [`meter`]); who has the
//! least is next. A CPU's *clock* is the virtual time of whom it last served. Who comes from a halt or
//! from another CPU is set near that clock, so that it neither pays for what it got where nobody else
//! wanted to run, nor is owed for the time when it did not want to.
//!
//! Other CPUs help themselves from these queues, so it must be known without looking at each: who has
//! waited anywhere beyond its *patience*, a virtual time up to which it is left to its own CPU; and
//! which queues are the longest.
//!
//! Source: Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996.
//!
//! [`meter`]: super::meter

use std::collections::{BTreeMap, BTreeSet};

use super::seats::may_run;
use crate::{CpuId, CpuSet, Topology, VcpuId, View};

/// Virtual time: sums of costs, for as long as a host lives.
pub(super) type VirtualTime = u128;

/// See the module's head.
#[derive(Debug)]
pub(super) struct FairQueues {
    queues: Vec<BTreeSet<(VirtualTime, VcpuId)>>,
    /// All of them together, by the end of their patience.
    everybody: BTreeSet<(VirtualTime, VcpuId)>,
    /// All of them together, by virtual time.
    waiting: BTreeSet<(VirtualTime, VcpuId)>,
    /// CPUs by the length of their queue, where somebody waits.
    by_length: BTreeMap<usize, CpuSet>,
    /// Per CPU.
    clocks: Vec<VirtualTime>,
    /// CPUs by their clocks.
    by_clock: BTreeSet<(VirtualTime, CpuId)>,
    /// Per vCPU.
    times: Vec<VirtualTime>,
    /// Per vCPU: in which CPU's queue it waits, and the end of its patience.
    place: Vec<Option<(CpuId, VirtualTime)>>,
}

impl FairQueues {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            queues: vec![BTreeSet::new(); topology.cpu_count()],
            everybody: BTreeSet::new(),
            waiting: BTreeSet::new(),
            by_length: BTreeMap::new(),
            clocks: vec![0; topology.cpu_count()],
            by_clock: topology.cpus().iter().map(|cpu| (0, cpu)).collect(),
            times: Vec::new(),
            place: Vec::new(),
        }
    }

    /// A vCPU is new.
    pub(super) fn enter(&mut self, vcpu: VcpuId, home: Option<CpuId>, view: &View) {
        if self.times.len() < view.vcpu_ids() {
            self.times.resize(view.vcpu_ids(), 0);
            self.place.resize(view.vcpu_ids(), None);
        }
        self.times[vcpu.index()] = home.map_or(0, |home| self.clocks[home.index()]);
    }

    /// How far all have come together: the least time of those who wait, or, if nobody does, the furthest
    /// clock.
    fn pace(&self) -> VirtualTime {
        let furthest = self.by_clock.last().map_or(0, |&(clock, _)| clock);
        let first = self.waiting.first().map(|&(time, _)| time);
        first.map_or(furthest, |first| first.min(furthest))
    }

    /// A CPU has idled while others went on: its clock catches up with them.
    pub(super) fn catch_up(&mut self, cpu: CpuId) {
        let clock = self.clocks[cpu.index()].max(self.pace());
        self.set_clock(cpu, clock);
    }

    /// A vCPU that does not wait, and has not had to, is owed at most `credit`: what it did not want, or
    /// could not use, is not saved up.
    pub(super) fn settle(&mut self, vcpu: VcpuId, credit: u64) {
        let earliest = self.pace().saturating_sub(credit.into());
        let time = &mut self.times[vcpu.index()];
        *time = (*time).max(earliest);
    }

    pub(super) fn time(&self, vcpu: VcpuId) -> VirtualTime {
        self.times[vcpu.index()]
    }

    /// A vCPU that does not wait has run at this cost.
    pub(super) fn charge(&mut self, vcpu: VcpuId, cost: u64) {
        debug_assert!(
            self.place[vcpu.index()].is_none(),
            "its place would be wrong"
        );
        self.times[vcpu.index()] += VirtualTime::from(cost);
    }

    /// Sets a vCPU that does not wait near a CPU's clock: at most `credit` before and `debt` after.
    pub(super) fn tune(&mut self, vcpu: VcpuId, cpu: CpuId, credit: u64, debt: u64) {
        let clock = self.clocks[cpu.index()];
        let earliest = clock.saturating_sub(credit.into());
        let latest = clock + VirtualTime::from(debt);
        let time = &mut self.times[vcpu.index()];
        *time = (*time).clamp(earliest, latest);
    }

    /// A vCPU waits at a CPU; others may see to it once they are `patience` ahead of it.
    pub(super) fn push(&mut self, cpu: CpuId, vcpu: VcpuId, patience: u64) {
        let time = self.time(vcpu);
        let end = time + VirtualTime::from(patience);
        let queue = &mut self.queues[cpu.index()];
        queue.insert((time, vcpu));
        let length = queue.len();
        self.everybody.insert((end, vcpu));
        self.waiting.insert((time, vcpu));
        self.place[vcpu.index()] = Some((cpu, end));
        self.note_length(cpu, length - 1, length);
    }

    /// A vCPU waits no more. Tells whether it did.
    pub(super) fn remove(&mut self, vcpu: VcpuId) -> bool {
        let place = self.place.get_mut(vcpu.index()).and_then(Option::take);
        if let Some((cpu, end)) = place {
            let time = self.time(vcpu);
            let queue = &mut self.queues[cpu.index()];
            queue.remove(&(time, vcpu));
            let length = queue.len();
            self.everybody.remove(&(end, vcpu));
            self.waiting.remove(&(time, vcpu));
            self.note_length(cpu, length + 1, length);
        }
        place.is_some()
    }

    fn note_length(&mut self, cpu: CpuId, before: usize, now: usize) {
        if let Some(cpus) = self.by_length.get_mut(&before) {
            cpus.remove(cpu);
            if cpus.is_empty() {
                self.by_length.remove(&before);
            }
        }
        if now > 0 {
            self.by_length.entry(now).or_default().insert(cpu);
        }
    }

    /// A CPU begins to serve a vCPU.
    pub(super) fn serve(&mut self, cpu: CpuId, vcpu: VcpuId) {
        self.set_clock(cpu, self.time(vcpu));
    }

    fn set_clock(&mut self, cpu: CpuId, time: VirtualTime) {
        let before = std::mem::replace(&mut self.clocks[cpu.index()], time);
        self.by_clock.remove(&(before, cpu));
        self.by_clock.insert((time, cpu));
    }

    /// The CPU among `cpus` whose clock is the furthest, if that is beyond `time`.
    pub(super) fn furthest(&self, time: VirtualTime, cpus: CpuSet) -> Option<CpuId> {
        let beyond = self.by_clock.iter().rev();
        let mut beyond = beyond.take_while(|&&(clock, _)| clock > time);
        beyond.find_map(|&(_, cpu)| cpus.contains(cpu).then_some(cpu))
    }

    /// Those who wait at a CPU, the most deserving first.
    pub(super) fn of(&self, cpu: CpuId) -> impl Iterator<Item = VcpuId> + use<'_> {
        self.queues[cpu.index()].iter().map(|&(_, vcpu)| vcpu)
    }

    /// Who may run on this CPU and whose patience ended before `time`: the one where it ended first.
    pub(super) fn impatient(&self, time: VirtualTime, cpu: CpuId, view: &View) -> Option<VcpuId> {
        let ended = self.everybody.iter().take_while(|&&(end, _)| end < time);
        let mut ended = ended.map(|&(_, vcpu)| vcpu);
        ended.find(|&vcpu| may_run(view, vcpu, cpu))
    }

    /// The next in a CPU's own queue.
    pub(super) fn first(&self, cpu: CpuId, view: &View) -> Option<VcpuId> {
        self.of(cpu).find(|&vcpu| may_run(view, vcpu, cpu))
    }

    /// Whom an idle CPU takes from another: the first of the longest queue among the nearest CPUs
    /// where somebody waits who may run here.
    pub(super) fn steal_for(&self, cpu: CpuId, view: &View) -> Option<VcpuId> {
        if self.everybody.is_empty() {
            return None;
        }
        let around = view.topology().around(cpu);
        around.iter().find_map(|domain| {
            let longest_first = self.by_length.values().rev();
            let mut crowded = longest_first.flat_map(|&cpus| (cpus & *domain).iter());
            crowded.find_map(|other| self.of(other).find(|&vcpu| may_run(view, vcpu, cpu)))
        })
    }
}

#[cfg(test)]
mod tests;
