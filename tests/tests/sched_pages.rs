//! The pages on shipped scenarios are what `cargo xtask results` would make now.

use std::fs;
use std::path::Path;

use muster_scheduler::sim::shipped::SHIPPED;
use muster_tests::is_long;
use muster_tests::place::muster;
use muster_tests::sched_pages::{DIR, Ran};

/// These take too long for every day.
const SLOW: [&str; 2] = ["phases-4", "phases-8"];

#[test]
fn pages_and_charts_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for shipped in SHIPPED {
        if SLOW.contains(&shipped.name) && !is_long() {
            continue;
        }
        for (name, content) in Ran::new(&muster(), shipped).unwrap().files() {
            let path = root.join(DIR).join(&name);
            let is = fs::read_to_string(&path).unwrap_or_default();
            assert!(is == content, "{DIR}/{name}: run `cargo xtask results`");
        }
    }
}

#[test]
fn slow_scenarios_exist() {
    for name in SLOW {
        assert!(SHIPPED.iter().any(|shipped| shipped.name == name), "{name}");
    }
}
