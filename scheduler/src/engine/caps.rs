//! Caps: a VM that has used up its CPU time for a period waits for the next.

use super::{Deadline, Engine};
use crate::vm::CAP_PERIOD;
use crate::{Nanos, Runstate, VmId};

/// A capped VM's account for the present period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    /// When the next period begins.
    refill_at: Nanos,
    /// CPU time left at `counted_at`.
    left_ns: Nanos,
    counted_at: Nanos,
    /// vCPUs that have been using it since then.
    running: u64,
    /// When it will be used up if nothing changes.
    used_at: Option<Nanos>,
}

impl Engine {
    /// Begins a period, if the VM has a cap, else makes sure that nothing holds it.
    pub(super) fn start_cap(&mut self, vm: VmId) {
        self.stop_cap(vm);
        self.set_throttled(vm, false);
        let Some(percent) = self.view.vm(vm).spec.cap_percent else {
            return;
        };
        let refill_at = self.now + CAP_PERIOD;
        self.caps[vm.index()] = Some(Account {
            refill_at,
            left_ns: CAP_PERIOD * Nanos::from(percent) / 100,
            counted_at: self.now,
            running: 0,
            used_at: None,
        });
        self.deadlines.insert((refill_at, Deadline::CapRefill(vm)));
        self.recount_cap(vm);
    }

    /// Forgets an account and its deadlines.
    pub(super) fn stop_cap(&mut self, vm: VmId) {
        if let Some(account) = self.caps[vm.index()].take() {
            self.deadlines
                .remove(&(account.refill_at, Deadline::CapRefill(vm)));
            if let Some(at) = account.used_at {
                self.deadlines.remove(&(at, Deadline::CapUsed(vm)));
            }
        }
    }

    pub(super) fn refill_cap(&mut self, vm: VmId) {
        self.start_cap(vm);
    }

    /// The number of vCPUs that use up the account may have changed.
    pub(super) fn recount_cap(&mut self, vm: VmId) {
        let Some(mut account) = self.caps[vm.index()] else {
            return;
        };
        let used = account.running * (self.now - account.counted_at);
        account.left_ns = account.left_ns.saturating_sub(used);
        account.counted_at = self.now;
        let vcpus = self.view.vm(vm).vcpus();
        let running = vcpus.filter(|&vcpu| self.view.vcpu(vcpu).runstate() == Runstate::Running);
        account.running = running.count() as u64;
        let used_at = (account.running > 0)
            .then(|| self.now + account.left_ns.div_ceil(account.running))
            .filter(|&at| at < account.refill_at);
        if used_at != account.used_at {
            if let Some(at) = account.used_at {
                self.deadlines.remove(&(at, Deadline::CapUsed(vm)));
            }
            if let Some(at) = used_at {
                self.deadlines.insert((at, Deadline::CapUsed(vm)));
            }
            account.used_at = used_at;
        }
        self.caps[vm.index()] = Some(account);
    }

    pub(super) fn throttle(&mut self, vm: VmId) {
        if let Some(account) = self.caps[vm.index()].as_mut() {
            account.used_at = None;
        }
        self.set_throttled(vm, true);
    }

    fn set_throttled(&mut self, vm: VmId, throttled: bool) {
        for vcpu in self.view.vm(vm).vcpus() {
            if self.view.vcpu(vcpu).throttled != throttled {
                self.set_flag(vcpu, |state| state.throttled = throttled);
            }
        }
    }
}
