//! Which vCPU runs where and when.
//!
//! Problem: a host has fewer CPUs than its guests have vCPUs, and guests whose vCPUs wait for each
//! other suffer when they are scheduled one by one. Many policies are known; no hypervisor lets one
//! choose.
//!
//! Approach: a [`Policy`] reads a [`View`] of the host and writes a [`Plan`]. The [`Engine`] is its
//! only caller: it checks every plan, keeps each vCPU's runstate and accounts, and hands what is to
//! change to an [`Actuator`]. The simulator ([`sim`]) is one actuator, a host's node manager is
//! another; the same policy runs in both.
//!
//! Terms: a *unit* is what a policy schedules at once, one vCPU or a *gang* of a VM's vCPUs; a
//! *runstate* is what a vCPU's time is spent on ([`Runstate`]); a *turn* is a vCPU's stay on a CPU.
//!
//! Properties: pure. No clock, thread, I/O or global randomness; ties break by id. The same inputs
//! give the same plans and the same trace on every machine.
#![forbid(unsafe_code)]

pub mod actuator;
pub mod cpu_set;
pub mod engine;
pub mod ids;
pub mod params;
pub mod plan;
pub mod policies;
pub mod policy;
pub mod policy_spec;
pub mod registry;
pub mod runstate;
pub mod sim;
pub mod topology;
pub mod view;
pub mod vm;

#[cfg(test)]
mod testing;

pub use actuator::{Actuator, Switch};
pub use cpu_set::CpuSet;
pub use engine::Engine;
pub use ids::{CpuId, UnitId, VcpuId, VmId};
pub use plan::{Level, Plan, Turn};
pub use policy::{Claims, Event, Granularity, Policy};
pub use policy_spec::PolicySpec;
pub use runstate::{RunTimes, Runstate};
pub use topology::{Distance, Topology};
pub use view::View;
pub use vm::VmSpec;

/// A point in time or a length of time, in nanoseconds. Time starts at 0 with the engine.
pub type Nanos = u64;

/// One microsecond.
pub const US: Nanos = 1_000;
/// One millisecond.
pub const MS: Nanos = 1_000_000;
/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// The page's examples are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/scheduler.md")]
struct Guide;
