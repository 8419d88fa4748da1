//! A report for terminals.

use std::fmt::Write as _;

use super::{PolicyRow, Report, VmRow};
use crate::params::format_duration;
use crate::sim::table::Table;
use crate::{MS, Nanos, SECOND, US};

/// VMs that are listed one by one.
const VMS_MAX: usize = 32;

impl Report {
    /// The report for a terminal of `width` columns.
    pub fn text(&self, width: usize) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: {} CPUs, {}, seed {}\n",
            self.scenario,
            self.cpus,
            format_duration(self.duration_ns),
            self.seed
        );
        out.push_str(&self.measures().text(width));
        if self.policies[0].vms.is_empty() {
            return out;
        }
        let baseline = &self.policies[0].policy;
        let _ = writeln!(out, "\nOperations per second, and against {baseline}:\n");
        out.push_str(&self.throughputs().text(width));
        let more = self.policies[0].vms.len().saturating_sub(VMS_MAX);
        if more > 0 {
            let _ = writeln!(out, "and {more} more VMs, which --json tells");
        }
        out
    }

    /// A row per policy.
    pub fn measures(&self) -> Table {
        let mut table = Table::new([
            "policy",
            "speed-up",
            "useful",
            "spin",
            "refill",
            "switch",
            "holes",
            "holders stopped",
            "skew max",
            "wake p50",
            "wake p99",
            "moves",
            "fairness",
        ]);
        for (index, row) in self.policies.iter().enumerate() {
            let mark = if index == 0 { " (baseline)" } else { "" };
            let mut cells = vec![format!("{}{mark}", row.policy)];
            cells.extend(measures_of(row));
            table.row(cells);
        }
        table
    }

    /// A row per VM, a column per policy.
    pub fn throughputs(&self) -> Table {
        let heads = ["VM", "vCPUs", "weight"].map(str::to_owned);
        let policies = self.policies.iter().map(|row| row.policy.clone());
        let mut table = Table::new(heads.into_iter().chain(policies));
        for (index, vm) in self.policies[0].vms.iter().enumerate().take(VMS_MAX) {
            let mut cells = vec![vm.name.clone(), vm.vcpus.to_string(), vm.weight.to_string()];
            for (place, row) in self.policies.iter().enumerate() {
                let vm = row.vms.get(index);
                cells.push(vm.map_or("-".to_owned(), |vm| rate(vm, place == 0)));
            }
            table.row(cells);
        }
        table
    }
}

fn measures_of(row: &PolicyRow) -> [String; 12] {
    let time = |time: Option<Nanos>| time.map_or("-".to_owned(), short_time);
    let index = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    [
        row.speed_up.map_or("-".to_owned(), ratio),
        percent(row.useful),
        percent(row.spinning),
        percent(row.refilling),
        percent(row.switching),
        percent(row.holes),
        number(row.holder_preemptions as f64),
        short_time(row.skew_max_ns),
        time(row.wake_p50_ns),
        time(row.wake_p99_ns),
        number(row.migrations as f64),
        index(row.fairness),
    ]
}

fn rate(vm: &VmRow, is_baseline: bool) -> String {
    match vm.ratio {
        Some(against) if !is_baseline => {
            format!("{} ({})", number(vm.throughput), ratio(against))
        }
        _ => number(vm.throughput),
    }
}

/// `7.38x`, with three digits that count.
pub fn ratio(value: f64) -> String {
    format!("{}x", digits(value))
}

/// `12.3 %`.
pub fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Three digits that count, and a letter for thousands and millions.
pub fn number(value: f64) -> String {
    match value {
        value if value >= 999.5e6 => format!("{}G", digits(value / 1e9)),
        value if value >= 999.5e3 => format!("{}M", digits(value / 1e6)),
        value if value >= 999.5 => format!("{}k", digits(value / 1e3)),
        value if value == value.trunc() => format!("{value:.0}"),
        value => digits(value),
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A time in a unit that leaves few digits.
pub fn short_time(time: Nanos) -> String {
    let (unit, name) = match time {
        0 => return "0".to_owned(),
        time if time < US => return format!("{time} ns"),
        time if time < MS => (US, "us"),
        time if time < SECOND => (MS, "ms"),
        _ => (SECOND, "s"),
    };
    format!("{} {name}", digits(time as f64 / unit as f64))
}
