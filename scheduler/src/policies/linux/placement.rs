//! Where a vCPU goes that is new, has woken or is pinned.

use super::Linux;
use super::run_queue::RunQueue;
use crate::{CpuId, CpuSet, Topology, VcpuId, View};

impl Linux {
    /// The CPU itself if it idles, else one that does around the same cache (a whole idle core
    /// first), else the CPU itself.
    pub(super) fn idle_near(&self, cpu: CpuId, allowed: &CpuSet, topology: &Topology) -> CpuId {
        let idle = self.idle & *allowed;
        if idle.contains(cpu) || idle.is_empty() {
            return cpu;
        }
        let near = idle & topology.llcs()[usize::from(topology.place(cpu).llc)];
        let core = |cpu: &CpuId| &topology.cores()[usize::from(topology.place(*cpu).core)];
        let whole = |cpu: &CpuId| core(cpu).is_subset(&self.idle);
        let after = || near.iter().filter(|&other| other > cpu).chain(near.iter());
        after()
            .find(whole)
            .or_else(|| after().next())
            .unwrap_or(cpu)
    }

    /// For one who is new: the CPU with the least load, then in the core and around the cache with
    /// the least.
    pub(super) fn least_loaded(&mut self, allowed: &CpuSet, topology: &Topology) -> Option<CpuId> {
        let load = |cpus: &CpuSet| -> i64 {
            let queues = cpus.iter().map(|cpu| &self.queues[cpu.index()]);
            queues.map(RunQueue::weight).sum()
        };
        let cores: Vec<i64> = topology.cores().iter().map(load).collect();
        let caches: Vec<i64> = topology.llcs().iter().map(load).collect();
        let key = |cpu: CpuId| {
            let place = topology.place(cpu);
            let (core, llc) = (usize::from(place.core), usize::from(place.llc));
            (self.queues[cpu.index()].weight(), cores[core], caches[llc])
        };
        let least = allowed.iter().map(key).min()?;
        let equal: Vec<CpuId> = allowed.iter().filter(|&cpu| key(cpu) == least).collect();
        let choice = self.draw() as usize % equal.len();
        Some(equal[choice])
    }

    /// The CPU that a vCPU is pinned to: the one with the fewest others, and no sibling.
    pub(super) fn pin_of(&mut self, vcpu: VcpuId, view: &View) -> Option<CpuId> {
        let allowed = view.vcpu(vcpu).allowed;
        if let Some(cpu) = self.pins[vcpu.index()] {
            if allowed.contains(cpu) {
                return Some(cpu);
            }
            self.unpin(vcpu);
        }
        let siblings = view
            .siblings(vcpu)
            .filter_map(|other| self.pins[other.index()]);
        let siblings: CpuSet = siblings.collect();
        let apart = allowed - siblings;
        let choice = if apart.is_empty() { allowed } else { apart };
        let cpu = choice.iter().min_by_key(|cpu| self.pinned[cpu.index()])?;
        self.pins[vcpu.index()] = Some(cpu);
        self.pinned[cpu.index()] += 1;
        Some(cpu)
    }

    pub(super) fn unpin(&mut self, vcpu: VcpuId) {
        if let Some(cpu) = self.pins[vcpu.index()].take() {
            self.pinned[cpu.index()] -= 1;
        }
    }
}
