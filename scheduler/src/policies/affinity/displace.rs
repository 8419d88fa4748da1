//! Who has to leave a CPU for whom.

use super::Affinity;
use crate::policies::fair_queues::VirtualTime;
use crate::{CpuId, MS, Nanos, Plan, VcpuId, View};

/// How much CPU time a vCPU that wakes must be owed to take another's CPU.
const PREEMPT_NS: Nanos = MS;

impl Affinity {
    /// Somebody has woken and waits: it takes its home from who is much further, or another CPU from who
    /// is further still.
    pub(super) fn preempt(&mut self, now: Nanos, woken: VcpuId, view: &View, plan: &mut Plan) {
        let Some((_, worker)) = self.inferior(now, woken, view) else {
            return;
        };
        self.make_way(woken, worker, self.quantum_ns / 2, view);
        if let Some((cpu, worker)) = self.inferior(now, woken, view) {
            self.seats.free(cpu);
            self.push(cpu, worker, view);
            self.dispatch(now, cpu, view, plan);
            self.find_refuge(now, worker, view, plan);
        }
    }

    /// Who works at the home of one that has woken, and is so far ahead of it that it has to leave.
    fn inferior(&mut self, now: Nanos, woken: VcpuId, view: &View) -> Option<(CpuId, VcpuId)> {
        let cpu = self.homes.of(woken)?;
        let worker = self.seats.worker(cpu)?;
        self.charge(now, worker, view);
        let margin = self.meter.cost(PREEMPT_NS, woken, view);
        let owed = self.queues.time(woken) + VirtualTime::from(margin) < self.queues.time(worker);
        let is_inferior = owed && self.queues.first(cpu, view) == Some(woken);
        is_inferior.then_some((cpu, worker))
    }

    /// `next` is due before `worker`. But if another CPU would fetch that at once, `worker` may stay:
    /// `next` waits at the other CPU, if it has waited here. Tells whether it is so.
    pub(super) fn make_way(
        &mut self,
        next: VcpuId,
        worker: VcpuId,
        credit_ns: Nanos,
        view: &View,
    ) -> bool {
        let patience = self.meter.cost(self.slack_ns, worker, view);
        let end = self.queues.time(worker) + VirtualTime::from(patience);
        let busy = view.vcpu(next).allowed - self.seats.idle();
        let other = self.queues.furthest(end, busy);
        let Some(other) = other.filter(|_| self.steals()) else {
            return false;
        };
        if self.homes.of(next) == self.homes.of(worker) {
            self.queues.remove(next);
            self.wait_at(other, next, credit_ns, view);
        }
        true
    }

    /// Somebody has lost its CPU to one that may run nowhere else: an idle CPU takes it.
    pub(super) fn find_refuge(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let waits = self.steals() && self.seats.of(vcpu).is_none() && view.vcpu(vcpu).runnable();
        if waits && let Some(idle) = self.seats.nearest_idle(vcpu, view) {
            self.wind(idle);
            self.dispatch(now, idle, view, plan);
        }
    }
}
