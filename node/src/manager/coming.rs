//! VMs that join and leave.

use std::sync::Arc;

use muster_scheduler::VcpuId;
use muster_scheduler::engine::{EngineError, Input};

use super::Manager;
use super::threads::renew_lease;
use crate::guest::{Guest, GuestVcpu};
use crate::reception::Newcomer;
use crate::seat::Seat;

impl Manager {
    /// A VM joins.
    pub(super) fn join(&mut self, newcomer: Newcomer) -> Result<(), String> {
        let Newcomer {
            connection,
            wishes,
            pid,
            board,
            stats,
            threads,
            enforcement,
        } = newcomer;
        if self.guests.values().any(|guest| guest.name == wishes.name) {
            return Err(format!("the name {} is taken", wishes.name));
        }
        let now = self.clock.now();
        self.last = self.last.max(now);
        let spec = wishes.spec(board.vcpus());
        // The agents learn of its vCPUs before the engine's first order: its numbers are known then.
        let (vm, first) = self.engine.next_ids(spec.vcpus);
        let mut guest = Guest::new(vm, wishes.name.clone(), pid, connection, now);
        for (index, (thread, stats)) in threads.iter().zip(stats).enumerate() {
            let id = VcpuId(first.0 + index as u32);
            let name = format!("{}/{index}", wishes.name);
            let board = board.clone();
            let seat = Arc::new(Seat::new(
                (vm, id),
                name,
                index as u32,
                enforcement,
                (board, *thread),
            ));
            let mut vcpu = GuestVcpu::new(seat.clone(), stats);
            // It is in KVM's hands: only there can it be started.
            if index > 0 && vcpu.is_unborn() {
                seat.set_halted(true);
                seat.open();
            }
            guest.vcpus.push(vcpu);
            let seats = &mut self.actuator.seats;
            if seats.len() <= id.index() {
                seats.resize(id.index() + 1, None);
            }
            seats[id.index()] = Some(seat);
        }
        renew_lease(&guest);
        let halted: Vec<bool> = guest
            .vcpus
            .iter()
            .map(|vcpu| vcpu.seat.is_halted())
            .collect();
        let is_halted = |index: u32| halted[index as usize];
        let arrived = self
            .engine
            .arrive(self.last, spec, is_halted, &mut self.actuator);
        match arrived {
            Ok(arrived) => assert_eq!(arrived, vm, "the engine gives numbers as it has said"),
            Err(error @ EngineError::Vm(_)) => {
                self.forget(&guest);
                return Err(error.to_string());
            }
            Err(error) => tracing::warn!(%error, "the engine refuses"),
        }
        tracing::info!(
            name = guest.name,
            pid,
            vcpus = guest.vcpus.len(),
            "a VM has joined"
        );
        self.guests.insert(vm, guest);
        self.settle_threads();
        Ok(())
    }

    pub(super) fn leave(&mut self, connection: u64) {
        let mut guests = self.guests.values();
        let Some(vm) = guests
            .find(|guest| guest.connection == connection)
            .map(|guest| guest.vm)
        else {
            return;
        };
        let guest = self.guests.remove(&vm).expect("it was found");
        tracing::info!(name = guest.name, "a VM has left");
        self.forget(&guest);
        self.input(self.clock.now(), Input::Leave(vm));
    }

    fn forget(&mut self, guest: &Guest) {
        for vcpu in &guest.vcpus {
            vcpu.seat.set_gone();
            self.actuator.seats[vcpu.seat.id.index()] = None;
        }
    }
}
