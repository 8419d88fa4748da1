//! Proof by simulation: properties that hold for every policy on every host, over many seeds.
//!
//! `docs/scheduler-proof.md` says what is checked and how a failure is read. A failure prints the line
//! that repeats it; `MUSTER_LONG=1` makes every test go through many more seeds.

mod checks;
mod draw;
mod facts;
mod generator;
mod samples;
mod seeds;
mod storm;
mod timeline;

/// The seeds of a test, by its number: they are split so that test runners use all CPUs.
macro_rules! chunks {
    ($($name:ident = $chunk:literal)*) => {$(
        #[test]
        fn $name() {
            crate::seeds::storms($chunk);
        }
    )*};
}

mod storms {
    chunks! { part_0 = 0 part_1 = 1 part_2 = 2 part_3 = 3 }
}

/// `MUSTER_SEED=1 cargo test -p muster-scheduler --test properties one_storm -- --nocapture`
#[test]
fn one_storm() {
    if let Some(seed) = seeds::asked_for() {
        seeds::storm(seed);
    }
}
