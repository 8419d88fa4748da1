//! The workloads.

use bench_guest::config::{Wait, Workload};

use crate::worker::Worker;

mod alone;
mod barrier;
mod exchange;
mod lock;
mod message;
mod team;

pub use lock::protected;

/// Does a vCPU's part until the run is over.
pub fn run(worker: &Worker) {
    match worker.run.config.workload {
        Workload::RequestReply { wait } => exchange::run(worker, wait, false),
        Workload::PingPong => exchange::run(worker, Wait::Halt, true),
        Workload::Message { wait, size } => message::run(worker, wait, size),
        Workload::Barrier { wait, grain_ns } => barrier::run(worker, wait, grain_ns),
        Workload::Lock {
            kind,
            critical_ns,
            outside_ns,
        } => lock::run(worker, kind, critical_ns, outside_ns),
        Workload::Compute { set_kib } => alone::compute(worker, set_kib),
        Workload::Timer { period_ns, busy_ns } => alone::timer(worker, period_ns, busy_ns),
        Workload::Phases { run_ns, rest_ns } => alone::phases(worker, run_ns, rest_ns),
        Workload::Hog => alone::hog(worker),
    }
}
