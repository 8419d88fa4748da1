use muster_node::Schedule;

use super::*;
use crate::workload::Workload;

const EXCHANGES: &str = r#"
name = "t"
about = "a test"
baselines = ["host:pin"]
schedules = ["gang:quantum=10ms", "pinned:quantum=50ms,antiphase"]
alone = "A"
round = "400ms"
settle = "100ms"
[[vm]]
name = "A"
vcpus = 2
workload = "request-reply spin"
[[vm]]
name = "B"
vcpus = 2
workload = "hog"
[[metric]]
name = "exchanges"
vms = ["A"]
vcpu = 0
[[metric]]
kind = "cpus"
"#;

/// What a host of two CPUs and 60 ns per exchange would have measured.
fn measured() -> Vec<Vec<Option<f64>>> {
    let alone = 16e6;
    let rates = [alone / 4.0, alone / 2.0, 10.0, alone];
    rates.map(|rate| vec![Some(rate), Some(2.0)]).into()
}

fn error(replay: &Replay, metric: &str, row: &str) -> f64 {
    let mut found = replay.comparisons.iter();
    let found = found.find(|one| one.metric == metric && one.row == row);
    found.unwrap().error_percent.unwrap()
}

#[test]
fn exchanges_are_simulated_as_theory_has_them() {
    let experiment = Experiment::parse(EXCHANGES).unwrap();
    let replay = replay(&experiment, 2, &measured()).unwrap();
    assert_eq!(replay.reference.as_deref(), Some("alone"));
    let errors = ["alone", "gang:quantum=10ms"].map(|row| error(&replay, "exchanges", row));
    assert!(
        errors[0].abs() < 0.01 && errors[1].abs() < 3.0,
        "{errors:?}"
    );
    // Out of phase an exchange takes two turns, whatever it takes undisturbed.
    let antiphase = replay.comparisons.iter();
    let mut antiphase = antiphase.filter(|one| one.row.contains("antiphase"));
    let simulated = antiphase.next().unwrap().simulated;
    assert!((5.0..=15.0).contains(&simulated), "{simulated}");
    assert!(error(&replay, "CPUs", "host:pin").abs() < 5.0);
    // One VM alone leaves nothing for the other.
    assert!(error(&replay, "CPUs", "alone").abs() < 1.0);
    assert!(
        !replay
            .comparisons
            .iter()
            .any(|one| one.is_reference && one.row != "alone")
    );
    let scenario = replay.scenario.unwrap();
    let scenario = Scenario::parse(&scenario).unwrap();
    assert_eq!((scenario.vms.len(), scenario.policies.len()), (2, 3));
}

#[test]
fn every_workload_is_a_scenario_or_has_none() {
    for words in [
        "request-reply halt",
        "ping-pong",
        "barrier grain=0ns",
        "barrier halt obey",
        "lock=tas critical=0ns",
        "lock=ticket",
        "lock=queue obey",
        "compute set=1M",
        "timer busy=10us",
        "phases",
        "hog",
        "message",
    ] {
        for vcpus in [1, 2] {
            let text = format!(
                "name = \"t\"\nabout = \"a\"\nround = \"20ms\"\nbaselines = [\"host\"]\n\
                 swap = {{ every = \"10ms\", between = [\"gang\", \"host\"] }}\n\
                 [[vm]]\nname = \"A\"\nvcpus = {vcpus}\ncap = 150\nworkload = \"{words}\"\n[[metric]]\n"
            );
            let experiment = Experiment::parse(&text).unwrap();
            let replay = replay(&experiment, 2, &vec![vec![Some(1.0)]; 2]).unwrap();
            let workload: Workload = words.parse().unwrap();
            assert_eq!(replay.scenario.is_none(), workload.work == Work::Message);
            assert_eq!(replay.without.is_some(), replay.scenario.is_none());
        }
    }
}

#[test]
fn schedules_of_the_host_have_a_model() {
    for (schedule, model) in [
        ("host", "linux"),
        ("host:pin", "linux:pin"),
        ("host:slice=100ms,pin", "linux:slice=100ms,pin"),
        ("gang+smart", "gang+smart"),
    ] {
        let schedule: Schedule = schedule.parse().unwrap();
        assert_eq!(scenario::policy(&schedule).to_string(), model);
    }
}
