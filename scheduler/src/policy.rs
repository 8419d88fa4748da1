//! What a scheduling policy is.

use std::fmt;

use crate::{CpuId, MS, Nanos, Plan, VcpuId, View, VmId};

/// What has happened. When a policy learns of it, the [`View`] shows it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A VM is there. Its vCPUs that can run at once get no [`Event::Wake`] of their own. A policy
    /// that is put in charge of a running host gets one for each VM.
    Arrive {
        /// Which.
        vm: VmId,
    },
    /// A VM is about to be forgotten. None of its vCPUs is runnable or has a CPU any more;
    /// [`Event::Idle`] follows for each CPU that it had.
    Leave {
        /// Which.
        vm: VmId,
    },
    /// A vCPU has become runnable: an interrupt has come, it is co-started, or its VM's cap has been
    /// refilled. If it still has a CPU, it runs there again without anybody's help.
    Wake {
        /// Which.
        vcpu: VcpuId,
    },
    /// A vCPU is runnable no more: it has halted, is co-stopped, or its VM has used up its cap. If it
    /// has a CPU it keeps it, idle, until the policy plans otherwise.
    Halt {
        /// Which.
        vcpu: VcpuId,
    },
    /// The turn on this CPU has reached its end. The vCPU runs on until the policy plans otherwise.
    SliceEnd {
        /// Which.
        cpu: CpuId,
    },
    /// A time has come for which a tick was asked.
    Tick,
    /// A vCPU was found to hold a lock while it has no CPU, or to spin for one. Only for policies
    /// that [want it](Policy::wants_lock_hints).
    LockHint {
        /// Which.
        vcpu: VcpuId,
    },
    /// Somebody has had CPU time that was another's: a [grace](crate::Switch::grace_ns) was used, or a
    /// loan [as a debt](crate::Plan::lend_as_debt) is over.
    Borrowed {
        /// Who has had it; `None`: the CPU idled.
        by: Option<VcpuId>,
        /// Whose turn it was; `None`: the CPU would have been idle.
        from: Option<VcpuId>,
        /// How much. What a machine has delivered late counts only as far as the loan lasted.
        ns: Nanos,
    },
    /// A CPU is free, and not because of this policy's own plan: its VM has left, it has come online,
    /// or the vCPU that had it may not run there any more.
    Idle {
        /// Which.
        cpu: CpuId,
    },
    /// A CPU has gone. What it had has no CPU now.
    Offline {
        /// Which.
        cpu: CpuId,
    },
    /// A VM's weight, affinity or units have changed. A vCPU on a CPU that is forbidden to it now has
    /// lost it already.
    Changed {
        /// Which.
        vm: VmId,
    },
}

/// What the policy schedules at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Every vCPU is a unit.
    Vcpu,
    /// The vCPUs of a VM are a unit: a gang. A VM with more vCPUs than there are CPUs for them is
    /// several.
    Gang,
}

/// The least that every VM must be due in a window of [`Claims::fair_within_ns`]: 40 turns of the usual
/// 10 ms.
pub const FAIR_DUE_MIN: Nanos = 400 * MS;

/// What a policy promises. Checkers that know nothing else of it hold it to this.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims {
    /// No CPU idles for longer than a switch while a vCPU that may run there is ready.
    pub work_conserving: bool,
    /// Runnable members of a unit have turns at [`Level::Slot`](crate::Level::Slot) together or not at
    /// all; a halted one may lack its own.
    pub gangs: bool,
    /// Over any window of this length, busy VMs on a host without affinities get CPU time by their
    /// weights (within 2 %), as far as their number of vCPUs lets them. Time is given in turns: a VM that is
    /// due only a few of them in the window, since others weigh far more, cannot get within 2 % of it. So this
    /// is promised where each VM is due [`FAIR_DUE_MIN`]; else it is promised only that nobody starves
    /// ([`Claims::ready_max_ns`]), and shares by weight only over longer times, of which nothing is said.
    pub fair_within_ns: Option<Nanos>,
    /// The longest time for which a vCPU stays ready while VMs and CPUs are the same, on a host without
    /// affinities and caps, whatever was before. `None`, or [`Nanos::MAX`] for such a load: it may wait
    /// for ever.
    pub ready_max_ns: Option<fn(&Load) -> Nanos>,
    /// It lends CPU time to holders of locks, and has it paid back.
    pub repays: Option<Repays>,
    /// It may hold vCPUs back and lend CPUs for reasons of its own, so that a creditor that waited can be
    /// held back, or the CPU lent to another, in the very moment when the debtor's turn begins.
    pub holds_back: bool,
}

