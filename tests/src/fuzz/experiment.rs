//! Experiment files.

use std::str::from_utf8;

use muster_experiment::Experiment;
use muster_experiment::shipped::SHIPPED;

/// Parses an experiment. What is accepted is bounded, and all that one part says of another is there.
pub fn run(bytes: &[u8]) {
    let Ok(text) = from_utf8(bytes) else {
        return;
    };
    let experiment = match Experiment::parse(text) {
        Ok(experiment) => experiment,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.trim().is_empty(), "refused without a word");
            assert!(!said.contains('\n'), "more than a line: {said:?}");
            return;
        }
    };
    let (vms, rows) = (&experiment.vms, &experiment.rows);
    assert!(!vms.is_empty() && !rows.is_empty() && !experiment.metrics.is_empty());
    let vcpus: u32 = vms.iter().map(|vm| vm.vcpus).sum();
    assert!((1..=256).contains(&vcpus), "{vcpus} vCPUs");
    assert!(experiment.round_ns > 0);
    // A thousand repetitions of the longest rounds can be added up.
    assert!(experiment.length_ns(1000) >= experiment.round_ns);
    for metric in &experiment.metrics {
        assert!(metric.vms.iter().all(|&vm| vm < vms.len()), "{metric:?}");
    }
    for goal in &experiment.goals {
        assert!(goal.metric < experiment.metrics.len(), "{goal:?}");
        let named = std::iter::once(goal.row).chain(goal.against);
        assert!(named.into_iter().all(|row| row < rows.len()), "{goal:?}");
        assert!(goal.bound.value().is_finite(), "{goal:?}");
    }
    for row in rows {
        assert_eq!(
            experiment.row(&row.label).map(|found| &rows[found].label),
            Some(&row.label)
        );
    }
}

/// An experiment with all that there is, and those that come with muster.
pub fn seeds() -> Vec<Vec<u8>> {
    let shipped = SHIPPED.iter().map(|shipped| shipped.text);
    let all = std::iter::once(EVERYTHING).chain(shipped);
    all.map(|text| text.as_bytes().to_vec()).collect()
}

const EVERYTHING: &str = r#"
name = "everything"
about = "a bit of all"
round = "200ms"
settle = "0s"
repetitions = 3
baselines = ["host:pin,slice=5ms"]
schedules = ["gang:quantum=20ms+smart", "pinned:antiphase"]
alone = "L"
swap = { every = "50ms", between = ["gang", "host"] }
[[vm]]
name = "A"
vcpus = 4
weight = 512
cap = 150
memory = "128MiB"
workload = "lock=ticket critical=1.5us outside=0ns obey"
[[vm]]
name = "L"
kernel = "vmlinuz"
initrd = "initrd"
cmdline = "quiet"
boot = "5s"
[[metric]]
counter = "late-ns"
vms = ["A"]
vcpu = 3
unit = "ns/s"
[[metric]]
name = "latency"
kind = "percentile"
percent = 99.9
[[goal]]
metric = "latency"
row = "swap"
against = "alone"
at_most = 2.5
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_experiments() {
        for seed in seeds() {
            Experiment::parse(from_utf8(&seed).unwrap()).unwrap();
        }
    }
}
