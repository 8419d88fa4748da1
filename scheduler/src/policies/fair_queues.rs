//! A queue per CPU, fair by weights.
//!
//! Problem: whose turn is it on this CPU, so that in the long run everybody has had time by weight?
//!
//! Approach: each vCPU has a *virtual time*, the cost of all its CPU time (see [`meter`]); who has the
//! least is next. A CPU's *clock* is the virtual time of whom it last served. Who comes from a halt or
//! from another CPU is set near that clock, so that it neither pays for what it got where nobody else
//! wanted to run, nor is owed for the time when it did not want to.
//!
//! Source: Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996.
//!
//! [`meter`]: super::meter

use std::collections::BTreeSet;

use super::seats::may_run;
use crate::{CpuId, Topology, VcpuId, View};

/// Virtual time: sums of costs, for as long as a host lives.
pub(super) type VirtualTime = u128;

/// See the module's head.
#[derive(Debug)]
pub(super) struct FairQueues {
    queues: Vec<BTreeSet<(VirtualTime, VcpuId)>>,
    /// All of them together.
    everybody: BTreeSet<(VirtualTime, VcpuId)>,
    /// Per CPU.
    clocks: Vec<VirtualTime>,
    /// Per vCPU.
    times: Vec<VirtualTime>,
    /// Per vCPU: in which CPU's queue it waits.
    place: Vec<Option<CpuId>>,
}

impl FairQueues {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            queues: vec![BTreeSet::new(); topology.cpu_count()],
            everybody: BTreeSet::new(),
            clocks: vec![0; topology.cpu_count()],
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

    pub(super) fn push(&mut self, cpu: CpuId, vcpu: VcpuId) {
        let entry = (self.time(vcpu), vcpu);
        self.queues[cpu.index()].insert(entry);
        self.everybody.insert(entry);
        self.place[vcpu.index()] = Some(cpu);
    }

    /// A vCPU waits no more. Tells whether it did.
    pub(super) fn remove(&mut self, vcpu: VcpuId) -> bool {
        let place = self.place.get_mut(vcpu.index()).and_then(Option::take);
        if let Some(cpu) = place {
            let entry = (self.time(vcpu), vcpu);
            self.queues[cpu.index()].remove(&entry);
            self.everybody.remove(&entry);
        }
        place.is_some()
    }

    /// A CPU begins to serve a vCPU.
    pub(super) fn serve(&mut self, cpu: CpuId, vcpu: VcpuId) {
        self.clocks[cpu.index()] = self.time(vcpu);
    }

    /// Those who wait at a CPU, the most deserving first.
    pub(super) fn of(&self, cpu: CpuId) -> impl Iterator<Item = VcpuId> + use<'_> {
        self.queues[cpu.index()].iter().map(|&(_, vcpu)| vcpu)
    }

    /// Those who wait anywhere, the most deserving first.
    pub(super) fn everybody(&self) -> impl Iterator<Item = VcpuId> + use<'_> {
        self.everybody.iter().map(|&(_, vcpu)| vcpu)
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
        let crowded = (0..self.queues.len()).filter(|&other| !self.queues[other].is_empty());
        let best = crowded.filter_map(|other| {
            let other = CpuId(other as u16);
            let mut waiting = self.of(other);
            let vcpu = waiting.find(|&vcpu| may_run(view, vcpu, cpu))?;
            let longest = std::cmp::Reverse(self.queues[other.index()].len());
            Some((view.topology().distance(cpu, other), longest, other, vcpu))
        });
        best.min().map(|(_, _, _, vcpu)| vcpu)
    }
}
