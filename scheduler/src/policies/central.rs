//! `central`: one list of ready vCPUs for all CPUs.
//!
//! Problem: which vCPU runs next, and on which CPU?
//!
//! Approach: all ready vCPUs wait in one list by priority. A CPU that has nothing to do locks the
//! list and takes the first. No CPU can idle while another has work waiting, and nothing need ever be
//! balanced; but vCPUs wander over the host and find cold caches, and all CPUs want the same lock.
//! The lock is modelled: a CPU that comes while it is held waits until those before it have done.
//! How priorities come about: [`timeshare`](super::timeshare).
//!
//! Terms: *level*: a priority, smaller is better.
//!
//! Source: the single scheduling data structure of Tanenbaum's "Modern Operating Systems",
//! section 8.1.4.

use std::collections::BTreeSet;

use super::seats::may_run;
use super::timeshare::DECAY;
use super::timeshare::{ReadyQueue, Timeshare};
use crate::params::{Args, Kind, Param, QUANTUM_10};
use crate::{CpuId, MS, Nanos, Topology, VcpuId, View};

/// How long the list is locked: here and in [`hybrid`](super::hybrid).
pub const LOCK: Param = Param {
    name: "lock",
    kind: Kind::Duration {
        default: 200,
        min: 0,
        max: MS,
    },
    meaning: "how long a CPU holds the lock of the list that all share; 0ns: it costs nothing",
};

/// What can be set.
pub const PARAMS: &[Param] = &[QUANTUM_10, DECAY, LOCK];

/// See the module's head.
pub type Central = Timeshare<CentralQueue>;

impl Central {
    /// From `central:quantum=,decay=,lock=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        let queue = CentralQueue {
            lock: Lock::new(args.duration("lock")),
            ..CentralQueue::default()
        };
        Self::with_queue(queue, args, topology)
    }
}

/// The list.
#[derive(Debug, Default)]
pub struct CentralQueue {
    /// By level, then first come first served.
    ready: BTreeSet<(u64, u64, VcpuId)>,
    /// Per vCPU: the first two parts of its entry.
    place: Vec<Option<(u64, u64)>>,
    /// The number of those who ever came.
    arrivals: u64,
    lock: Lock,
}

impl ReadyQueue for CentralQueue {
    const NAME: &'static str = "central";

    fn push(&mut self, _now: Nanos, vcpu: VcpuId, level: u64, view: &View) {
        if self.place.len() < view.vcpu_ids() {
            self.place.resize(view.vcpu_ids(), None);
        }
        self.arrivals += 1;
        self.place[vcpu.index()] = Some((level, self.arrivals));
        self.ready.insert((level, self.arrivals, vcpu));
    }

    fn remove(&mut self, vcpu: VcpuId) -> bool {
        let place = self.place.get_mut(vcpu.index()).and_then(Option::take);
        place.is_some_and(|(level, arrival)| self.ready.remove(&(level, arrival, vcpu)))
    }

    fn best_for(&self, _now: Nanos, cpu: CpuId, view: &View) -> Option<VcpuId> {
        let mut vcpus = self.ready.iter().map(|&(_, _, vcpu)| vcpu);
        vcpus.find(|&vcpu| may_run(view, vcpu, cpu))
    }

    fn take(&mut self, now: Nanos, cpu: CpuId, view: &View) -> Option<(VcpuId, Nanos)> {
        let vcpu = self.best_for(now, cpu, view)?;
        self.remove(vcpu);
        Some((vcpu, self.lock.wait_and_hold(now)))
    }

    fn rank_again(&mut self, level: impl Fn(VcpuId) -> u64) {
        for (_, arrival, vcpu) in std::mem::take(&mut self.ready) {
            let level = level(vcpu);
            self.place[vcpu.index()] = Some((level, arrival));
            self.ready.insert((level, arrival, vcpu));
        }
    }
}

/// What a lock that all CPUs share costs: each holds it equally long, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lock {
    hold_ns: Nanos,
    free_at: Nanos,
}

impl Lock {
    pub(super) fn new(hold_ns: Nanos) -> Self {
        Self {
            hold_ns,
            free_at: 0,
        }
    }

    /// Somebody comes for it now. Tells when it has done, from now on.
    pub(super) fn wait_and_hold(&mut self, now: Nanos) -> Nanos {
        self.free_at = self.free_at.max(now) + self.hold_ns;
        self.free_at - now
    }
}

#[cfg(test)]
mod tests;
