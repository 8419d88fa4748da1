//! How fast the computing loop is.

use crate::cpu;

/// Rounds of a trial: some ten microseconds, short enough to be undisturbed most of the time.
const LOOPS: u64 = 50_000;
/// Enough for one undisturbed.
const TRIALS: u32 = 64;

/// Rounds of [`cpu::compute`] in a millisecond, by the fastest of many trials.
pub fn loops_per_ms(tsc_khz: u32) -> u64 {
    let trial = |_| {
        let begin = cpu::tsc();
        cpu::compute(LOOPS);
        (cpu::tsc() - begin).max(1)
    };
    let fastest = (0..TRIALS).map(trial).min().unwrap_or(1);
    (LOOPS * u64::from(tsc_khz) / fastest).max(1)
}
