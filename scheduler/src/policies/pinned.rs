//! `pinned`: every vCPU has one CPU for ever.
//!
//! Problem: how much of a result is due to scheduling at all? Something must show what happens when
//! nothing is decided.
//!
//! Approach: vCPU `i` of a VM goes to the `i`-th CPU that it may use, counted on from where the VM
//! before it ended. vCPUs that share a CPU take turns of one quantum. CPUs that began together stay in
//! phase for ever, which no real ones do: with `vary` turns differ by chance, so that phases become
//! independent of each other. With `antiphase` turns begin and end at multiples of the quantum, and CPUs
//! with odd numbers are one turn ahead of the others: of two VMs, one always has the even CPUs while the
//! other has the odd ones.
//!
//! Source: the "null" scheduler of Xen, with round robin where it would refuse.

use std::collections::VecDeque;

use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::SplitMix64;

use crate::params::{Args, Kind, Param, QUANTUM_10};
use crate::policy::{Claims, Event, Load, Policy};
use crate::{CpuId, MS, Nanos, Plan, Topology, VcpuId, View};

/// The longest quantum for which it is promised that nobody starves.
const QUANTUM: Nanos = 10 * MS;

/// What can be set.
pub const PARAMS: &[Param] = &[
    QUANTUM_10,
    Param {
        name: "vary",
        kind: Kind::Count {
            default: 0,
            min: 0,
            max: 100,
            unit: "percent",
        },
        meaning: "by how much turns are shorter or longer at most, by chance",
    },
    Param {
        name: "antiphase",
        kind: Kind::Flag { default: false },
        meaning: "CPUs with odd numbers are one turn ahead of the others, and nothing varies",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Pinned {
    quantum_ns: Nanos,
    /// By how much a turn is shorter or longer at most.
    vary_ns: Nanos,
    random: SplitMix64,
    /// CPUs with odd numbers are one turn ahead.
    antiphase: bool,
    /// Per CPU: whose turn it is.
    running: Vec<Option<VcpuId>>,
    /// Per CPU: who waits for a turn, first come first served.
    queues: Vec<VecDeque<VcpuId>>,
    /// Per vCPU: its CPU.
    homes: Vec<Option<CpuId>>,
    /// Where the next VM begins.
    next: usize,
    /// The [`View::revision`] that `homes` follow.
    revision: u64,
}

impl Pinned {
    /// From `pinned:quantum=,vary=,antiphase`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        let quantum_ns = args.duration("quantum");
        Self {
            quantum_ns,
            vary_ns: quantum_ns * args.count("vary") / 100,
            random: SplitMix64::seed_from_u64(1),
            antiphase: args.flag("antiphase"),
            running: vec![None; topology.cpu_count()],
            queues: vec![VecDeque::new(); topology.cpu_count()],
            homes: Vec::new(),
            next: 0,
            revision: 0,
        }
    }

    /// Gives a vCPU its home, and a place in the queue there if it can run.
    fn settle(&mut self, vcpu: VcpuId, view: &View) {
        let allowed: Vec<CpuId> = view.preferred(vcpu).iter().collect();
        self.homes[vcpu.index()] = if allowed.is_empty() {
            None
        } else {
            Some(allowed[self.next % allowed.len()])
        };
        self.next += 1;
        if view.vcpu(vcpu).runnable() {
            self.enqueue(vcpu);
        }
    }

    fn enqueue(&mut self, vcpu: VcpuId) {
        let Some(home) = self.homes[vcpu.index()] else {
            return;
        };
        let queue = &mut self.queues[home.index()];
        // Who was given a new home waits there before it is told that it was woken.
        if self.running[home.index()] != Some(vcpu) && !queue.contains(&vcpu) {
            queue.push_back(vcpu);
        }
    }

    /// A vCPU no longer wants its CPU.
    fn withdraw(&mut self, vcpu: VcpuId) {
        if let Some(home) = self.homes[vcpu.index()] {
            self.queues[home.index()].retain(|&waiting| waiting != vcpu);
            if self.running[home.index()] == Some(vcpu) {
                self.running[home.index()] = None;
            }
        }
    }

    /// When a turn that begins now ends: after a hundredth of a quantum at least.
    fn turn_end(&mut self, now: Nanos) -> Nanos {
        if self.antiphase {
            return (now / self.quantum_ns + 1) * self.quantum_ns;
        }
        if self.vary_ns == 0 {
            return now + self.quantum_ns;
        }
        let drawn = self.random.next_u64() % (2 * self.vary_ns + 1);
        now + (self.quantum_ns - self.vary_ns + drawn).max(self.quantum_ns / 100)
    }

    /// Who is next on a CPU, and waits no more.
    fn take_next(&mut self, now: Nanos, cpu: CpuId) -> Option<VcpuId> {
        if !self.antiphase {
            return self.queues[cpu.index()].pop_front();
        }
        // Turns go around among all who live here, also those who have nothing to do at present:
        // who has one depends on the time alone.
        let homes = self.homes.iter().enumerate();
        let lives_here = homes.filter(|(_, home)| **home == Some(cpu));
        let residents: Vec<VcpuId> = lives_here.map(|(id, _)| VcpuId(id as u32)).collect();
        let turn = (now / self.quantum_ns) as usize + cpu.index() % 2;
        let queue = &mut self.queues[cpu.index()];
        let order = (0..residents.len()).map(|step| residents[(turn + step) % residents.len()]);
        let place = order.filter_map(|vcpu| queue.iter().position(|&waiting| waiting == vcpu));
        let place = { place }.next()?;
        queue.remove(place)
    }

    /// Gives a free CPU to the first in its queue.
    fn dispatch(&mut self, now: Nanos, cpu: CpuId, plan: &mut Plan) {
        if self.running[cpu.index()].is_some() {
            return;
        }
        match self.take_next(now, cpu) {
            Some(vcpu) => {
                self.running[cpu.index()] = Some(vcpu);
                plan.because("next in its CPU's queue");
                plan.run(cpu, vcpu, Some(self.turn_end(now)));
            }
            None => plan.because("nobody waits here").idle(cpu),
        }
    }
}

impl Policy for Pinned {
    fn name(&self) -> &'static str {
        "pinned"
    }

    fn claims(&self) -> Claims {
        let usual = self.quantum_ns <= QUANTUM;
        Claims {
            ready_max_ns: usual.then_some(ready_max),
            ..Claims::default()
        }
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        self.homes.resize(view.vcpu_ids(), None);
        // The view may show a change that will be told only after this event.
        if self.revision != view.revision() {
            self.revision = view.revision();
            self.resettle(now, view, plan);
        }
        match *event {
            Event::Leave { vm } => {
                for vcpu in view.vm(vm).vcpus() {
                    self.withdraw(vcpu);
                    self.homes[vcpu.index()] = None;
                }
            }
            Event::Wake { vcpu } => {
                self.enqueue(vcpu);
                if let Some(home) = self.homes[vcpu.index()] {
                    self.dispatch(now, home, plan);
                }
            }
            Event::Halt { vcpu } => {
                let home = self.homes[vcpu.index()];
                let ran = home.filter(|home| self.running[home.index()] == Some(vcpu));
                self.withdraw(vcpu);
                if let Some(home) = ran {
                    self.dispatch(now, home, plan);
                }
            }
            Event::SliceEnd { cpu } => {
                if let Some(vcpu) = self.running[cpu.index()].take() {
                    self.enqueue(vcpu);
                }
                self.dispatch(now, cpu, plan);
            }
            Event::Idle { cpu } => self.dispatch(now, cpu, plan),
            // All that they tell was in the view.
            Event::Arrive { .. }
            | Event::Offline { .. }
            | Event::Changed { .. }
            | Event::Tick
            | Event::LockHint { .. }
            | Event::Borrowed { .. } => {}
        }
    }
}

impl Pinned {
    /// vCPUs without a home get one, and those whose home is forbidden to them now get another.
    fn resettle(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let displaced = view.vcpus().filter(|(vcpu, state)| {
            let home = self.homes[vcpu.index()];
            home.is_none_or(|home| !state.allowed.contains(home))
        });
        let displaced: Vec<VcpuId> = displaced.map(|(vcpu, _)| vcpu).collect();
        for vcpu in displaced {
            let left = self.homes[vcpu.index()];
            self.withdraw(vcpu);
            self.settle(vcpu, view);
            if let Some(left) = left.filter(|&left| view.online().contains(left)) {
                self.dispatch(now, left, plan);
            }
            if let Some(home) = self.homes[vcpu.index()] {
                self.dispatch(now, home, plan);
            }
        }
    }
}

/// See [`Claims::ready_max_ns`]. All vCPUs may have the same home if CPUs have been away. Each of the others
/// has a turn at most, which may be twice as long as the quantum.
fn ready_max(load: &Load) -> Nanos {
    2 * QUANTUM * load.vcpus
}

#[cfg(test)]
mod tests;
