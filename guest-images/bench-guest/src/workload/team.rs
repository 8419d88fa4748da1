//! Process control: as many workers as the host advises, where `obey` asks for it.
//!
//! The first worker always works. It looks at the advice now and then and wakes those that it lets
//! in again.
//!
//! Source: Tucker, Gupta, "Process control and scheduling issues for multiprogrammed shared-memory
//! multiprocessors", SOSP 1989.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::run::Run;
use crate::worker::Worker;

/// How many workers work at present; 0 before anybody has looked.
static SIZE: AtomicU32 = AtomicU32::new(0);

/// How many workers should work, by the host's advice.
pub fn advised(run: &Run) -> u32 {
    let advice = run.records.header().cpus_advised.load(Ordering::Relaxed);
    if run.config.obey && advice != 0 {
        advice.min(run.cpus)
    } else {
        run.cpus
    }
}

/// Where a worker may be sent to sleep: it holds nothing that others wait for. `false` if the run is
/// over.
pub fn may_work(worker: &Worker) -> bool {
    let run = worker.run;
    if !run.config.obey {
        return true;
    }
    if worker.index == 0 {
        let now = advised(run);
        let before = SIZE.swap(now, Ordering::SeqCst);
        for vcpu in before..now {
            worker.wake(vcpu);
        }
        return true;
    }
    if worker.index < SIZE.load(Ordering::Relaxed) {
        return true;
    }
    worker.sleep(|| worker.index < SIZE.load(Ordering::SeqCst))
}
