//! A seed's scenario, run and checked.

use std::collections::BTreeMap;

use muster_scheduler::PolicySpec;
use muster_scheduler::sim::record::{Keep, Recording};
use muster_scheduler::sim::{self, Scenario};

use crate::checks;
use crate::facts::Facts;
use crate::generator::Case;
use crate::timeline::Timeline;

/// How many cases each property was checked on.
pub type Seen = BTreeMap<&'static str, u64>;

/// Gives the run of a seed.
pub type Generate = fn(u64) -> Case;

/// A seed's policy and scenario, as a person would write them.
pub fn describe(case: &Case) -> String {
    let Case { scenario, policy } = case;
    format!("policy: {policy}\n{scenario}")
}

/// Runs a seed twice and checks every property. What is wrong is told with the whole scenario.
pub fn check(seed: u64, generate: Generate, seen: &mut Seen) -> Result<(), String> {
    let case = generate(seed);
    check_case(seed, &case, seen).map_err(|wrong| format!("{wrong}\n{}", describe(&case)))
}

fn check_case(seed: u64, case: &Case, seen: &mut Seen) -> Result<(), String> {
    let scenario = Scenario::parse(&case.scenario).map_err(|error| error.to_string())?;
    let policy: PolicySpec = case.policy.parse().expect("a policy that was drawn");
    let recording = run(&scenario, &policy, seed, Keep::Spans)?;
    let again = run(&scenario, &policy, seed, Keep::Spans)?;
    if recording.hash != again.hash {
        return Err("the same seed has given another run".to_owned());
    }
    let facts = Facts::new(&scenario, &policy, &recording);
    let timeline = Timeline::new(&recording);
    for &(name, check) in checks::ALL {
        let cases = check(&timeline, &facts).map_err(|broken| broken.to_string())?;
        *seen.entry(name).or_default() += cases;
    }
    Ok(())
}

/// A run, or why it was given up.
pub fn run(
    scenario: &Scenario,
    policy: &PolicySpec,
    seed: u64,
    keep: Keep,
) -> Result<Recording, String> {
    sim::run(scenario, policy, seed, keep).map_err(|error| error.to_string())
}
