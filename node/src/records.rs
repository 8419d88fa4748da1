//! What is remembered of the last decisions and switches.

use std::collections::VecDeque;

use muster_scheduler::{CpuId, Level, Nanos};

use crate::snapshot::{Decision, ManagerSnapshot, SwitchRecord};

/// How many decisions are kept.
const DECISIONS: usize = 4096;
/// How many switches are kept: some seconds of a busy host.
const SWITCHES: usize = 1 << 16;
/// How many lengths of time the percentiles are of.
const LENGTHS: usize = 1000;

/// The last `capacity` of something.
#[derive(Debug)]
struct Ring<T> {
    entries: VecDeque<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
        }
    }

    fn push(&mut self, entry: T) {
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Records {
    decisions: Ring<Decision>,
    switches: Ring<SwitchRecord>,
    latencies: Ring<Nanos>,
    skews: Ring<Nanos>,
    /// The row that is being switched: for when it was planned, its first and last CPU so far, and
    /// how many they are.
    row: (Nanos, Nanos, Nanos, u32),
    switched: u64,
    pub late_stops: u64,
    pub illegal_plans: u64,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self {
            decisions: Ring::new(DECISIONS),
            switches: Ring::new(SWITCHES),
            latencies: Ring::new(LENGTHS),
            skews: Ring::new(LENGTHS),
            row: (0, 0, 0, 0),
            switched: 0,
            late_stops: 0,
            illegal_plans: 0,
        }
    }

    pub(crate) fn decide(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    /// A switch that was planned for a time is done; `level` is the next vCPU's.
    pub(crate) fn switch(
        &mut self,
        cpu: CpuId,
        vcpu: Option<String>,
        level: Option<Level>,
        (planned_ns, done_ns): (Nanos, Nanos),
    ) {
        self.switched += 1;
        self.latencies.push(done_ns.saturating_sub(planned_ns));
        if level == Some(Level::Slot) {
            self.extend_row(planned_ns, done_ns);
        }
        self.switches.push(SwitchRecord {
            planned_ns,
            done_ns,
            cpu: cpu.0,
            vcpu,
            level: level.map(|level| level_name(level).to_owned()),
        });
    }

    fn extend_row(&mut self, planned_ns: Nanos, done_ns: Nanos) {
        let (planned, first, last, count) = self.row;
        if planned == planned_ns {
            self.row = (planned, first.min(done_ns), last.max(done_ns), count + 1);
            return;
        }
        if count > 1 {
            self.skews.push(last - first);
        }
        self.row = (planned_ns, done_ns, done_ns, 1);
    }

    /// The last `count` decisions.
    pub(crate) fn decisions(&self, count: usize) -> Vec<Decision> {
        let all = &self.decisions.entries;
        all.range(all.len().saturating_sub(count)..)
            .cloned()
            .collect()
    }

    /// The switches since a time.
    pub(crate) fn switches(&self, since_ns: Nanos) -> Vec<SwitchRecord> {
        let all = self.switches.entries.iter();
        all.filter(|record| record.done_ns >= since_ns)
            .cloned()
            .collect()
    }

    /// What belongs into a snapshot.
    pub(crate) fn snapshot(&self, cpu_ns: Nanos, decisions: u64) -> ManagerSnapshot {
        let (switch_p50_ns, switch_p99_ns) = percentiles(&self.latencies);
        let (row_skew_p50_ns, row_skew_p99_ns) = percentiles(&self.skews);
        ManagerSnapshot {
            cpu_ns,
            decisions,
            switches: self.switched,
            switch_p50_ns,
            switch_p99_ns,
            row_skew_p50_ns,
            row_skew_p99_ns,
            late_stops: self.late_stops,
            illegal_plans: self.illegal_plans,
        }
    }
}

/// As traces write it.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::Backfill => "backfill",
        Level::Fair => "fair",
        Level::Slot => "slot",
        Level::Boosted => "boosted",
    }
}

/// The median and the 99th percentile; 0 if there is nothing.
fn percentiles(lengths: &Ring<Nanos>) -> (Nanos, Nanos) {
    let mut sorted: Vec<Nanos> = lengths.entries.iter().copied().collect();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let last = sorted.len().checked_sub(1)?;
        Some(sorted[last * percent / 100])
    };
    (at(50).unwrap_or_default(), at(99).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_are_kept() {
        let mut records = Records::new();
        for at_ns in 0..5000 {
            records.decide(Decision {
                at_ns,
                cpu: 0,
                from: None,
                to: None,
                reason: String::new(),
            });
        }
        let last = records.decisions(2);
        assert_eq!(
            last.iter().map(|d| d.at_ns).collect::<Vec<_>>(),
            [4998, 4999]
        );
        assert_eq!(records.decisions(10_000).len(), DECISIONS);
    }

    #[test]
    fn a_row_is_as_skewed_as_its_cpus_are_apart() {
        let mut records = Records::new();
        let mut switch = |cpu, planned, done| {
            records.switch(CpuId(cpu), None, Some(Level::Slot), (planned, done));
        };
        switch(0, 100, 130);
        switch(1, 100, 170);
        switch(0, 200, 220);
        switch(1, 200, 225);
        switch(0, 300, 300);
        let snapshot = records.snapshot(0, 0);
        assert_eq!((snapshot.row_skew_p50_ns, snapshot.switches), (5, 5));
        assert_eq!(snapshot.switch_p50_ns, 25);
        assert_eq!(records.switches(225).len(), 2);
    }
}
