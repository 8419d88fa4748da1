//! `hybrid`: a central list, and a list per CPU of those who were there last.
//!
//! Problem: with one list vCPUs wander and find cold caches; with one list per CPU some CPUs are
//! crowded while others serve whoever comes.
//!
//! Approach: everybody who is ready stands in the central list. Who has just left a CPU stands in
//! that CPU's own list too, as long as its caches may be warm. A CPU compares the first of both: its
//! own is preferred if it is not more than `bonus` levels behind. A CPU that takes from its own list
//! needs no lock that others want. Whoever waits gains one level per `age`, so that the bonus of
//! others delays nobody for long. How priorities come about: [`timeshare`](super::timeshare).
//!
//! Terms: *level*: a priority, smaller is better; *rank*: a level at the time when the wait began,
//! with age.
//!
//! Source: Barton, Bitar, "A Scalable Multi-Discipline, Multiple-Processor Scheduling Framework for
//! IRIX", 1995; the bonus and the ages are our own.

use std::collections::BTreeSet;

use super::central::LOCK;
use super::central::Lock;
use super::seats::may_run;
use super::timeshare::DECAY;
use super::timeshare::{ReadyQueue, Timeshare};
use crate::params::{Args, Kind, Param, QUANTUM_10};
use crate::{CpuId, MS, Nanos, SECOND, Topology, US, VcpuId, View};

/// The bonus and the age that are the default.
const BONUS: u64 = 4;
const AGE: Nanos = 20 * MS;

/// What can be set.
pub const PARAMS: &[Param] = &[
    QUANTUM_10,
    DECAY,
    LOCK,
    Param {
        name: "bonus",
        kind: Kind::Count {
            default: BONUS,
            min: 0,
            max: 1_000,
            unit: "levels; a quantum costs 2",
        },
        meaning: "how far ahead of others those are who were on the CPU last",
    },
    Param {
        name: "warm",
        kind: Kind::Duration {
            default: 20 * MS,
            min: 0,
            max: 10 * SECOND,
        },
        meaning: "how long after leaving a CPU they are",
    },
    Param {
        name: "age",
        kind: Kind::Duration {
            default: AGE,
            min: US,
            max: 10 * SECOND,
        },
        meaning: "how long a wait is worth a level",
    },
];

/// See the module's head.
pub type Hybrid = Timeshare<HybridQueue>;

impl Hybrid {
    /// From `hybrid:quantum=,decay=,lock=,bonus=,warm=,age=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        let queue = HybridQueue {
            bonus: args.count("bonus"),
            warm_ns: args.duration("warm"),
            age_ns: args.duration("age"),
            central: BTreeSet::new(),
            own: vec![BTreeSet::new(); topology.cpu_count()],
            waits: Vec::new(),
            arrivals: 0,
            lock: Lock::new(args.duration("lock")),
        };
        Self::with_queue(queue, args, topology)
    }
}

/// By rank, then first come first served.
type Ranked = (u64, u64, VcpuId);

/// A vCPU's wait.
#[derive(Debug, Clone, Copy)]
struct Wait {
    entry: Ranked,
    since: Nanos,
    /// The CPU in whose own list it stands.
    own: Option<CpuId>,
}

/// The lists.
#[derive(Debug)]
pub struct HybridQueue {
    bonus: u64,
    warm_ns: Nanos,
    age_ns: Nanos,
    central: BTreeSet<Ranked>,
    own: Vec<BTreeSet<Ranked>>,
    /// Per vCPU.
    waits: Vec<Option<Wait>>,
    /// The number of those who ever came.
    arrivals: u64,
    lock: Lock,
}

impl HybridQueue {
    /// The best in a CPU's own list that still finds warm caches there.
    fn best_of_own(&self, now: Nanos, cpu: CpuId, view: &View) -> Option<Ranked> {
        let warm = |vcpu: VcpuId| now - view.vcpu(vcpu).left_at <= self.warm_ns;
        let mut own = self.own[cpu.index()].iter();
        own.find(|&&(_, _, vcpu)| may_run(view, vcpu, cpu) && warm(vcpu))
            .copied()
    }

    /// The best for a CPU, and whether it comes from the CPU's own list.
    fn choose(&self, now: Nanos, cpu: CpuId, view: &View) -> Option<(VcpuId, bool)> {
        let mut central = self.central.iter();
        let &first = central.find(|&&(_, _, vcpu)| may_run(view, vcpu, cpu))?;
        let own = self.best_of_own(now, cpu, view);
        let chosen = own.filter(|&(rank, ..)| rank <= first.0 + self.bonus);
        Some(chosen.map_or((first.2, false), |(_, _, vcpu)| (vcpu, true)))
    }

    fn insert(&mut self, vcpu: VcpuId, wait: Wait) {
        self.central.insert(wait.entry);
        if let Some(cpu) = wait.own {
            self.own[cpu.index()].insert(wait.entry);
        }
        self.waits[vcpu.index()] = Some(wait);
    }
}

impl ReadyQueue for HybridQueue {
    const NAME: &'static str = "hybrid";

    fn push(&mut self, now: Nanos, vcpu: VcpuId, level: u64, view: &View) {
        if self.waits.len() < view.vcpu_ids() {
            self.waits.resize(view.vcpu_ids(), None);
        }
        self.arrivals += 1;
        let wait = Wait {
            // Who comes later is older by less: it stands further behind.
            entry: (level + now / self.age_ns, self.arrivals, vcpu),
            since: now,
            own: view.vcpu(vcpu).last_cpu,
        };
        self.insert(vcpu, wait);
    }

    fn remove(&mut self, vcpu: VcpuId) -> bool {
        let wait = self.waits.get_mut(vcpu.index()).and_then(Option::take);
        if let Some(wait) = wait {
            self.central.remove(&wait.entry);
            if let Some(cpu) = wait.own {
                self.own[cpu.index()].remove(&wait.entry);
            }
        }
        wait.is_some()
    }

    fn best_for(&self, now: Nanos, cpu: CpuId, view: &View) -> Option<VcpuId> {
        self.choose(now, cpu, view).map(|(vcpu, _)| vcpu)
    }

    fn take(&mut self, now: Nanos, cpu: CpuId, view: &View) -> Option<(VcpuId, Nanos)> {
        let (vcpu, own) = self.choose(now, cpu, view)?;
        self.remove(vcpu);
        let cost_ns = if own { 0 } else { self.lock.wait_and_hold(now) };
        Some((vcpu, cost_ns))
    }

    fn is_usual(&self) -> bool {
        self.bonus <= BONUS && self.age_ns <= AGE
    }

    fn rank_again(&mut self, level: impl Fn(VcpuId) -> u64) {
        for (_, arrival, vcpu) in std::mem::take(&mut self.central) {
            let wait = self.waits[vcpu.index()].expect("whoever is in the list waits");
            self.remove(vcpu);
            let rank = level(vcpu) + wait.since / self.age_ns;
            let entry = (rank, arrival, vcpu);
            self.insert(vcpu, Wait { entry, ..wait });
        }
    }
}

#[cfg(test)]
mod tests;
