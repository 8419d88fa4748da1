//! How `balance` moves vCPUs: siblings apart, and away from crowded CPUs.

use super::{Affinity, Mode};
use crate::params::{Kind, Param, QUANTUM_10};
use crate::policies::homes::Homes;
use crate::{CpuId, CpuSet, MS, Nanos, Plan, SECOND, Topology, VcpuId, View};

/// What can be set.
pub const PARAMS: &[Param] = &[
    QUANTUM_10,
    Param {
        name: "rebalance",
        kind: Kind::Duration {
            default: 100 * MS,
            min: MS,
            max: 60 * SECOND,
        },
        meaning: "how often a vCPU may be moved from a crowded CPU",
    },
];

/// When it was done last, and what was seen.
#[derive(Debug)]
pub(super) struct Rebalance {
    every_ns: Nanos,
    /// When it is due; `None`: no VM is there.
    due: Option<Nanos>,
    /// Per CPU: the load of those who want to run, averaged over the last rounds.
    loads: Vec<u64>,
}

impl Rebalance {
    pub(super) fn new(every_ns: Nanos, topology: &Topology) -> Self {
        Self {
            every_ns,
            due: None,
            loads: vec![0; topology.cpu_count()],
        }
    }

    /// Somebody is there: rounds are needed.
    pub(super) fn ensure_tick(&mut self, now: Nanos, plan: &mut Plan) {
        if self.due.is_none() {
            let at = now + self.every_ns;
            self.due = Some(at);
            plan.tick(at);
        }
    }
}

impl Affinity {
    /// A round, if one is due.
    pub(super) fn rebalance(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let Mode::Balance(rebalance) = &mut self.mode else {
            return;
        };
        if rebalance.due.is_none_or(|due| now < due) {
            return;
        }
        rebalance.due = None;
        if view.vms().next().is_none() {
            return;
        }
        rebalance.ensure_tick(now, plan);
        for cpu in view.topology().cpus().iter() {
            let worker = self.seats.worker(cpu).into_iter();
            let wanting = worker.chain(self.queues.of(cpu));
            let load: u64 = wanting.map(|vcpu| Homes::share(vcpu, view)).sum();
            let average = &mut rebalance.loads[cpu.index()];
            *average = (*average + load) / 2;
        }
        let moved = self.part_siblings(view).or_else(|| self.shed(view));
        let Some((vcpu, cpu)) = moved else { return };
        self.homes.move_to(vcpu, cpu, view);
        if self.queues.remove(vcpu) {
            self.make_ready(now, vcpu, view, plan);
        }
    }

    /// A vCPU that shares its home with a sibling although it need not, and a better home.
    fn part_siblings(&self, view: &View) -> Option<(VcpuId, CpuId)> {
        view.vms().find_map(|(_, vm)| {
            let mut homes = CpuSet::EMPTY;
            let mut crowded = Vec::new();
            for vcpu in vm.vcpus() {
                if let Some(home) = self.homes.of(vcpu) {
                    if homes.contains(home) {
                        crowded.push(vcpu);
                    }
                    homes.insert(home);
                }
            }
            let movable = crowded.into_iter().filter(|&v| self.seats.of(v).is_none());
            movable.into_iter().find_map(|vcpu| {
                let free = view.preferred(vcpu) - homes;
                let best = free.iter().min_by_key(|&cpu| (self.load_of(cpu), cpu))?;
                Some((vcpu, best))
            })
        })
    }

    /// A vCPU that waits at the most loaded CPU, and a CPU that has a quarter less even with it.
    fn shed(&self, view: &View) -> Option<(VcpuId, CpuId)> {
        let online = view.online().iter();
        let busiest = online.max_by_key(|&cpu| (self.load_of(cpu), std::cmp::Reverse(cpu)))?;
        let most = self.load_of(busiest);
        self.queues.of(busiest).find_map(|vcpu| {
            let siblings = self.homes.siblings(vcpu, view);
            let choice = view.preferred(vcpu);
            let apart = choice.iter().filter(|cpu| siblings[cpu.index()] == 0);
            let best = apart.min_by_key(|&cpu| (self.load_of(cpu), cpu))?;
            let after = self.load_of(best) + Homes::share(vcpu, view);
            (after + most / 4 <= most).then_some((vcpu, best))
        })
    }

    fn load_of(&self, cpu: CpuId) -> u64 {
        match &self.mode {
            Mode::Balance(rebalance) => rebalance.loads[cpu.index()],
            Mode::Steal => 0,
        }
    }
}
