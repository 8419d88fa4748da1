//! Passes the engine's orders on to the agents.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_scheduler::{Actuator, Nanos, Switch, VmId};
use muster_vmm::thread_schedule::{Class, set_class};

use crate::agent::{Agent, Order};
use crate::enforcement::{EAGER, Enforcement, USUAL, Way};
use crate::records::Records;
use crate::seat::Seat;
use crate::snapshot::Decision;

/// The agents, and what is needed to tell them. The engine's [`Actuator`].
#[derive(Debug)]
pub(crate) struct AgentActuator {
    /// Per host CPU; CPUs that VMs may not use have none.
    pub agents: Vec<Option<Agent>>,
    /// Per vCPU of the engine.
    pub seats: Vec<Option<Arc<Seat>>>,
    /// Per CPU: what was last ordered, for an agent that could not carry it out in time.
    pub orders: Vec<Option<Order>>,
    pub records: Records,
    pub way: Way,
    /// The host's kernel schedules: nothing is passed on.
    pub is_idle: bool,
}

impl AgentActuator {
    /// The vCPU of this number.
    pub(crate) fn seat(&self, index: usize) -> Option<&Arc<Seat>> {
        self.seats.get(index)?.as_ref()
    }

    /// Tells the agents for when their next orders are likely to be.
    pub(crate) fn expect(&self, at: Nanos) {
        for agent in self.agents.iter().flatten() {
            agent.expect(at);
        }
    }

    /// Orders again what an agent gave up.
    pub(crate) fn insist(&self, cpu: usize, now: Nanos) {
        let order = self.orders.get(cpu).cloned().flatten();
        if let (Some(Some(agent)), Some(mut order)) = (self.agents.get(cpu), order) {
            order.at = now;
            agent.order(order);
        }
    }

    /// A vCPU waits for interrupts most of the time, or does so no more.
    pub(crate) fn set_halted(&self, seat: &Seat, halted: bool) {
        seat.set_halted(halted);
        self.settle(seat);
    }

    /// Gives a vCPU's thread the class for what it is about. Whoever waits for interrupts most of the
    /// time runs at once when one comes, whoever has the CPU: what it takes is little, and it is looked
    /// at again soon. Under the host's own scheduler nothing changes.
    pub(crate) fn settle(&self, seat: &Seat) {
        if self.is_idle {
            return;
        }
        let class = match seat.enforcement {
            Enforcement::Gate if seat.is_halted() && self.way.permits.real_time => EAGER,
            Enforcement::Pulse if !seat.is_halted() && seat.cpu().is_none() => Class::Idle,
            _ => USUAL,
        };
        // Without the leave for it a way is not chosen, and a thread that has ended needs no class.
        let _ = set_class(seat.tid(), class);
        if class == Class::Idle && seat.cpu().is_some() {
            // Its turn has begun meanwhile.
            let _ = set_class(seat.tid(), USUAL);
        }
    }

    /// Every agent forgets whom it has.
    pub(crate) fn let_go(&mut self) {
        self.orders.fill(None);
        for agent in self.agents.iter().flatten() {
            agent.order(Order {
                at: 0,
                next: None,
                grace_ns: 0,
                may_pulse: self.way.permits.real_time,
                let_go: true,
            });
        }
    }
}

impl Actuator for AgentActuator {
    fn switch(&mut self, now: Nanos, switches: &[Switch]) {
        if self.is_idle {
            return;
        }
        for switch in switches {
            let cpu = switch.cpu.index();
            let next = switch.next.and_then(|(vcpu, level)| {
                let seat = self.seat(vcpu.index())?.clone();
                Some((seat, level))
            });
            let before = self.orders[cpu]
                .as_ref()
                .and_then(|order| order.next.as_ref());
            self.records.decide(Decision {
                at_ns: now,
                cpu: switch.cpu.0,
                from: before.map(|(seat, _)| seat.name.clone()),
                to: next.as_ref().map(|(seat, _)| seat.name.clone()),
                reason: switch.reason.to_owned(),
            });
            let order = Order {
                at: now,
                next,
                grace_ns: switch.grace_ns,
                may_pulse: self.way.permits.real_time,
                let_go: false,
            };
            if let Some(agent) = &self.agents[cpu] {
                agent.order(order.clone());
            }
            self.orders[cpu] = Some(order);
        }
    }

    fn advise(&mut self, _now: Nanos, vm: VmId, cpus: u32) {
        let seats = self.seats.iter().flatten();
        // All vCPUs of a VM share one page, so that one of them is enough.
        if let Some(seat) = { seats }.find(|seat| seat.vm == vm) {
            let header = seat.board().guest_header();
            header.cpus_advised.store(cpus, Ordering::Relaxed);
        }
    }
}
