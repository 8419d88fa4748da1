//! Which seeds are run, and what is said of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::checks;
use crate::generator;
use crate::simulated::{self, Seen};
use crate::storm;

/// Into how many tests the seeds of a suite are split.
const CHUNKS: u64 = 4;
/// Storms: usually, and in the long form.
const STORMS: [u64; 2] = [600, 20_000];
/// Scenarios.
const SCENARIOS: [u64; 2] = [600, 10_000];
/// Scenarios in which holders of locks borrow much time.
const LOCKS: [u64; 2] = [200, 4000];

/// The seeds of a chunk.
fn of_chunk(chunk: u64, counts: [u64; 2]) -> impl Iterator<Item = u64> {
    let count = counts[usize::from(is_long())];
    (chunk..count).step_by(CHUNKS as usize)
}

/// Whether the suite runs in its long form.
#[expect(
    clippy::disallowed_methods,
    reason = "how long it runs is the runner's to say"
)]
fn is_long() -> bool {
    std::env::var("MUSTER_LONG").is_ok()
}

/// The only seed to be run.
#[expect(
    clippy::disallowed_methods,
    reason = "which seed is repeated is a person's to say"
)]
pub fn asked_for() -> Option<u64> {
    let seed = std::env::var("MUSTER_SEED").ok()?;
    Some(seed.parse().expect("MUSTER_SEED is a number"))
}

/// Storms over the bare engine.
pub fn storms(chunk: u64) {
    of_chunk(chunk, STORMS).for_each(storm);
}

/// The storm of a seed.
pub fn storm(seed: u64) {
    repeatable(seed, "one_storm", || {
        storm::run(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
    });
}

/// Scenarios in the simulator. Each property must have been seen at work, but for one that has scenarios of
/// its own: holders of locks are seldom stopped.
pub fn scenarios(chunk: u64) {
    let mut seen = Seen::new();
    of_chunk(chunk, SCENARIOS).for_each(|seed| scenario(seed, &mut seen));
    println!("{seen:#?}");
    for &(name, _) in checks::ALL {
        let elsewhere = name == checks::repaid::NAME;
        assert!(elsewhere || seen[name] > 0, "nothing was seen of: {name}");
    }
}

/// The scenario of a seed.
pub fn scenario(seed: u64, seen: &mut Seen) {
    repeatable(seed, "one_seed", || {
        simulated::check(seed, generator::case, seen).unwrap_or_else(|wrong| panic!("{wrong}"));
    });
}

/// Scenarios in which holders of locks borrow much time. Loans must have been seen, and graces.
pub fn locks(chunk: u64) {
    let mut seen = Seen::new();
    of_chunk(chunk, LOCKS).for_each(|seed| lock_scenario(seed, &mut seen));
    println!("{seen:#?}");
    assert!(seen[checks::repaid::NAME] > 1000, "hardly any was borrowed");
}

/// One of them.
pub fn lock_scenario(seed: u64, seen: &mut Seen) {
    repeatable(seed, "one_lock", || {
        let checked = simulated::check(seed, generator::lock_case, seen);
        checked.unwrap_or_else(|wrong| panic!("{wrong}"));
    });
}

/// Says how a failure can be repeated.
fn repeatable(seed: u64, test: &str, run: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|failure| {
        eprintln!(
            "to repeat: MUSTER_SEED={seed} cargo test -p muster-scheduler --test properties {test} -- \
             --nocapture"
        );
        resume_unwind(failure)
    });
}
