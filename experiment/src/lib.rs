//! Experiments: real VMs under every policy and under the host's own scheduler, and what came of it.
//!
//! Problem: a claim that one policy is better than another is worth what somebody else can repeat. Rates
//! on a host vary with what else runs there, with where the host's scheduler happened to put threads,
//! and with the time of day; a number of one run says little.
//!
//! Approach: an [`Experiment`] is one readable file: VMs and what they do, the schedules to compare, what
//! is measured, and what is expected. [`run()`] starts the VMs once and exchanges the schedule under
//! them: every schedule once per repetition, in random order, so that all meet the same host. Rounds
//! in which the host itself was short of CPU time are repeated. A [`Report`](report) shows all rounds,
//! judges the goals, draws who was on which CPU, and sets what the simulator says beside what was
//! measured.
//!
//! Terms: a *row* is a schedule under test, or one VM alone; a *round* is one stretch of measuring one
//! row; a *repetition* is one round of every row.

mod child;
pub mod figures;
pub mod guest_file;
pub mod host;
pub mod interrupt;
pub mod machine;
pub mod metric;
pub mod replay;
pub mod report;
pub mod results;
pub mod round;
pub mod run;
pub mod shipped;
pub mod spec;
pub mod statistics;
pub mod workload;

pub use results::Results;
pub use run::{Host, Options, RunError, run};
pub use spec::{Experiment, SpecError};
