//! How much a VM asks for and gets, as a balancer wants to know it.
//!
//! Averages are exponential, with a time constant of some seconds: what lasts shows, what flickers
//! does not.
//!
//! Terms: *demand* is the CPU time that a VM would use were it alone: what it got and what its vCPUs
//! waited for while they could have run. *Delivered* is what it got.

use muster_scheduler::Nanos;

use crate::snapshot::LoadSnapshot;

/// The time constant.
const MEMORY_NS: f64 = 5e9;

/// A VM's times so far, over all its vCPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub run_ns: Nanos,
    pub waited_ns: Nanos,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    last: Option<(Nanos, Totals)>,
    average: LoadSnapshot,
}

impl LoadMeter {
    /// Takes a reading: the times so far, and how many vCPUs want to run at this moment.
    pub(crate) fn read(&mut self, now: Nanos, totals: Totals, runnable: usize) {
        let Some((before, last)) = self.last.replace((now, totals)) else {
            self.average.runnable = runnable as f64;
            return;
        };
        if now <= before {
            return;
        }
        let span = (now - before) as f64;
        let run = totals.run_ns.saturating_sub(last.run_ns) as f64 / span;
        let waited = totals.waited_ns.saturating_sub(last.waited_ns) as f64 / span;
        let keep = (-span / MEMORY_NS).exp();
        let blend =
            |average: &mut f64, value: f64| *average = *average * keep + value * (1.0 - keep);
        blend(&mut self.average.runnable, runnable as f64);
        blend(&mut self.average.delivered_cpus, run);
        blend(&mut self.average.demand_cpus, run + waited);
    }

    /// The averages.
    pub(crate) fn load(&self) -> LoadSnapshot {
        let LoadSnapshot {
            demand_cpus,
            delivered_cpus,
            ..
        } = self.average;
        let steal_share = if demand_cpus > 0.0 {
            1.0 - delivered_cpus / demand_cpus
        } else {
            0.0
        };
        LoadSnapshot {
            steal_share,
            ..self.average
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_is_found() {
        let mut meter = LoadMeter::default();
        for second in 0..60 {
            let totals = Totals {
                run_ns: second * 1_000_000_000,
                waited_ns: second * 500_000_000,
            };
            meter.read(second * 1_000_000_000, totals, 2);
        }
        let load = meter.load();
        let close = |value: f64, expected: f64| (value - expected).abs() < 0.001;
        assert!(close(load.delivered_cpus, 1.0), "{load:?}");
        assert!(close(load.demand_cpus, 1.5), "{load:?}");
        assert!(close(load.steal_share, 1.0 / 3.0), "{load:?}");
        assert!(close(load.runnable, 2.0), "{load:?}");
    }

    #[test]
    fn nothing_is_known_of_a_vm_that_has_just_come() {
        let mut meter = LoadMeter::default();
        assert_eq!(meter.load(), LoadSnapshot::default());
        meter.read(5, Totals::default(), 1);
        meter.read(5, Totals::default(), 1);
        assert_eq!(meter.load().delivered_cpus, 0.0);
    }
}