/// How loans to holders of locks are bounded and paid back.
///
/// No vCPU has more at a time than a boost, a grace, or what it is owed. At any time it has had, of what was
/// borrowed within `kept_for_ns` and is not paid back, at most `limit_ns`, one boost, and one grace. When a
/// vCPU begins a turn and owes as much as `worth_ns` to one who waits for a CPU and may have this one, it
/// pays first, to that one or to another; unless a part of the policy [holds vCPUs back](Claims::holds_back).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repays {
    /// Who owes more borrows nothing.
    pub limit_ns: Nanos,
    /// The longest boost.
    pub boost_ns: Nanos,
    /// The longest grace.
    pub grace_ns: Nanos,
    /// The least debt that must be paid.
    pub worth_ns: Nanos,
    /// For how long a debt is kept for a creditor that does not wait.
    pub kept_for_ns: Nanos,
    /// Whether time on a CPU that would have been idle is owed too: then the CPU idles as long when
    /// the vCPU begins a turn.
    pub idle: bool,
}

/// How much there is to schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Online CPUs.
    pub cpus: u64,
    /// vCPUs.
    pub vcpus: u64,
    /// VMs.
    pub vms: u64,
    /// The sum of their weights.
    pub weights: u64,
    /// The largest weight over the smallest, rounded up.
    pub weight_ratio: u64,
    /// One over the smallest part of everything that a vCPU is due by weight, rounded up.
    pub rarest: u64,
}

impl Load {
    /// VMs, each with its number of vCPUs and its weight, on so many CPUs. `None`: there are no VMs.
    pub fn new(cpus: u64, vms: &[(u64, u64)]) -> Option<Self> {
        let weights = || vms.iter().map(|&(_, weight)| weight);
        let sum: u64 = weights().sum();
        let parts = vms.iter();
        let parts = parts.map(|&(vcpus, weight)| (vcpus * sum).div_ceil(weight));
        Some(Self {
            cpus,
            vcpus: vms.iter().map(|&(vcpus, _)| vcpus).sum(),
            vms: vms.len() as u64,
            weights: sum,
            weight_ratio: weights().max()?.div_ceil(weights().min()?),
            rarest: parts.max()?,
        })
    }
}

/// A way to schedule. Pure: what it does follows from what it is told.
pub trait Policy: fmt::Debug + Send {
    /// The name by which it is chosen.
    fn name(&self) -> &'static str;

    /// What it schedules at once. Asked once, before the first event.
    fn granularity(&self) -> Granularity {
        Granularity::Vcpu
    }

    /// Whether it reads [`LockState`](crate::view::LockState)s. Keeping them costs, so that they are
    /// kept only then.
    fn wants_lock_hints(&self) -> bool {
        false
    }

    /// Its tables as text, for people. Empty if there is nothing to see. A layer shows those of what it
    /// wraps, and then its own.
    fn describe(&self, _view: &View) -> String {
        String::new()
    }

    /// What it promises on this host with these VMs. Asked by checkers.
    fn claims(&self) -> Claims;

    /// Something has happened at `now`: write into `plan` what is to change.
    ///
    /// Called by the engine only, with times that never go back. `plan` is empty, or holds what a
    /// wrapped policy wants. A plan that breaks the engine's rules is dropped whole and stops a
    /// simulation; see [`Violation`](crate::engine::Violation).
    ///
    /// A policy that may be wrapped must keep its own record of which CPU it has given to whom: what
    /// the view shows may be another's loan.
    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan);
}
