use std::collections::BTreeSet;

use super::*;
use crate::round::tests::snapshot;

const EXPERIMENT: &str = r#"
name = "t"
about = "a test"
baselines = ["host"]
schedules = ["gang", "affinity"]
alone = "B"
round = "100ms"
settle = "20ms"
[swap]
every = "40ms"
between = ["gang", "host"]
[[vm]]
name = "A"
vcpus = 2
workload = "hog"
[[vm]]
name = "B"
workload = "hog"
[[metric]]
[[metric]]
kind = "holder-preemptions"
"#;

/// VMs that do a million operations in a second of a gang, half of it otherwise.
#[derive(Default)]
struct Model {
    now: Nanos,
    schedule: String,
    alone: Option<usize>,
    work: [u64; 2],
    stolen_ns: Nanos,
    /// Rounds from now on that are disturbed.
    disturbed: u32,
    log: Vec<String>,
    fails: bool,
}

impl Host for Model {
    fn set_schedule(&mut self, schedule: &Schedule) -> Result<(), HostError> {
        self.schedule = schedule.to_string();
        self.log.push(self.schedule.clone());
        Ok(())
    }

    fn stop_others(&mut self, alone: Option<usize>) -> Result<(), HostError> {
        self.alone = alone;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot, HostError> {
        let mut seen = snapshot(self.now, &[("A", 2), ("B", 1)]);
        for (vm, work) in self.work.into_iter().enumerate() {
            seen.vms[vm].vcpus[0].counters[0] = work;
        }
        seen.cpus[0].stolen_ns = self.stolen_ns;
        Ok(seen)
    }

    fn switches(&mut self, since_ns: Nanos) -> Result<Vec<SwitchRecord>, HostError> {
        Ok(vec![SwitchRecord {
            planned_ns: since_ns,
            done_ns: since_ns,
            cpu: 0,
            vcpu: Some("A/0".to_owned()),
            level: None,
        }])
    }

    fn busy_ns(&mut self) -> Result<Nanos, HostError> {
        Ok(self.now / 2)
    }

    fn wait(&mut self, time: Duration) -> Result<(), HostError> {
        if self.fails {
            return Err(HostError::Interrupted);
        }
        let time = time.as_nanos() as Nanos;
        self.now += time;
        let rate = if self.schedule == "gang" { 1000 } else { 500 };
        for vm in 0..2 {
            if self.alone.is_none_or(|alone| alone == vm) {
                self.work[vm] += rate * time / MS;
            }
        }
        if time == 100 * MS && self.disturbed > 0 {
            self.disturbed -= 1;
            self.stolen_ns += 10 * MS;
        }
        Ok(())
    }
}

const OPTIONS: Options = Options {
    repetitions: 3,
    seed: 1,
    steal_limit_percent: 2.0,
};

fn measure(model: &mut Model, options: &Options) -> Result<Measured, RunError> {
    let experiment = Experiment::parse(EXPERIMENT).unwrap();
    run(&experiment, options, model, &mut |_| {})
}

#[test]
fn every_row_is_measured_once_per_repetition_in_an_order_of_its_own() {
    let measured = measure(&mut Model::default(), &OPTIONS).unwrap();
    let mut orders = BTreeSet::new();
    for repetition in 0..3 {
        let rounds = measured.rounds.iter();
        let rounds = rounds.filter(|round| round.repetition == repetition);
        let order: Vec<&str> = rounds.map(|round| round.row.as_str()).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["affinity", "alone", "gang", "host", "swap"]);
        orders.insert(order);
    }
    assert!(orders.len() > 1, "{orders:?}");
    let again = measure(&mut Model::default(), &OPTIONS).unwrap();
    assert_eq!(measured.rounds, again.rounds);
    let other = Options { seed: 2, ..OPTIONS };
    let other = measure(&mut Model::default(), &other).unwrap();
    assert_ne!(measured.rounds, other.rounds);
}

#[test]
fn a_round_holds_what_happened_in_it_and_not_before() {
    let measured = measure(&mut Model::default(), &OPTIONS).unwrap();
    for round in &measured.rounds {
        let expected = match round.row.as_str() {
            // 40 ms of the one, 40 ms of the other, 20 ms of the first.
            "swap" => 2.0 * 800_000.0,
            "gang" => 2.0 * 1e6,
            "alone" => 500_000.0,
            _ => 2.0 * 500_000.0,
        };
        assert_eq!(
            (round.values[0], round.length_ns),
            (Some(expected), 100 * MS),
            "{}",
            round.row
        );
        assert!(round.counts);
        let is_seen = !["host", "alone"].contains(&round.row.as_str());
        assert_eq!(round.values[1].is_some(), is_seen, "{}", round.row);
        // Half of one of two CPUs.
        assert_eq!(round.foreign_percent, 25.0);
    }
}

#[test]
fn disturbed_rounds_are_repeated_and_kept_apart() {
    let mut model = Model {
        disturbed: 2,
        ..Model::default()
    };
    let measured = measure(&mut model, &OPTIONS).unwrap();
    let discarded: Vec<bool> = measured.rounds.iter().map(|round| round.counts).collect();
    assert_eq!(discarded.len(), 3 * 5 + 2);
    assert_eq!(discarded.iter().filter(|counts| !**counts).count(), 2);
    assert_eq!(measured.rounds[0].steal_percent, 5.0);
}

#[test]
fn a_host_that_is_always_disturbed_is_given_up_in_time() {
    let mut model = Model {
        disturbed: u32::MAX,
        ..Model::default()
    };
    let error = measure(&mut model, &OPTIONS).unwrap_err().to_string();
    assert!(error.contains("--steal-limit"), "{error}");
    // The rows that are not waited for in one step count nothing as steal.
    assert!(
        model.log.len() <= (3 * 5 * TRIES + 3 * 5 * 3) as usize,
        "{}",
        model.log.len()
    );
}

#[test]
fn an_error_ends_it_at_once() {
    let mut model = Model {
        fails: true,
        ..Model::default()
    };
    let error = measure(&mut model, &OPTIONS).unwrap_err();
    assert!(matches!(error, RunError::Host(HostError::Interrupted)));
    assert_eq!(model.log.len(), 1);
}

#[test]
fn pictures_are_of_policies_only() {
    let measured = measure(&mut Model::default(), &OPTIONS).unwrap();
    let has = measured.pictures.iter().map(Option::is_some);
    // host, gang, affinity, alone, swap (which begins as a gang)
    assert_eq!(has.collect::<Vec<_>>(), [false, true, true, false, true]);
}

#[test]
fn all_orders_are_drawn() {
    let mut random = SplitMix64::seed_from_u64(5);
    let orders: BTreeSet<Vec<usize>> = (0..200).map(|_| shuffled(3, &mut random)).collect();
    assert_eq!(orders.len(), 6);
    assert!(shuffled(0, &mut random).is_empty());
}
