//! Proof by simulation: properties that hold for every policy on every host, over many seeds.
//!
//! `docs/scheduler-proof.md` says what is checked and how a failure is read. A failure prints the line
//! that repeats it; `MUSTER_LONG=1` makes every test go through many more seeds.

mod checks;
mod draw;
mod facts;
mod generator;
mod promises;
mod samples;
mod seeds;
mod simulated;
mod storm;
mod timeline;

/// A suite's seeds are split into parts, so that test runners use all CPUs.
macro_rules! parts {
    ($suite:path: $($name:ident = $number:literal)*) => {$(
        #[test]
        fn $name() {
            $suite($number);
        }
    )*};
}

mod storms {
    parts! { crate::seeds::storms: part_0 = 0 part_1 = 1 part_2 = 2 part_3 = 3 }
}

mod scenarios {
    parts! { crate::seeds::scenarios: part_0 = 0 part_1 = 1 part_2 = 2 part_3 = 3 }
}

mod locks {
    parts! { crate::seeds::locks: part_0 = 0 part_1 = 1 part_2 = 2 part_3 = 3 }
}

/// `MUSTER_SEED=1 cargo test -p muster-scheduler --test properties one_storm -- --nocapture`
#[test]
fn one_storm() {
    if let Some(seed) = seeds::asked_for() {
        seeds::storm(seed);
    }
}

/// `MUSTER_SEED=1 cargo test -p muster-scheduler --test properties one_seed -- --nocapture`
#[test]
fn one_seed() {
    if let Some(seed) = seeds::asked_for() {
        println!("{}", simulated::describe(&generator::case(seed)));
        seeds::scenario(seed, &mut simulated::Seen::new());
    }
}

/// `MUSTER_SEED=1 cargo test -p muster-scheduler --test properties one_lock -- --nocapture`
#[test]
fn one_lock() {
    if let Some(seed) = seeds::asked_for() {
        println!("{}", simulated::describe(&generator::lock_case(seed)));
        seeds::lock_scenario(seed, &mut simulated::Seen::new());
    }
}
