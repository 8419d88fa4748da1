//! What is measured.

use muster_guest_page::COUNTERS;
use muster_scheduler::sim::ScenarioError;
use muster_scheduler::sim::fields::Fields;

use super::vm::VmSpec;

/// Something that is measured in every round: `[[metric]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What it is called; default by `kind`.
    pub name: String,
    /// Of what; default by `kind`.
    pub unit: String,
    /// What it is: `kind`, default rate.
    pub measure: Measure,
    /// Of which VMs: `vms`, indices into the experiment's; default all.
    pub vms: Vec<usize>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// `rate`: by how much a counter of the guest grows in a second, summed up.
    Rate {
        /// `counter`: its number (0 to 15) or the name that the benchmark guest has for it; default
        /// `work`.
        counter: usize,
        /// `vcpu`: only of this vCPU of each VM; default of all.
        vcpu: Option<u32>,
    },
    /// `percentile`: of what guests have in their histograms, in microseconds.
    Percentile {
        /// `percent`: 0 to 100, default 99.
        percent: f64,
    },
    /// `share-error`: by how many percent a VM's CPU time differs from what it is entitled to; the
    /// largest.
    ShareError,
    /// `holder-preemptions`: vCPUs stopped while they held a lock, per second.
    HolderPreemptions,
    /// `skew`: by how many milliseconds more a vCPU has run than a sibling, between any two moments
    /// of the round.
    Skew,
    /// `cpus`: CPU time that guests got, in CPUs.
    Cpus,
}

impl Metric {
    pub(super) fn read(
        mut fields: Fields,
        vms: &[VmSpec],
        others: &[Self],
    ) -> Result<Self, ScenarioError> {
        let kinds = [
            ("rate", rate as Reader),
            ("percentile", percentile),
            ("share-error", |_| Ok(Measure::ShareError)),
            ("holder-preemptions", |_| Ok(Measure::HolderPreemptions)),
            ("skew", |_| Ok(Measure::Skew)),
            ("cpus", |_| Ok(Measure::Cpus)),
        ];
        let measure = fields.choice("kind", &kinds)?(&mut fields)?;
        let name = label(&mut fields, "name", measure.name())?;
        if others.iter().any(|metric| metric.name == name) {
            return Err(fields.bad("name", format!("{name:?}"), "a name of its own"));
        }
        let unit = label(&mut fields, "unit", measure.unit())?;
        let chosen: Vec<String> = fields.parsed_list("vms")?;
        let chosen = chosen.iter();
        let chosen = chosen.map(|name| super::find_vm(&fields, "vms", vms, name));
        let mut chosen = chosen.collect::<Result<Vec<_>, _>>()?;
        chosen.sort_unstable();
        chosen.dedup();
        if chosen.is_empty() {
            chosen = (0..vms.len()).collect();
        }
        if let Measure::Rate {
            vcpu: Some(vcpu), ..
        } = measure
        {
            let has = |&vm: &usize| vcpu < vms[vm].vcpus;
            if !chosen.iter().all(has) {
                return Err(fields.bad("vcpu", vcpu, "a vCPU that each of the VMs has"));
            }
        }
        fields.finish()?;
        Ok(Self {
            name,
            unit,
            measure,
            vms: chosen,
        })
    }
}

type Reader = fn(&mut Fields) -> Result<Measure, ScenarioError>;

/// What the benchmark guest's counters mean, in their order (`docs/bench-guest.md`).
const COUNTER_NAMES: [&str; 8] = [
    "work", "spins", "halts", "wakes", "loops", "waits", "late-ns", "missed",
];

fn rate(fields: &mut Fields) -> Result<Measure, ScenarioError> {
    let name = fields.text("counter")?.unwrap_or_else(|| "work".to_owned());
    let named = COUNTER_NAMES.iter().position(|known| *known == name);
    let numbered = || name.parse().ok().filter(|&number| number < COUNTERS);
    let Some(counter) = named.or_else(numbered) else {
        let names = COUNTER_NAMES.join(", ");
        let expected = format!("one of {names}, or a number from 0 to {}", COUNTERS - 1);
        return Err(fields.bad("counter", format!("{name:?}"), expected));
    };
    let vcpu = fields.number("vcpu", 0..=63)?;
    let vcpu = vcpu.map(|vcpu| vcpu as u32);
    Ok(Measure::Rate { counter, vcpu })
}

fn percentile(fields: &mut Fields) -> Result<Measure, ScenarioError> {
    let percent = fields.decimal("percent", 0.0..=100.0)?.unwrap_or(99.0);
    Ok(Measure::Percentile { percent })
}

/// A short text, or its default.
fn label(fields: &mut Fields, key: &'static str, default: String) -> Result<String, ScenarioError> {
    match fields.label(key)? {
        None => Ok(default),
        Some(text) if (1..=60).contains(&text.chars().count()) => Ok(text),
        Some(text) => Err(fields.bad(key, format!("{text:?}"), "a text of 1 to 60 letters")),
    }
}

impl Measure {
    fn name(self) -> String {
        match self {
            Self::Rate { .. } => "rate".to_owned(),
            Self::Percentile { percent } => format!("p{percent}"),
            Self::ShareError => "share error".to_owned(),
            Self::HolderPreemptions => "holders stopped".to_owned(),
            Self::Skew => "skew".to_owned(),
            Self::Cpus => "CPUs".to_owned(),
        }
    }

    fn unit(self) -> String {
        let unit = match self {
            Self::Rate { .. } | Self::HolderPreemptions => "1/s",
            Self::Percentile { .. } => "us",
            Self::ShareError => "%",
            Self::Skew => "ms",
            Self::Cpus => "CPUs",
        };
        unit.to_owned()
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Rate { .. } | Self::Cpus)
    }

    /// Whether rounds have to be looked at in between.
    pub fn is_sampled(self) -> bool {
        self == Self::Skew
    }
}
