use muster_scheduler::sim::Scenario;

use super::*;

#[test]
fn what_is_drawn_can_be_read() {
    for seed in 0..300 {
        let case = case(seed);
        if let Err(error) = Scenario::parse(&case.scenario) {
            panic!("seed {seed}: {error}\n{}", case.scenario);
        }
        assert!(case.policy.parse::<PolicySpec>().is_ok());
    }
}

#[test]
fn equal_seeds_draw_equal_cases() {
    for seed in 0..30 {
        assert_eq!(case(seed).scenario, case(seed).scenario);
        assert_eq!(case(seed).policy, case(seed).policy);
    }
}

#[test]
fn every_policy_is_drawn() {
    let drawn: Vec<String> = (0..300).map(|seed| case(seed).policy).collect();
    for entry in muster_scheduler::registry::ENTRIES {
        let is_in = |policy: &String| {
            let mut parts = policy.split('+');
            parts.any(|part| part.split(':').next() == Some(entry.name))
        };
        assert!(drawn.iter().any(is_in), "{}", entry.name);
    }
}

#[test]
fn layers_are_drawn_in_either_order() {
    let drawn: Vec<String> = (0..300).map(|seed| case(seed).policy).collect();
    let follows = |policy: &String, first: &str, second: &str| {
        let place = |name: &str| policy.split('+').position(|part| part.starts_with(name));
        place(first).is_some_and(|at| place(second).is_some_and(|other| at < other))
    };
    for (first, second) in [("relaxed", "smart"), ("smart", "relaxed")] {
        assert!(drawn.iter().any(|policy| follows(policy, first, second)));
    }
}
