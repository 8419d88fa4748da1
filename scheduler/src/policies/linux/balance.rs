//! Moving vCPUs between queues.

use super::Linux;
use crate::{CpuId, CpuSet, Nanos, Topology, VcpuId, View};

/// The member of a set that is nearest to a CPU.
pub(super) fn nearest(cpu: CpuId, set: &CpuSet, topology: &Topology) -> Option<CpuId> {
    let around = topology.around(cpu).into_iter();
    around
        .map(|domain| domain & *set)
        .find_map(|near| near.first())
}

impl Linux {
    /// An idle CPU takes a waiting vCPU from the busiest queue near it.
    pub(super) fn pull(&mut self, now: Nanos, cpu: CpuId, view: &View) {
        if self.pin || self.overloaded.is_empty() || !view.online().contains(cpu) {
            return;
        }
        for (distance, domain) in view.topology().around(cpu).into_iter().enumerate() {
            let busy = (self.overloaded & domain).iter();
            let load = |cpu: &CpuId| self.queues[cpu.index()].weight();
            let Some(busiest) = busy.max_by_key(|cpu| (load(cpu), std::cmp::Reverse(*cpu))) else {
                continue;
            };
            // Threads of one core share their caches: nothing is lost there.
            let may_be_hot = distance == 0;
            if let Some(vcpu) = self.movable(now, busiest, cpu, view, may_be_hot) {
                self.shift(now, vcpu, cpu);
                return;
            }
        }
    }

    /// Of those who wait in a queue and may run on `to`, the one who has waited longest.
    fn movable(
        &self,
        now: Nanos,
        from: CpuId,
        to: CpuId,
        view: &View,
        may_be_hot: bool,
    ) -> Option<VcpuId> {
        let waiting = self.queues[from.index()].waiting();
        let movable = waiting.filter(|&vcpu| {
            let state = view.vcpu(vcpu);
            let has_run = state.last_cpu.is_some();
            let hot = has_run && (state.on_cpu.is_some() || now - state.left_at < super::HOT);
            state.allowed.contains(to) && (may_be_hot || !hot)
        });
        movable.min_by_key(|&vcpu| (view.vcpu(vcpu).left_at, vcpu))
    }

    fn shift(&mut self, now: Nanos, vcpu: VcpuId, to: CpuId) {
        self.withdraw(now, vcpu, false);
        self.join(now, vcpu, to, false);
    }

    /// Evens out loads, first around each cache, then in each NUMA node, then over all.
    pub(super) fn balance(&mut self, now: Nanos, view: &View) {
        if self.pin {
            return;
        }
        let topology = view.topology();
        let all = [topology.cpus()];
        for domain in [topology.llcs(), topology.nodes(), &all]
            .into_iter()
            .flatten()
        {
            let cpus = *domain & *view.online();
            // Each move evens out something; a bound all the same.
            for _ in 0..cpus.len() {
                if !self.even_out(now, &cpus, view) {
                    break;
                }
            }
        }
    }

    /// Moves one from the most to the least loaded CPU, if that makes them more alike.
    fn even_out(&mut self, now: Nanos, cpus: &CpuSet, view: &View) -> bool {
        let load = |cpu: &CpuId| self.queues[cpu.index()].weight();
        let busy = (*cpus & self.overloaded).iter();
        let Some(busiest) = busy.max_by_key(|cpu| (load(cpu), std::cmp::Reverse(*cpu))) else {
            return false;
        };
        let Some(least) = cpus.iter().min_by_key(load) else {
            return false;
        };
        let Some(vcpu) = self.movable(now, busiest, least, view, true) else {
            return false;
        };
        let better = super::share(vcpu, view) < load(&busiest) - load(&least);
        if better {
            self.shift(now, vcpu, least);
        }
        better
    }
}
