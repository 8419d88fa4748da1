//! The same experiment in the simulator, beside what was measured.
//!
//! Problem: a simulator is believed as far as it has been right.
//!
//! Approach: the experiment becomes a [scenario](muster_scheduler::sim::scenario) that anybody can run
//! again, where there is a model for what its VMs do. Rows are simulated with their policies, the host's
//! own schedules with the model of Linux's scheduler. The median of a few seeds is compared with the
//! median that was measured.
//!
//! What the model does not know is taken from one row, the *reference*: how long an exchange takes, and
//! how much work an operation is. That row agrees by construction and tells nothing; the others do.

mod scenario;

use muster_scheduler::sim::{self, Keep, Recording, RunError, Scenario, ScenarioError};
use muster_scheduler::{Nanos, PolicySpec, Runstate};
use serde::Serialize;
use thiserror::Error;

use crate::metric;
use crate::round::{Facts, ManagerRound, VcpuRound, VmRound};
use crate::spec::{ALONE, Experiment, Guest, Measure, Metric, Row, RowKind};
use crate::statistics::Summary;
use crate::workload::Work;

/// Draws of the random numbers.
const SEEDS: [u64; 3] = [1, 2, 3];

/// With fewer exchanges in a second each waits for turns, and one that is simulated is one. With more, one
/// stands for several that are shorter.
const TURN_BOUND: f64 = 100.0;

/// The simulator's part of a report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    /// The scenario of all VMs.
    pub scenario: Option<String>,
    /// Why there is none.
    pub without: Option<String>,
    /// The row that fixes what the model does not know.
    pub reference: Option<String>,
    /// Values beside each other.
    pub comparisons: Vec<Comparison>,
}

/// A value as measured and as simulated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The metric's name.
    pub metric: String,
    /// The row's label.
    pub row: String,
    /// The median that was measured.
    pub measured: f64,
    /// The median of the simulations.
    pub simulated: f64,
    /// By how many percent of the measured value the simulated one is off; `None` if that is zero.
    pub error_percent: Option<f64>,
    /// It agrees by construction.
    pub is_reference: bool,
}

/// The simulator refused. That is a mistake of muster's.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A scenario.
    #[error("the scenario made from the experiment is wrong: {0}")]
    Scenario(#[from] ScenarioError),
    /// A run.
    #[error("the simulation of {row} failed: {error}")]
    Run {
        /// Which row.
        row: String,
        /// Why.
        error: RunError,
    },
}

/// Simulates all rows on a host with `cpus` CPUs. `measured` has a list of medians per row.
pub fn replay(
    experiment: &Experiment,
    cpus: usize,
    measured: &[Vec<Option<f64>>],
) -> Result<Replay, ReplayError> {
    if let Some(reason) = scenario::missing_model(experiment) {
        return Ok(Replay {
            without: Some(reason),
            ..Replay::default()
        });
    }
    let reference = reference(experiment);
    let exchange_ns = exchange_ns(experiment, measured);
    let mut simulated = Vec::new();
    for row in &experiment.rows {
        let text = scenario::text(experiment, row, cpus, exchange_ns);
        let scenario = Scenario::parse(&text)?;
        simulated.push(simulate(experiment, row, &scenario)?);
    }
    let host = Row {
        label: "host".to_owned(),
        kind: RowKind::Schedule("host".parse().expect("the host's schedule is one")),
        is_baseline: true,
    };
    Ok(Replay {
        scenario: Some(scenario::text(experiment, &host, cpus, exchange_ns)),
        without: None,
        reference: Some(experiment.rows[reference].label.clone()),
        comparisons: compare(experiment, measured, &simulated, reference),
    })
}

/// One VM alone if there is such a row, else siblings apart, else the first.
fn reference(experiment: &Experiment) -> usize {
    let labels = [ALONE, "host:pin"];
    let found = labels.iter().find_map(|label| experiment.row(label));
    found.unwrap_or(0)
}

/// How long an exchange of request and reply takes, from the VM that was alone.
fn exchange_ns(experiment: &Experiment, measured: &[Vec<Option<f64>>]) -> Option<f64> {
    let row = experiment.row(ALONE)?;
    let rates = experiment.metrics.iter().zip(&measured[row]);
    let mut rates = rates.filter_map(|(metric, value)| match metric.measure {
        Measure::Rate { counter: 0, vcpu } => {
            let pairs = 1.0 + f64::from(u8::from(vcpu.is_none()));
            Some(value.filter(|rate| *rate > 0.0)? / pairs)
        }
        _ => None,
    });
    Some(1e9 / rates.next()?)
}

/// The medians of a row's metrics over the seeds.
fn simulate(
    experiment: &Experiment,
    row: &Row,
    scenario: &Scenario,
) -> Result<Vec<Option<f64>>, ReplayError> {
    let policy = policy(row);
    let mut values = vec![Vec::new(); experiment.metrics.len()];
    for seed in SEEDS {
        let run = sim::run(scenario, &policy, seed, Keep::Totals);
        let recording = run.map_err(|error| ReplayError::Run {
            row: row.label.clone(),
            error,
        })?;
        for (metric, values) in experiment.metrics.iter().zip(&mut values) {
            values.extend(value(experiment, metric, row, &recording));
        }
    }
    let medians = values.into_iter().map(|values| {
        let summary = Summary::of(values)?;
        Some(summary.median)
    });
    Ok(medians.collect())
}

