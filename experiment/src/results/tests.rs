use super::*;
use crate::round::{ManagerRound, VcpuRound, VmRound};

const EXPERIMENT: &str = r#"
name = "two"
about = "Two <rows>. Made up."
baselines = ["host"]
schedules = ["gang:quantum=20ms"]
repetitions = 3
[[vm]]
name = "A"
vcpus = 2
workload = "barrier spin grain=100us"
[[metric]]
name = "barriers"
unit = "barriers/s"
vcpu = 0
[[metric]]
kind = "percentile"
percent = 99
[[goal]]
row = "gang:quantum=20ms"
against = "host"
at_least = 4
[[goal]]
row = "gang:quantum=20ms"
against = "host"
at_least = 10
[[goal]]
metric = "p99"
row = "host"
at_most = 5
"#;

/// A round with this value.
pub fn round(row: &str, repetition: u32, value: f64, counts: bool) -> Round {
    let vcpu = VcpuRound {
        run_ns: 1,
        ready_ns: 2,
        co_stop_ns: 3,
        halted_ns: 4,
        preemptions: 5,
        holder_preemptions: 6,
        counters: vec![7],
        histogram: vec![],
    };
    Round {
        row: row.to_owned(),
        repetition,
        start_ns: 1_000_000_000 * u64::from(repetition),
        length_ns: 1_000_000_000,
        steal_percent: if counts { 0.0 } else { 9.0 },
        foreign_percent: 7.5,
        counts,
        values: vec![Some(value), None],
        vms: vec![VmRound {
            name: "A".to_owned(),
            weight: 256,
            vcpus: vec![vcpu.clone(), vcpu],
        }],
        manager: ManagerRound {
            cpu_percent: 0.25,
            decisions: 100,
            switches: 50,
            switch_p50_ns: 30_000,
            switch_p99_ns: 60_000,
            row_skew_p50_ns: 5_000,
            row_skew_p99_ns: 9_000,
            late_stops: 0,
            illegal_plans: 0,
        },
    }
}

/// Results of two rows, made up.
pub fn example() -> Results {
    let gang = "gang:quantum=20ms";
    let mut rounds = vec![round("host", 0, 9_999.0, false)];
    for (repetition, (host, ganged)) in [
        (2_000.0, 16_000.0),
        (1_500.0, 17_000.0),
        (9_000.0, 17_500.0),
    ]
    .into_iter()
    .enumerate()
    {
        rounds.push(round("host", repetition as u32, host, true));
        rounds.push(round(gang, repetition as u32, ganged, true));
    }
    let measured = Measured {
        rounds,
        pictures: vec![None, None],
    };
    let options = Options {
        repetitions: 3,
        seed: 1,
        steal_limit_percent: 2.0,
    };
    let machine = Machine {
        cpu: Some("A Processor".to_owned()),
        cpus: 2,
        last_level_caches: 1,
        threads_per_core: 1,
        kernel: Some("6.18".to_owned()),
        hz: None,
        kvm: "pvm".to_owned(),
        nested: true,
        autogroup: true,
        enforcement: "gate".to_owned(),
        muster: "0.1.0".to_owned(),
    };
    let experiment = Experiment::parse(EXPERIMENT).unwrap();
    Results::new(experiment, options, machine, measured, Replay::default())
}

#[test]
fn rows_sum_up_their_rounds_that_count() {
    let results = example();
    let host = &results.rows[0];
    assert_eq!((host.rounds, host.discarded), (3, 1));
    assert_eq!(host.values[0].unwrap().median, 2_000.0);
    assert_eq!(host.values[1], None);
    assert_eq!(results.ratio(0, 1, 0), Some(8.5));
    assert_eq!(
        (host.manager.switches_per_second, host.manager.switch_p99_us),
        (50.0, 60.0)
    );
    assert_eq!(results.discarded(), 1);
}

#[test]
fn goals_are_judged_and_misses_measured() {
    let verdicts = example().verdicts;
    assert!(verdicts[0].is_met && verdicts[0].missed_by_percent.is_none());
    assert_eq!(
        verdicts[0].goal,
        "barriers with gang:quantum=20ms: at least 4 times host"
    );
    assert!(!verdicts[1].is_met);
    assert_eq!(verdicts[1].missed_by_percent.map(f64::round), Some(15.0));
    // Nothing was measured: that is no success.
    assert_eq!((verdicts[2].value, verdicts[2].is_met), (None, false));
}
