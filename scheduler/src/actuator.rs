//! What carries out the engine's decisions.

use crate::{CpuId, Level, Nanos, VcpuId, VmId};

/// A CPU is to serve another vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The CPU.
    pub cpu: CpuId,
    /// Whom it is to serve; `None`: nobody.
    pub next: Option<(VcpuId, Level)>,
    /// How long the vCPU that leaves may stay while it holds a lock. It is looked at once it has
    /// stopped: looking first and stopping then would come too late.
    pub grace_ns: Nanos,
    /// Time that the CPU is busy with scheduling before the switch.
    pub overhead_ns: Nanos,
    /// Why, for people.
    pub reason: &'static str,
}

/// Carries out what the engine has decided: a simulated machine, or a host's threads.
///
/// A vCPU must never be on two CPUs: one that goes from a CPU to another is off the first before it
/// starts on the second, in whatever order the switches are given.
pub trait Actuator {
    /// Begins these switches, all at once if it can. A switch for a CPU replaces an earlier one that
    /// has not happened yet. When one has happened, the actuator's owner tells the engine with
    /// [`Input::Switched`](crate::engine::Input::Switched).
    fn switch(&mut self, now: Nanos, switches: &[Switch]);

    /// Tells a VM how many CPUs it should use at present. It may not listen.
    fn advise(&mut self, now: Nanos, vm: VmId, cpus: u32);
}
