use muster_scheduler::Claims;

use super::*;
use crate::samples::Sample;

#[test]
fn an_empty_run_breaks_nothing_and_shows_nothing() {
    let claims = Claims {
        work_conserving: true,
        gangs: true,
        fair_within_ns: Some(10),
        repays: None,
        holds_back: false,
        ready_max_ns: Some(|_| 0),
    };
    let mut sample = Sample::new(2, 1000, claims);
    for (name, check) in ALL {
        // Nobody waits while the CPUs idle.
        let seen = if *name == conservation::NAME { 2 } else { 0 };
        assert_eq!(sample.finish().check(*check), Ok(seen), "{name}");
    }
}

#[test]
fn what_is_broken_is_told_in_a_line() {
    let broken = Broken {
        property: gangs::NAME,
        at_ns: 7,
        seen: format!("{} is away", name(crate::samples::vcpu(1, 2))),
    };
    assert_eq!(
        broken.to_string(),
        "gangs run whole: at 7 ns: vCPU 1.2 is away"
    );
}
