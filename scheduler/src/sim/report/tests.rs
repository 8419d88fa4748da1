use super::*;
use crate::sim::example;
use crate::sim::record::{Activity, CpuTotals};
use crate::{MS, US};

/// One CPU for a second: A and B ran for so many milliseconds and did an operation in each.
fn shared(policy: &str, ran_ms: [u64; 2]) -> Recording {
    let mut recording = example::recording(policy, 1, SECOND);
    let mut start = 0;
    for (vm, ran) in ran_ms.into_iter().enumerate() {
        recording.vms.push(example::vm(["A", "B"][vm], 1, SECOND));
        let end = start + ran * MS;
        example::ran(
            &mut recording,
            0,
            (vm as u32, 0),
            Activity::Work,
            [start, end],
        );
        recording.vms[vm].ops = ran;
        start = end;
    }
    recording
}

fn row(recording: Recording) -> PolicyRow {
    Report::new(&[recording]).policies.remove(0)
}

#[track_caller]
fn assert_near(actual: Option<f64>, expected: f64) {
    let actual = actual.expect("there is a value");
    assert!(
        (actual - expected).abs() < 1e-9,
        "{actual} is not {expected}"
    );
}

#[test]
fn throughput_is_told_against_the_baseline() {
    let report = Report::new(&[shared("linux", [500, 500]), shared("gang", [250, 750])]);
    let [linux, gang] = &report.policies[..] else {
        panic!("two rows")
    };
    assert_near(linux.speed_up, 1.0);
    assert_near(gang.vms[0].ratio, 0.5);
    assert_near(gang.vms[1].ratio, 1.5);
    assert_near(gang.speed_up, libm::sqrt(0.75));
    let text = report.text(200);
    assert!(text.starts_with("example: 1 CPUs, 1s, seed 1\n"), "{text}");
    assert!(text.contains("linux (baseline)"), "{text}");
    assert!(text.contains("750 (1.50x)"), "{text}");
}

#[test]
fn a_vm_that_is_done_sooner_has_the_higher_throughput() {
    let mut fast = shared("gang", [500, 500]);
    fast.vms[0].left_ns = Some(SECOND / 4);
    let report = Report::new(&[shared("linux", [500, 500]), fast]);
    assert_near(report.policies[1].vms[0].ratio, 4.0);
}

#[test]
fn a_vm_that_the_baseline_starved_has_no_ratio() {
    let report = Report::new(&[shared("linux", [0, 1000]), shared("gang", [500, 500])]);
    let gang = &report.policies[1];
    assert_eq!(gang.vms[0].ratio, None);
    assert_near(gang.speed_up, 0.5);
    assert!(report.text(80).contains("500\n") || report.text(80).contains("  500 "));
}

#[test]
fn fairness_is_by_weight() {
    assert_near(row(shared("x", [500, 500])).fairness, 1.0);
    assert_near(row(shared("x", [1000, 0])).fairness, 0.5);
    // Two to one, as the weights say.
    let mut weighted = shared("x", [600, 300]);
    weighted.vms[0].weight *= 2;
    assert_near(row(weighted).fairness, 1.0);
    let mut unweighted = shared("x", [600, 300]);
    unweighted.vms[1].weight *= 2;
    let parts = [600.0 / (1000.0 / 3.0), 300.0 / (2000.0 / 3.0)];
    let sum: f64 = parts.iter().sum();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    assert_near(row(unweighted).fairness, sum * sum / 2.0 / squares);
}

/// Who halts most of the time is not treated badly by getting little.
#[test]
fn fairness_asks_nobody_to_take_more_than_it_wants() {
    let mut modest = shared("x", [100, 900]);
    modest.vms[0].times[0][Runstate::Ready] = 0;
    modest.vms[0].times[0][Runstate::Halted] = 900 * MS;
    assert_near(row(modest).fairness, 1.0);
}

#[test]
fn all_time_is_accounted_for() {
    let mut recording = shared("x", [300, 200]);
    recording.vms[0].spin_ns = 100 * MS;
    recording.vms[0].refill_ns = 50 * MS;
    recording.cpu_totals = CpuTotals {
        held_ns: 40 * MS,
        switch_ns: 30 * MS,
        stolen_ns: 20 * MS,
        hole_ns: 10 * MS,
    };
    let row = row(recording);
    let parts = [
        (row.useful, 0.5),
        (row.spinning, 0.1),
        (row.refilling, 0.05),
        (row.held, 0.04),
        (row.switching, 0.03),
        (row.stolen, 0.02),
        (row.idle, 0.26),
        (row.holes, 0.01),
    ];
    for (part, expected) in parts {
        assert_near(Some(part), expected);
    }
}

#[test]
fn percentiles_are_of_all_vms_together() {
    let mut recording = shared("x", [1, 1]);
    recording.vms[0].wake_latencies_ns = (1..=50).map(|us| us * US).collect();
    recording.vms[1].wake_latencies_ns = (51..=100).map(|us| us * US).collect();
    (recording.vms[0].wakes, recording.vms[1].wakes) = (50, 50);
    let mut uneven = recording.clone();
    let even = row(recording);
    assert_eq!(
        (even.wake_p50_ns, even.wake_p99_ns),
        (Some(50 * US), Some(99 * US))
    );
    // Of the first VM's wakes only every hundredth was kept.
    uneven.vms[0].wakes = 5000;
    let uneven = row(uneven);
    assert_eq!(
        (uneven.wake_p50_ns, uneven.wake_p99_ns),
        (Some(26 * US), Some(50 * US))
    );
    assert_eq!(percentile(&[(7, 1)], 50), Some(7));
    assert_eq!(percentile(&[], 50), None);
}

#[test]
fn many_vms_are_not_all_listed() {
    let mut recording = example::recording("linux", 4, SECOND);
    for number in 0..100 {
        recording
            .vms
            .push(example::vm(&format!("vm{number}"), 1, SECOND));
    }
    let text = Report::new(&[recording]).text(80);
    assert!(text.contains("and 68 more VMs"), "{text}");
    assert!(!text.contains("vm32"), "{text}");
}

#[test]
fn numbers_have_three_digits_that_count() {
    let numbers = [0.0, 7.0, 0.5, 42.345, 999.0, 1000.0, 2_400_000.0, 33e6, 5e9].map(number);
    assert_eq!(
        numbers,
        [
            "0", "7", "0.50", "42.3", "999", "1.00k", "2.40M", "33.0M", "5.00G"
        ]
    );
    let times = [0, 999, 1500, 20 * MS, 3 * SECOND].map(short_time);
    assert_eq!(times, ["0", "999 ns", "1.50 us", "20.0 ms", "3.00 s"]);
}

#[test]
fn json_has_a_schema() {
    let report = Report::new(&[shared("linux", [500, 500])]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["policies"][0]["vms"][1]["ops"], 500);
    assert_eq!(json["policies"][0]["wake_p50_ns"], serde_json::Value::Null);
}
