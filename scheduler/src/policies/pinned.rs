//! `pinned`: every vCPU has one CPU for ever.
//!
//! Problem: how much of a result is due to scheduling at all? Something must show what happens when
//! nothing is decided.
//!
//! Approach: vCPU `i` of a VM goes to the `i`-th CPU that it may use, counted on from where the VM
//! before it ended. vCPUs that share a CPU take turns of one quantum.
//!
//! Source: the "null" scheduler of Xen, with round robin where it would refuse.

use std::collections::VecDeque;

use crate::policy::{Claims, Event, Policy};
use crate::registry::Args;
use crate::{CpuId, Nanos, Plan, Topology, VcpuId, View};

/// See the module's head.
#[derive(Debug)]
pub struct Pinned {
    quantum_ns: Nanos,
    /// Per CPU: whose turn it is.
    running: Vec<Option<VcpuId>>,
    /// Per CPU: who waits for a turn, first come first served.
    queues: Vec<VecDeque<VcpuId>>,
    /// Per vCPU: its CPU.
    homes: Vec<Option<CpuId>>,
    /// Where the next VM begins.
    next: usize,
}

impl Pinned {
    /// From `pinned:quantum=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        Self {
            quantum_ns: args.duration("quantum"),
            running: vec![None; topology.cpu_count()],
            queues: vec![VecDeque::new(); topology.cpu_count()],
            homes: Vec::new(),
            next: 0,
        }
    }

    /// Gives a vCPU its home, and a place in the queue there if it can run.
    fn settle(&mut self, vcpu: VcpuId, view: &View) {
        let allowed: Vec<CpuId> = view.preferred(vcpu).iter().collect();
        if self.homes.len() < view.vcpu_ids() {
            self.homes.resize(view.vcpu_ids(), None);
        }
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
        if let Some(home) = self.homes[vcpu.index()] {
            self.queues[home.index()].push_back(vcpu);
        }
    }

    /// A vCPU no longer wants its CPU.
    fn withdraw(&mut self, vcpu: VcpuId) {
        if let Some(home) = self.homes.get(vcpu.index()).copied().flatten() {
            self.queues[home.index()].retain(|&waiting| waiting != vcpu);
            if self.running[home.index()] == Some(vcpu) {
                self.running[home.index()] = None;
            }
        }
    }

    /// Gives a free CPU to the first in its queue.
    fn dispatch(&mut self, now: Nanos, cpu: CpuId, plan: &mut Plan) {
        if self.running[cpu.index()].is_some() {
            return;
        }
        match self.queues[cpu.index()].pop_front() {
            Some(vcpu) => {
                self.running[cpu.index()] = Some(vcpu);
                plan.because("next in its CPU's queue");
                plan.run(cpu, vcpu, Some(now + self.quantum_ns));
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
        Claims::default()
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        match *event {
            Event::Arrive { vm } => {
                for vcpu in view.vm(vm).vcpus() {
                    self.settle(vcpu, view);
                }
                for cpu in view.online().iter() {
                    if !self.queues[cpu.index()].is_empty() {
                        self.dispatch(now, cpu, plan);
                    }
                }
            }
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
            Event::Offline { .. } | Event::Changed { .. } => self.resettle(now, view, plan),
            Event::Tick | Event::LockHint { .. } => {}
        }
    }
}

impl Pinned {
    /// vCPUs whose home is forbidden to them now get another.
    fn resettle(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let displaced = view.vcpus().filter(|(vcpu, state)| {
            let home = self.homes[vcpu.index()];
            home.is_none_or(|home| !state.allowed.contains(home))
        });
        let displaced: Vec<VcpuId> = displaced.map(|(vcpu, _)| vcpu).collect();
        for vcpu in displaced {
            let left = self.homes.get(vcpu.index()).copied().flatten();
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
