//! A barrier: all compute, then wait for the slowest.
//!
//! The last to arrive lets the others go on by raising the generation. It also decides who takes part
//! in the next round: those that the host advises against halt until a later round has them again.
//! The others then compute their parts too.

use core::sync::atomic::{AtomicU32, Ordering};

use bench_guest::config::Wait;
use bench_guest::counter;

use super::team;
use crate::worker::{Line, Worker};

static ARRIVED: Line<AtomicU32> = Line(AtomicU32::new(0));
static GENERATION: Line<AtomicU32> = Line(AtomicU32::new(0));
/// How many take part; 0: all, before the first round.
static PARTIES: Line<AtomicU32> = Line(AtomicU32::new(0));

fn parties(worker: &Worker) -> u32 {
    match PARTIES.0.load(Ordering::SeqCst) {
        0 => worker.run.cpus,
        parties => parties,
    }
}

/// Computes and waits until the run is over.
pub fn run(worker: &Worker, how: Wait, grain_ns: u64) {
    let run = worker.run;
    let work = run.loops(grain_ns) * u64::from(run.cpus);
    while !worker.is_over_now_and_then() {
        let parties = parties(worker);
        if worker.index >= parties {
            if !rest(worker) {
                return;
            }
            continue;
        }
        worker.compute(work / u64::from(parties));
        if !pass(worker, how, parties) {
            return;
        }
        worker.count(counter::WORK, 1);
    }
}

/// Arrives and waits for the others; `false` if the run is over before they are all there.
fn pass(worker: &Worker, how: Wait, parties_now: u32) -> bool {
    let generation = GENERATION.0.load(Ordering::Acquire);
    if ARRIVED.0.fetch_add(1, Ordering::AcqRel) + 1 < parties_now {
        return worker.wait(how, || GENERATION.0.load(Ordering::Acquire) != generation);
    }
    ARRIVED.0.store(0, Ordering::Relaxed);
    let next = team::advised(worker.run);
    PARTIES.0.store(next, Ordering::SeqCst);
    GENERATION
        .0
        .store(generation.wrapping_add(1), Ordering::SeqCst);
    if how == Wait::Halt || next > parties_now {
        for vcpu in 0..next.max(parties_now) {
            worker.wake(vcpu);
        }
    }
    true
}

/// Halts until it takes part again; `false` if the run is over before.
fn rest(worker: &Worker) -> bool {
    worker.sleep(|| worker.index < parties(worker))
}
