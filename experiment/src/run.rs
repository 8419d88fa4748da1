//! Measures every row of an experiment, again and again, in random order.
//!
//! Problem: what else happens on a host changes slowly. If one schedule is measured in the morning and
//! the other at noon, their difference is that of the day.
//!
//! Approach: the VMs run all the time. A repetition measures every row once, in an order that is drawn
//! anew. Each time the schedule is put in charge, has time to settle, and is measured between two looks at
//! the VMs. A round in which the host was short of CPU time itself is repeated, up to [`TRIES`] times;
//! what was discarded stays in the data.

use std::time::Duration;

use muster_node::Schedule;
use muster_node::schedule::HostSchedule;
use muster_node::snapshot::{Snapshot, SwitchRecord};
use muster_scheduler::{MS, Nanos};
use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::SplitMix64;
use thiserror::Error;

use crate::host::HostError;
use crate::metric;
use crate::round::{self, Round, RoundError};
use crate::spec::{Experiment, Measure, RowKind};

/// How often a round is tried while steal is over the limit.
pub const TRIES: u32 = 5;
/// How often a round is looked at, if it has to be.
const SAMPLE_PERIOD: Nanos = 20 * MS;

/// What runs the VMs.
pub trait Host {
    /// Puts a schedule in charge of all VMs.
    fn set_schedule(&mut self, schedule: &Schedule) -> Result<(), HostError>;
    /// Stops all VMs but this one, by its place in the experiment; none if `None`.
    fn stop_others(&mut self, alone: Option<usize>) -> Result<(), HostError>;
    /// Looks at the VMs.
    fn snapshot(&mut self) -> Result<Snapshot, HostError>;
    /// What was switched since a time.
    fn switches(&mut self, since_ns: Nanos) -> Result<Vec<SwitchRecord>, HostError>;
    /// CPU time that everybody on the host has used so far.
    fn busy_ns(&mut self) -> Result<Nanos, HostError>;
    /// Lets time pass. An error if a VM ends meanwhile, or if a signal asks to stop.
    fn wait(&mut self, time: Duration) -> Result<(), HostError>;
}

/// What the user may set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// How often every row is measured.
    pub repetitions: u32,
    /// Draws the order.
    pub seed: u64,
    /// Rounds with more steal are repeated.
    pub steal_limit_percent: f64,
}

/// An experiment is given up.
#[derive(Debug, Error)]
pub enum RunError {
    /// The VMs, the node manager or the user.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What was seen of them.
    #[error(transparent)]
    Round(#[from] RoundError),
    /// The host is too busy.
    #[error(
        "{row}: in every round more than {limit} % of the host's CPU time was taken by what is below \
         it: try later, or raise --steal-limit"
    )]
    Noisy {
        /// Which row has nothing.
        row: String,
        /// The limit.
        limit: f64,
    },
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// All rounds, in the order in which they were run.
    pub rounds: Vec<Round>,
    /// Per row: who was on which CPU in one of its rounds; `None` where nobody writes it down.
    pub pictures: Vec<Option<Picture>>,
}

/// The switches of a round.
#[derive(Debug, Clone)]
pub struct Picture {
    /// When the round began.
    pub from_ns: Nanos,
    /// How it was when it ended.
    pub end: Snapshot,
    /// What was switched, from somewhat before on.
    pub switches: Vec<SwitchRecord>,
}

/// How far it is.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Rounds that are done and count.
    pub done: u32,
    /// Rounds to be done.
    pub total: u32,
    /// The last one.
    pub round: &'a Round,
}

/// Runs an experiment on a host where its VMs run.
pub fn run(
    experiment: &Experiment,
    options: &Options,
    host: &mut dyn Host,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Measured, RunError> {
    let rows = experiment.rows.len();
    let mut session = Session {
        experiment,
        options,
        host,
        progress,
        names: experiment.vms.iter().map(|vm| vm.name.clone()).collect(),
        done: 0,
        measured: Measured {
            rounds: Vec::new(),
            pictures: vec![None; rows],
        },
    };
    let mut random = SplitMix64::seed_from_u64(options.seed);
    for repetition in 0..options.repetitions {
        for row in shuffled(rows, &mut random) {
            session.measure(row, repetition)?;
        }
    }
    for row in &experiment.rows {
        let mut rounds = session.measured.rounds.iter();
        if !rounds.any(|round| round.counts && round.row == row.label) {
            return Err(RunError::Noisy {
                row: row.label.clone(),
                limit: options.steal_limit_percent,
            });
        }
    }
    Ok(session.measured)
}

/// The numbers below `count`, every order being as likely (Fisher, Yates).
fn shuffled(count: usize, random: &mut SplitMix64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        let other = random.next_u64() % (place as u64 + 1);
        order.swap(place, other as usize);
    }
    order
}

