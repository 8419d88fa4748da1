//! A muster virtual machine: KVM, memory, boot, vCPU threads and lifecycle.
//!
//! [`lifecycle::run`] is the whole of it: it takes a [`VmSpec`] and returns how the guest ended. One
//! process runs one VM; a crash or an escape stays in one guest.

pub mod board;
pub mod boot;
pub mod console;
mod control;
mod cpuid;
mod gate;
pub mod guest_locks;
pub mod host;
pub mod kick;
pub mod kvm;
pub mod layout;
pub mod lifecycle;
mod machine;
pub mod memory;
pub mod node_link;
mod spec;
pub mod thread_schedule;
mod vcpu;

pub use control::signals::Signals;
pub use spec::{ConsoleSpec, DiskSpec, OnReboot, VmSpec};
