//! One CPU's queue under "earliest eligible virtual deadline first".
//!
//! Problem: share a CPU by weights, and serve those soon who ask for little at a time.
//!
//! Approach: everybody has a virtual time that passes the slower the heavier he is while he runs. The
//! queue's own virtual time is their average by weight. Who is behind it is *eligible*; the eligible one
//! whose request (a slice) would end first runs. How far somebody is behind when he goes to sleep or
//! moves is his *lag*; he gets it back when he joins again.
//!
//! Terms: all virtual times are signed nanoseconds at the usual weight.
//!
//! Source: Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First" (1995).

use std::collections::BTreeMap;

use crate::{Nanos, VcpuId};

/// The weight at which virtual time is time.
pub(super) const WEIGHT_UNIT: i64 = 1024;

/// Somebody who is in no queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entity {
    /// His share.
    pub weight: i64,
    lag: i64,
    /// What is left of his request, from his virtual time on.
    request: Option<i64>,
    /// He has never run: his first request is a half one, so that he gets going soon.
    new: bool,
}

impl Entity {
    pub(super) fn new(weight: i64) -> Self {
        Self {
            weight,
            lag: 0,
            request: None,
            new: true,
        }
    }

    fn virtual_ns(&self, time: Nanos) -> i64 {
        time as i64 * WEIGHT_UNIT / self.weight
    }
}

/// Somebody in the queue.
#[derive(Debug, Clone, Copy)]
struct Queued {
    entity: Entity,
    vruntime: i64,
    deadline: i64,
}

/// Who has the CPU.
#[derive(Debug, Clone, Copy)]
struct Current {
    vcpu: VcpuId,
    queued: Queued,
    /// Up to when he was charged.
    charged_at: Nanos,
    /// Until this virtual time nobody who wakes may take the CPU from him.
    protected_until: i64,
    /// His request is served.
    expired: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct RunQueue {
    slice_ns: Nanos,
    lag_max_ns: Nanos,
    waiting: BTreeMap<(i64, VcpuId), Queued>,
    current: Option<Current>,
    weight: i64,
    /// Of weight times virtual time over all.
    sum: i128,
    /// The queue's virtual time when it was last left empty.
    vtime: i64,
}

impl RunQueue {
    pub(super) fn new(slice_ns: Nanos, tick_ns: Nanos) -> Self {
        Self {
            slice_ns,
            lag_max_ns: tick_ns.max(2 * slice_ns),
            waiting: BTreeMap::new(),
            current: None,
            weight: 0,
            sum: 0,
            vtime: 0,
        }
    }

    pub(super) fn current(&self) -> Option<VcpuId> {
        self.current.map(|current| current.vcpu)
    }

    /// Those who wait, by deadline.
    pub(super) fn waiting(&self) -> impl Iterator<Item = VcpuId> {
        self.waiting.keys().map(|&(_, vcpu)| vcpu)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }

    /// The sum of all weights.
    pub(super) fn weight(&self) -> i64 {
        self.weight
    }

    /// Charges who runs.
    fn update(&mut self, now: Nanos) {
        let Some(current) = &mut self.current else {
            return;
        };
        let queued = &mut current.queued;
        let passed = queued.entity.virtual_ns(now - current.charged_at);
        current.charged_at = now;
        queued.vruntime += passed;
        self.sum += i128::from(passed) * i128::from(queued.entity.weight);
        if queued.vruntime >= queued.deadline {
            queued.deadline = queued.vruntime + queued.entity.virtual_ns(self.slice_ns);
            current.expired = true;
        }
    }

    fn average(&self) -> i64 {
        match self.weight {
            0 => self.vtime,
            weight => self.sum.div_euclid(i128::from(weight)) as i64,
        }
    }

    /// Somebody comes; he waits until he is picked.
    pub(super) fn join(&mut self, now: Nanos, vcpu: VcpuId, entity: Entity) {
        self.update(now);
        // His coming moves the average towards him, which would eat up a part of his lag.
        let lag = match self.weight {
            0 => 0,
            weight => {
                let grown = i128::from(entity.lag) * i128::from(weight + entity.weight);
                (grown / i128::from(weight)) as i64
            }
        };
        let vruntime = self.average() - lag;
        let slice = entity.virtual_ns(self.slice_ns);
        let first = if entity.new { slice / 2 } else { slice };
        let deadline = vruntime + entity.request.unwrap_or(first);
        let queued = Queued {
            entity: Entity {
                new: false,
                ..entity
            },
            vruntime,
            deadline,
        };
        self.weight += entity.weight;
        self.sum += i128::from(vruntime) * i128::from(entity.weight);
        self.waiting.insert((deadline, vcpu), queued);
    }

    /// Somebody goes: to sleep, or to another queue with what is left of his request.
    ///
    /// # Panics
    /// If he is not here.
    pub(super) fn leave(&mut self, now: Nanos, vcpu: VcpuId, asleep: bool) -> Entity {
        self.update(now);
        let queued = match self.current.take_if(|current| current.vcpu == vcpu) {
            Some(current) => current.queued,
            None => {
                let mut keys = self.waiting.keys();
                let key = keys.find(|&&(_, waiting)| waiting == vcpu).copied();
                let key = key.expect("a vCPU that is in this queue");
                self.waiting.remove(&key).expect("it was just found")
            }
        };
        let entity = queued.entity;
        let limit = entity.virtual_ns(self.lag_max_ns);
        self.vtime = self.average();
        let lag = (self.vtime - queued.vruntime).clamp(-limit, limit);
        self.weight -= entity.weight;
        self.sum -= i128::from(queued.vruntime) * i128::from(entity.weight);
        let request = (!asleep).then_some(queued.deadline - queued.vruntime);
        Entity {
            lag,
            request,
            ..entity
        }
    }

    fn is_eligible(&self, queued: &Queued) -> bool {
        i128::from(queued.vruntime) * i128::from(self.weight) <= self.sum
    }

    /// Whoever should run: of those who are eligible the one with the earliest deadline.
    fn best(&self) -> Option<(i64, VcpuId)> {
        let mut waiting = self.waiting.iter();
        let waiting = waiting.find(|(_, queued)| self.is_eligible(queued));
        let current = self.current.filter(|now| self.is_eligible(&now.queued));
        let current = current.map(|now| (now.queued.deadline, now.vcpu));
        waiting
            .map(|(&key, _)| key)
            .into_iter()
            .chain(current)
            .min()
    }

    /// Gives the CPU to whoever should run.
    pub(super) fn pick(&mut self, now: Nanos) {
        self.update(now);
        if let Some(current) = self.current.take() {
            let key = (current.queued.deadline, current.vcpu);
            self.waiting.insert(key, current.queued);
        }
        self.current = self.best().map(|key| {
            let queued = self.waiting.remove(&key).expect("it was just found");
            Current {
                vcpu: key.1,
                queued,
                charged_at: now,
                protected_until: queued.deadline,
                expired: false,
            }
        });
    }

    /// Whether a tick at `now` makes who runs give way.
    pub(super) fn is_served(&mut self, now: Nanos) -> bool {
        self.update(now);
        self.current.is_none_or(|current| current.expired)
    }

    /// Whether somebody who has just joined takes the CPU at once.
    pub(super) fn preempts(&mut self, now: Nanos, vcpu: VcpuId) -> bool {
        self.update(now);
        let Some(current) = self.current else {
            return true;
        };
        let protected = current.queued.vruntime < current.protected_until;
        !protected && self.best().is_some_and(|best| best.1 == vcpu)
    }
}

#[cfg(test)]
mod tests;