struct Session<'a> {
    experiment: &'a Experiment,
    options: &'a Options,
    host: &'a mut dyn Host,
    progress: &'a mut dyn FnMut(&Progress),
    names: Vec<String>,
    done: u32,
    measured: Measured,
}

impl Session<'_> {
    /// Measures a row until it was not disturbed, or too often.
    fn measure(&mut self, row: usize, repetition: u32) -> Result<(), RunError> {
        let alone = match self.experiment.rows[row].kind {
            RowKind::Alone(vm) => Some(vm),
            _ => None,
        };
        self.host.stop_others(alone)?;
        for _ in 0..TRIES {
            let round = self.round(row, repetition)?;
            let counts = round.counts;
            self.done += u32::from(counts);
            (self.progress)(&Progress {
                done: self.done,
                total: self.options.repetitions * self.experiment.rows.len() as u32,
                round: &round,
            });
            self.measured.rounds.push(round);
            if counts {
                break;
            }
        }
        if alone.is_some() {
            self.host.stop_others(None)?;
        }
        Ok(())
    }

    fn round(&mut self, row: usize, repetition: u32) -> Result<Round, RunError> {
        let experiment = self.experiment;
        let first = first_schedule(&experiment.rows[row].kind);
        self.host.set_schedule(&first)?;
        self.pass(row, experiment.settle_ns, &mut Vec::new())?;
        let mut samples = vec![self.host.snapshot()?];
        let busy_before_ns = self.host.busy_ns()?;
        self.pass(row, experiment.round_ns, &mut samples)?;
        let after = self.host.snapshot()?;
        let facts = round::between(&samples[0], &after, &self.names)?;
        let busy_ns = self.host.busy_ns()?.saturating_sub(busy_before_ns);
        let from_ns = samples[0].at_ns;
        samples.push(after.clone());
        let cpus = after.cpus.len();
        let counts = facts.steal_percent <= self.options.steal_limit_percent;
        if counts && self.measured.pictures[row].is_none() {
            let since_ns = from_ns.saturating_sub(experiment.settle_ns);
            let switches = self.host.switches(since_ns)?;
            if !switches.is_empty() && matches!(first, Schedule::Policy(_)) {
                self.measured.pictures[row] = Some(Picture {
                    from_ns,
                    end: after,
                    switches,
                });
            }
        }
        let active = |vm| match experiment.rows[row].kind {
            RowKind::Alone(alone) => vm == alone,
            _ => true,
        };
        let metrics = experiment.metrics.iter();
        let values = metrics.map(|metric| {
            // Whom the host's own scheduler stops, nobody sees.
            let is_seen = matches!(first, Schedule::Policy(_))
                || metric.measure != Measure::HolderPreemptions;
            metric::value(metric, &facts, &samples, active).filter(|_| is_seen)
        });
        Ok(Round {
            row: experiment.rows[row].label.clone(),
            repetition,
            start_ns: from_ns,
            length_ns: facts.length_ns,
            steal_percent: facts.steal_percent,
            foreign_percent: facts.foreign_percent(busy_ns, cpus),
            counts,
            values: values.collect(),
            vms: facts.vms,
            manager: facts.manager,
        })
    }

    /// Lets time pass as the row wants it: schedules are exchanged, or VMs looked at, meanwhile.
    fn pass(
        &mut self,
        row: usize,
        time_ns: Nanos,
        samples: &mut Vec<Snapshot>,
    ) -> Result<(), RunError> {
        let metrics = &self.experiment.metrics;
        let samples_wanted =
            !samples.is_empty() && metrics.iter().any(|metric| metric.measure.is_sampled());
        let mut left_ns = time_ns;
        let mut turn = 0;
        while left_ns > 0 {
            let step_ns = match &self.experiment.rows[row].kind {
                RowKind::Swap { every_ns, .. } => *every_ns,
                _ if samples_wanted => SAMPLE_PERIOD,
                _ => left_ns,
            };
            let step_ns = step_ns.min(left_ns);
            self.host.wait(Duration::from_nanos(step_ns))?;
            left_ns -= step_ns;
            if samples_wanted {
                samples.push(self.host.snapshot()?);
            }
            if let RowKind::Swap { between, .. } = &self.experiment.rows[row].kind
                && left_ns > 0
            {
                turn += 1;
                self.host.set_schedule(&between[turn % between.len()])?;
            }
        }
        Ok(())
    }
}

/// What is in charge when a row begins.
fn first_schedule(kind: &RowKind) -> Schedule {
    match kind {
        RowKind::Schedule(schedule) => schedule.clone(),
        RowKind::Alone(_) => Schedule::Host(HostSchedule {
            pin: true,
            slice_ns: None,
        }),
        RowKind::Swap { between, .. } => between[0].clone(),
    }
}

#[cfg(test)]
mod tests;