/// What a row begins with, for the simulator.
fn policy(row: &Row) -> PolicySpec {
    match &row.kind {
        RowKind::Schedule(schedule) => scenario::policy(schedule),
        RowKind::Alone(_) => scenario::policy(&"host:pin".parse().expect("it is a schedule")),
        RowKind::Swap { between, .. } => scenario::policy(&between[0]),
    }
}

/// A metric of a simulated run.
fn value(
    experiment: &Experiment,
    metric: &Metric,
    row: &Row,
    recording: &Recording,
) -> Option<f64> {
    if metric.measure == Measure::Skew {
        let chosen = metric
            .vms
            .iter()
            .map(|&vm| experiment.vms[vm].name.as_str());
        let chosen: Vec<&str> = chosen.collect();
        let vms = recording.vms.iter();
        let vms = vms.filter(|vm| chosen.contains(&vm.name.as_str()));
        return vms.map(|vm| vm.skew_max_ns as f64 / 1e6).reduce(f64::max);
    }
    if matches!(metric.measure, Measure::Rate { counter, .. } if counter != 0) {
        return None;
    }
    let facts = facts(experiment, recording);
    metric::value(metric, &facts, &[], |vm| match row.kind {
        RowKind::Alone(alone) => vm == alone,
        _ => true,
    })
}

/// A simulated run as if it had been a round.
fn facts(experiment: &Experiment, recording: &Recording) -> Facts {
    let vms = experiment.vms.iter().map(|spec| {
        let outcome = recording.vms.iter().find(|vm| vm.name == spec.name);
        let Guest::Bench(workload) = &spec.guest else {
            unreachable!("there is a model for it");
        };
        let vcpus = (0..spec.vcpus as usize).map(|index| {
            let Some(outcome) = outcome else {
                return idle_vcpu();
            };
            let times = outcome.times[index];
            // Of what all do together each counts all; of what each does alone, each its part.
            let ops = match workload.work {
                Work::RequestReply { .. } | Work::PingPong | Work::Barrier { .. } => outcome.ops,
                _ => outcome.ops / u64::from(spec.vcpus),
            };
            let is_first = index == 0;
            let is_timer = is_first && matches!(workload.work, Work::Timer { .. });
            VcpuRound {
                run_ns: times[Runstate::Running],
                ready_ns: times[Runstate::Ready],
                co_stop_ns: times[Runstate::CoStopped],
                halted_ns: times[Runstate::Halted],
                preemptions: 0,
                holder_preemptions: if is_first {
                    outcome.holder_preemptions
                } else {
                    0
                },
                counters: vec![ops],
                histogram: if is_timer {
                    classes(&outcome.wake_latencies_ns)
                } else {
                    Vec::new()
                },
            }
        });
        VmRound {
            name: spec.name.clone(),
            weight: spec.weight,
            vcpus: vcpus.collect(),
        }
    });
    Facts {
        length_ns: recording.duration_ns,
        steal_percent: 0.0,
        vms: vms.collect(),
        manager: ManagerRound {
            cpu_percent: 0.0,
            decisions: recording.decisions,
            switches: 0,
            switch_p50_ns: 0,
            switch_p99_ns: 0,
            row_skew_p50_ns: 0,
            row_skew_p99_ns: 0,
            late_stops: 0,
            illegal_plans: 0,
        },
    }
}

/// Of a VM that is not there.
fn idle_vcpu() -> VcpuRound {
    VcpuRound {
        run_ns: 0,
        ready_ns: 0,
        co_stop_ns: 0,
        halted_ns: 0,
        preemptions: 0,
        holder_preemptions: 0,
        counters: Vec::new(),
        histogram: Vec::new(),
    }
}

/// Times as a guest counts them.
fn classes(times: &[Nanos]) -> Vec<u64> {
    let mut classes = vec![0; muster_guest_page::CLASSES];
    for &time in times {
        classes[muster_guest_page::class_of(time)] += 1;
    }
    classes
}

fn compare(
    experiment: &Experiment,
    measured: &[Vec<Option<f64>>],
    simulated: &[Vec<Option<f64>>],
    reference: usize,
) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (metric, spec) in experiment.metrics.iter().enumerate() {
        let pair = |row: usize| Some((measured[row][metric]?, simulated[row][metric]?));
        // A rate is in a unit of the guest's: the reference tells what an operation is.
        let is_rate = matches!(spec.measure, Measure::Rate { .. });
        let unit = match pair(reference) {
            Some((measured, simulated)) if is_rate && simulated > 0.0 => measured / simulated,
            None if is_rate => continue,
            _ => 1.0,
        };
        for (row, label) in experiment.rows.iter().enumerate() {
            let Some((measured, simulated)) = pair(row) else {
                continue;
            };
            let waits_for_turns = simulated < TURN_BOUND && counts_exchanges(experiment, spec);
            let simulated = if waits_for_turns {
                simulated
            } else {
                simulated * unit
            };
            let error = (measured > 0.0).then(|| 100.0 * (simulated / measured - 1.0));
            comparisons.push(Comparison {
                metric: spec.name.clone(),
                row: label.label.clone(),
                measured,
                simulated,
                error_percent: error,
                is_reference: is_rate && row == reference,
            });
        }
    }
    comparisons
}

/// Whether a metric is about requests and replies.
fn counts_exchanges(experiment: &Experiment, metric: &Metric) -> bool {
    let mut guests = metric.vms.iter().map(|&vm| &experiment.vms[vm].guest);
    guests.any(|guest| match guest {
        Guest::Bench(workload) => matches!(workload.work, Work::RequestReply { .. }),
        Guest::Kernel { .. } => false,
    })
}

#[cfg(test)]
mod tests;
