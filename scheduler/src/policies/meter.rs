//! What a vCPU's CPU time costs it.
//!
//! Problem: a weight belongs to a VM, but policies with queues pick vCPUs one by one.
//!
//! Approach: a VM's weight is divided among those of its vCPUs that want to run. Each nanosecond on a
//! CPU costs a vCPU the more the smaller its part is: what VMs have paid is equal when they have had
//! time by their weights. Time is the engine's account, so loans and late switches are in it.
//!
//! Terms: *cost* is CPU time times [`WEIGHT_DEFAULT`] over the vCPU's part of the weight.

use crate::vm::WEIGHT_DEFAULT;
use crate::{Nanos, VcpuId, View, VmId};

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Meter {
    vcpus: Vec<Reading>,
    /// Per VM: how many of its vCPUs want to run.
    active: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// CPU time that has been charged.
    charged_ns: Nanos,
    /// It wants to run.
    active: bool,
}

impl Meter {
    /// A VM has come: its time counts from now on. Ids are used again, so everything is set.
    pub(super) fn enter(&mut self, now: Nanos, vm: VmId, view: &View) {
        if self.vcpus.len() < view.vcpu_ids() {
            self.vcpus.resize(view.vcpu_ids(), Reading::default());
        }
        if self.active.len() <= vm.index() {
            self.active.resize(vm.index() + 1, 0);
        }
        self.active[vm.index()] = 0;
        for vcpu in view.vm(vm).vcpus() {
            let state = view.vcpu(vcpu);
            self.vcpus[vcpu.index()] = Reading {
                charged_ns: state.running_ns(now),
                active: state.runnable(),
            };
            self.active[vm.index()] += u32::from(state.runnable());
        }
    }

    /// A vCPU wants to run, or does so no more.
    pub(super) fn set_active(&mut self, vcpu: VcpuId, active: bool, view: &View) {
        let reading = &mut self.vcpus[vcpu.index()];
        if reading.active != active {
            reading.active = active;
            let of_vm = &mut self.active[view.vcpu(vcpu).vm.index()];
            *of_vm = if active { *of_vm + 1 } else { *of_vm - 1 };
        }
    }

    /// The cost of what a vCPU has run since it was last asked for.
    pub(super) fn charge(&mut self, now: Nanos, vcpu: VcpuId, view: &View) -> u64 {
        let ran = view.vcpu(vcpu).running_ns(now);
        let charged = &mut self.vcpus[vcpu.index()].charged_ns;
        let since = ran - std::mem::replace(charged, ran);
        self.cost(since, vcpu, view)
    }

    /// The cost of so much CPU time.
    pub(super) fn cost(&self, time: Nanos, vcpu: VcpuId, view: &View) -> u64 {
        let vm = view.vcpu(vcpu).vm;
        let sharers = self.active[vm.index()].max(1);
        let scaled = u128::from(time) * u128::from(WEIGHT_DEFAULT * sharers);
        let cost = scaled / u128::from(view.vm(vm).spec.weight);
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}
