//! The node manager: one per host. It schedules the vCPUs of all VMs that have joined it.
//!
//! VMs are processes of their own. Each hands over its [board](muster_vmm::board) through a Unix
//! socket (`reception`). The `manager` thread holds the scheduler's engine: it learns from KVM's
//! statistics which vCPUs have halted, asks the policy, and passes on what is to change to one
//! [`agent`] per CPU, which carries it out at the time for which it was planned.
//!
//! Threads and what they share: the manager owns all state. Agents have a mailbox each (a mutex, held
//! for the length of a copy) and share `seat`s with the manager, which are atomics and one mutex
//! around a gate's wish. Nobody holds two locks. Agents leave their reports in one list behind a mutex;
//! everybody else reaches the manager through one channel.
//!
//! People and programs ask through [`api`], whose other end is [`client`]; both run beside all that and
//! send the manager questions like everybody. A node manager owns a [`directory`] with its sockets.

pub mod agent;
pub mod api;
pub mod client;
mod clock;
pub mod directory;
mod end_with_thread;
pub mod enforcement;
mod engine_actuator;
mod guest;
pub mod handle;
pub mod hello;
mod host_placement;
mod host_topology;
mod load;
mod manager;
mod reach;
mod reception;
pub mod recording;
mod records;
pub mod schedule;
pub mod seat;
pub mod snapshot;
#[cfg(test)]
mod testing;
pub mod thread;

mod node;

pub use api::{ApiError, ApiServer, ApiSpec, OfflineApi};
pub use client::{Client, ClientError};
pub use directory::{DirectoryError, NodeDirectory};
pub use enforcement::{Enforcement, NotPermitted, Permits, Way};
pub use handle::{NodeHandle, Reply, Request, RequestError};
pub use node::{Node, NodeError, NodeSpec};
pub use schedule::Schedule;
