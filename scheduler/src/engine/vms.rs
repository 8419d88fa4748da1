//! VMs that come, change and go.
//!
//! A VM's number and its vCPUs' are places in tables. Who comes takes the first that are free, so that
//! tables do not grow with the number of VMs that ever were.

use super::{Engine, EngineError};
use crate::policy::Event;
use crate::view::{LockState, VcpuView, VmView};
use crate::{RunTimes, UnitId, VcpuId, VmId, VmSpec};

impl Engine {
    pub(super) fn add_vm(&mut self, spec: VmSpec, halted: impl Fn(u32) -> bool) -> VmId {
        let count = spec.vcpus as usize;
        let (vm, first) = self.next_ids(spec.vcpus);
        let (id, first) = (vm.index(), first.index());
        grow(&mut self.view.vcpus, first + count);
        grow(&mut self.view.vms, id + 1);
        grow(&mut self.caps, id + 1);
        for index in 0..spec.vcpus {
            self.view.vcpus[first + index as usize] = Some(VcpuView {
                vm,
                index,
                unit: UnitId(u32::MAX),
                allowed: spec.hard_affinity & self.view.online,
                halted: halted(index),
                co_stopped: false,
                throttled: false,
                turn: None,
                loan: None,
                on_cpu: None,
                last_cpu: None,
                left_at: self.now,
                grace_ns: 0,
                borrowed_ns: 0,
                lock: LockState::Free,
                hard: spec.hard_affinity,
                since: self.now,
                times: RunTimes::default(),
            });
        }
        self.view.vms[id] = Some(VmView {
            spec,
            first: VcpuId(first as u32),
            arrived: self.now,
            units: Vec::new(),
        });
        self.form_units(vm);
        self.view.revision += 1;
        self.start_cap(vm);
        vm
    }

    /// The numbers that a VM of so many vCPUs would get if it arrived now: its own, and its first
    /// vCPU's.
    pub fn next_ids(&self, vcpus: u32) -> (VmId, VcpuId) {
        let vm = free_run(&self.view.vms, 1);
        let first = free_run(&self.view.vcpus, vcpus as usize);
        (VmId(vm as u32), VcpuId(first as u32))
    }

    /// Takes everything from a VM and has the policy told.
    pub(super) fn remove_vm(&mut self, vm: VmId) {
        let mut freed = Vec::new();
        for vcpu in self.view.vm(vm).vcpus() {
            self.account(vcpu);
            if let Some(cpu) = self.view.vcpu(vcpu).loan {
                self.set_loan(cpu, None);
            }
            if let Some(cpu) = self.view.vcpu(vcpu).turn {
                self.set_loan(cpu, None);
                self.set_turn(cpu, None);
                freed.push(cpu);
            }
            let state = self.view.vcpu_mut(vcpu);
            state.halted = true;
        }
        self.stop_cap(vm);
        self.events.push_back(Event::Leave { vm });
        let idle = freed.into_iter().map(|cpu| Event::Idle { cpu });
        self.events.extend(idle);
    }

    /// After the policy has been told: a VM that has left is forgotten.
    pub(super) fn forget_vm(&mut self, vm: VmId) {
        let gone = self.view.vms[vm.index()].take().expect("it was there");
        for unit in &gone.units {
            self.view.units[unit.index()] = None;
        }
        self.view.revision += 1;
        for vcpu in gone.vcpus() {
            // A policy that was asked before it heard of the leaving may have given it a turn.
            if let Some(cpu) = self.view.vcpu(vcpu).turn {
                self.set_turn(cpu, None);
                self.events.push_back(Event::Idle { cpu });
            }
            if let Some(cpu) = self.view.vcpu(vcpu).on_cpu {
                self.view.cpus[cpu.index()].occupant = None;
                self.touched.push(cpu);
            }
            self.view.vcpus[vcpu.index()] = None;
        }
        let is_of = |vcpu: VcpuId| (gone.first.0..gone.first.0 + gone.spec.vcpus).contains(&vcpu.0);
        self.events.retain(|event| match *event {
            Event::Wake { vcpu } | Event::Halt { vcpu } | Event::LockHint { vcpu } => !is_of(vcpu),
            Event::Changed { vm: other } => other != vm,
            Event::Borrowed { by, from, .. } => !by.is_some_and(is_of) && !from.is_some_and(is_of),
            _ => true,
        });
    }

    pub(super) fn amend(
        &mut self,
        vm: VmId,
        change: impl FnOnce(&mut VmSpec),
    ) -> Result<(), EngineError> {
        let mut spec = self.view.vm(vm).spec.clone();
        change(&mut spec);
        spec.check(&self.view.topology().cpus())?;
        let state = self.view.vms[vm.index()].as_mut().expect("it is known");
        state.spec = spec;
        self.view.revision += 1;
        self.events.push_back(Event::Changed { vm });
        Ok(())
    }
}

/// The first place in `slots` from which on `count` are free.
fn free_run<T>(slots: &[Option<T>], count: usize) -> usize {
    let mut start = 0;
    for (index, slot) in slots.iter().enumerate() {
        if index - start == count {
            break;
        }
        if slot.is_some() {
            start = index + 1;
        }
    }
    start
}

pub(super) fn grow<T>(slots: &mut Vec<Option<T>>, len: usize) {
    if slots.len() < len {
        slots.resize_with(len, || None);
    }
}
