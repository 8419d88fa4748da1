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
    /// It is used up. Who is not off its CPU yet is over the cap.
    spent: bool,
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
        let vcpus = self.view.vm(vm).vcpus();
        let running = vcpus.filter(|&vcpu| self.view.vcpu(vcpu).runstate() == Runstate::Running);
        self.caps[vm.index()] = Some(Account {
            refill_at,
            left_ns: CAP_PERIOD * Nanos::from(percent) / 100,
            counted_at: self.now,
            running: running.count() as u64,
            used_at: None,
            spent: false,
        });
        self.deadlines.insert((refill_at, Deadline::CapRefill(vm)));
        self.expect_use(vm);
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

    /// A vCPU has begun or ceased to use up the account, unless `ran` and `runs` are the same.
    pub(super) fn count_for_cap(&mut self, vm: VmId, ran: bool, runs: bool) {
        if ran == runs {
            return;
        }
        let now = self.now;
        let Some(account) = self.caps[vm.index()].as_mut() else {
            return;
        };
        let used = account.running * (now - account.counted_at);
        account.left_ns = account.left_ns.saturating_sub(used);
        account.counted_at = now;
        account.running = account.running + u64::from(runs) - u64::from(ran);
        self.expect_use(vm);
    }

    /// Works out when a VM's account will be used up.
    fn expect_use(&mut self, vm: VmId) {
        let Some(account) = self.caps[vm.index()].as_mut() else {
            return;
        };
        let used_at = (account.running > 0 && !account.spent)
            .then(|| self.now + account.left_ns.div_ceil(account.running))
            .filter(|&at| at < account.refill_at);
        let before = std::mem::replace(&mut account.used_at, used_at);
        if used_at != before {
            if let Some(at) = before {
                self.deadlines.remove(&(at, Deadline::CapUsed(vm)));
            }
            if let Some(at) = used_at {
                self.deadlines.insert((at, Deadline::CapUsed(vm)));
            }
        }
    }

    pub(super) fn throttle(&mut self, vm: VmId) {
        if let Some(account) = self.caps[vm.index()].as_mut() {
            account.used_at = None;
            account.spent = true;
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
