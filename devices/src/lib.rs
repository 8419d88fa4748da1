//! What a muster guest sees: port and memory-mapped devices, virtio devices and the disks behind
//! them.
//!
//! Nothing in this crate knows KVM. A device is reached through a [`Bus`], answers reads and writes
//! of its own registers, and raises interrupts through an eventfd that the VMM connects. That makes
//! every device testable without a virtual machine, and keeps all parsing of guest-controlled data
//! in one crate.

pub mod bus;
pub mod disk;
pub mod i8042;
pub mod memory;
pub mod power;
pub mod serial;
pub mod status;
pub mod virtio;

pub use bus::{Action, Bus, Device};

/// Stack of the threads that serve a guest, in bytes. Small on purpose: the default of 2 MiB is a
/// huge page, which many hosts would fill whole at the thread's first touch.
pub const THREAD_STACK_LEN: usize = 256 << 10;
