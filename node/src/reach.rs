//! What this process may do to the threads of a VM, and so how the schedule is enforced on it.
//!
//! Problem: a VM's process may be another user's, or have other limits than the node manager. What the
//! kernel refuses must be known when the VM joins, not when its turn comes.
//!
//! Approach: what changes nothing is tried out; for the rest the kernel's files tell. A VM whose
//! process cannot be signalled gets affinity instead of gates. What nothing can be done to is not let
//! in. Whatever is done to threads must be such that the VM can undo it if the node manager dies: a
//! thread may always leave a real-time class, and SCHED_IDLE only with some privilege.

use std::fs;

use muster_vmm::thread_schedule::{affinity_of, class_of, set_affinity, set_class};
use nix::unistd::Pid;
use thiserror::Error;

use crate::enforcement::{Enforcement, PULSE, Way};
use crate::thread::Thread;

/// CAP_SYS_NICE, as a bit of a set of capabilities.
const SYS_NICE: u64 = 1 << 23;
/// The least RLIMIT_NICE with which a thread may go from SCHED_IDLE to nice 0.
const NICE_LIMIT: u64 = 20;

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Its threads may be bound to CPUs.
    bind: bool,
    /// They may be signalled.
    signal: bool,
    /// They may be given the classes of pulses, and be taken out of them by either side.
    pulse: bool,
}

/// A VM that cannot be scheduled as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum OutOfReach {
    #[error(
        "the node manager may not schedule its threads: run both as one user, or the node manager as root"
    )]
    Bind,
    #[error(
        "the node manager may not signal its threads, which `gate` needs: run both as one user"
    )]
    Signal,
    #[error(
        "its threads may not have the classes that `pulse` needs, or not leave them: run it as root, or \
         with limits like `ulimit -r 10 -e 20`"
    )]
    Pulse,
}

impl Reach {
    /// What can be done to these threads of one process.
    pub(crate) fn of(threads: &[Thread], way: Way) -> Self {
        let can_bind = |thread: &Thread| {
            let same = affinity_of(thread.tid).and_then(|cpus| set_affinity(thread.tid, &cpus));
            same.is_ok()
        };
        let wants_pulse = way.enforcement == Enforcement::Pulse;
        Self {
            bind: threads.iter().all(can_bind),
            signal: threads.iter().all(|thread| thread.signal(0).is_ok()),
            pulse: wants_pulse && threads.iter().all(can_pulse),
        }
    }

    /// How the schedule is enforced on this VM.
    pub(crate) fn choose(self, way: Way) -> Result<Enforcement, OutOfReach> {
        if !self.bind {
            return Err(OutOfReach::Bind);
        }
        match way.enforcement {
            Enforcement::Gate if !self.signal && way.asked => Err(OutOfReach::Signal),
            Enforcement::Gate if !self.signal => Ok(Enforcement::Affinity),
            Enforcement::Pulse if !self.pulse => Err(OutOfReach::Pulse),
            way => Ok(way),
        }
    }
}

/// Whether a thread may have a pulse's classes, and leave them by its own doing as well as by ours.
fn can_pulse(thread: &Thread) -> bool {
    let Some(limit) = nice_limit(thread.pid) else {
        return false;
    };
    let may_leave_idle = |pid| limit >= NICE_LIMIT || has_sys_nice(pid);
    if !may_leave_idle(thread.pid) || !may_leave_idle(Pid::this().as_raw().cast_unsigned()) {
        return false;
    }
    let Ok(before) = class_of(thread.tid) else {
        return false;
    };
    set_class(thread.tid, PULSE).is_ok() && set_class(thread.tid, before).is_ok()
}

/// A process's RLIMIT_NICE.
fn nice_limit(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    parse_nice_limit(&limits)
}

fn parse_nice_limit(limits: &str) -> Option<u64> {
    let line = { limits.lines() }.find_map(|line| line.strip_prefix("Max nice priority"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn has_sys_nice(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    parse_capabilities(&status).is_some_and(|set| set & SYS_NICE != 0)
}

fn parse_capabilities(status: &str) -> Option<u64> {
    let line = { status.lines() }.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests;
