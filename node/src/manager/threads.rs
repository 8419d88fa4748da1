//! What is done to the threads of VMs, and undone.

use muster_vmm::board::{LEASE_NS_MAX, now_ns};

use super::Manager;
use crate::enforcement::Enforcement;
use crate::guest::Guest;
use crate::host_placement;
use crate::schedule::Schedule;

impl Manager {
    /// Closes the gates of those who run without a turn, and opens those that hold nobody back. Among
    /// these are gates of halted vCPUs: one may have been seen to halt while its gate was about to
    /// close, and behind it no interrupt would ever reach it.
    pub(super) fn mend(&self) {
        for seat in self.seats() {
            let by_gate = !self.actuator.is_idle && seat.enforcement == Enforcement::Gate;
            let held_back = self.engine.view().vcpu(seat.id).co_stopped;
            if seat.cpu().is_some() {
                continue;
            }
            if (by_gate || held_back) && !seat.is_halted() {
                if !seat.is_closed() {
                    seat.close(0);
                } else if seat.has_escaped() {
                    seat.kick();
                }
            } else if seat.is_closed() {
                seat.open();
            }
        }
    }

    /// Threads get the class that the present schedule wants of those who have no turn.
    pub(super) fn settle_threads(&self) {
        match self.schedule {
            Schedule::Host(host) => {
                host_placement::apply(host, self.engine.view(), self.seats());
            }
            Schedule::Policy(_) => {
                for seat in self.seats().filter(|seat| seat.cpu().is_none()) {
                    self.actuator.settle(seat);
                }
            }
        }
    }

    /// Everything is as it was before VMs joined.
    pub(super) fn give_back(&mut self) {
        self.actuator.is_idle = true;
        self.actuator.let_go();
        self.actuator.agents.clear();
        for vcpu in self.guests.values().flat_map(|guest| &guest.vcpus) {
            vcpu.seat.open();
            if let Some(schedule) = &vcpu.schedule {
                schedule.give_to(vcpu.seat.tid());
            }
        }
    }
}

pub(super) fn renew_lease(guest: &Guest) {
    if let Some(vcpu) = guest.vcpus.first() {
        vcpu.seat.board().renew_lease(now_ns(), LEASE_NS_MAX);
    }
}
