//! The simulator: a host, its guests and their work, in integer nanoseconds.
//!
//! Problem: a policy's effects show on hosts that nobody has at hand, in cases that are rare, and
//! only in comparison with another policy under exactly the same conditions.
//!
//! Approach: discrete events. A [`Scenario`] describes host, VMs and what their
//! vCPUs do; the machine is an [`Actuator`](crate::Actuator) that takes as long for a switch as a
//! real one; the policy under test is the very object that a host runs. What happened is a
//! [`Recording`], from which reports, charts and traces are made and which
//! checkers read.
//!
//! Properties: the same scenario, policy and seed give the same recording on every machine.

#[cfg(test)]
mod example;
pub mod fields;
pub mod gantt;
mod guest;
pub mod html;
mod machine;
pub mod palette;
pub mod perfetto;
mod queue;
mod random;
pub mod record;
mod recorder;
pub mod report;
mod run;
pub mod scenario;
pub mod scenario_error;
pub mod shipped;
pub mod svg;
mod sync;
pub mod table;

pub use record::{Keep, Recording};
pub use run::{RunError, run};
pub use scenario::Scenario;
pub use scenario_error::ScenarioError;
