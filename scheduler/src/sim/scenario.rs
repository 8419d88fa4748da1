//! What is simulated: host, VMs, their work, and what goes wrong.
//!
//! Problem: an experiment that others shall repeat, change and believe must be one readable file.
//!
//! Approach: TOML. Every key has a unit in its value (`"20ms"`, `"256KiB"`) or in its name here, and a
//! default that suits an ordinary experiment. Costs default to what was measured on a real host. Keys
//! are written with hyphens, without the unit that ends the names of the fields here.
//!
//! ```
//! let scenario = muster_scheduler::sim::Scenario::parse(
//!     r#"
//!     name = "barriers"
//!     about = "two VMs that meet at barriers, twice as many vCPUs as CPUs"
//!     duration = "1s"
//!     policies = ["pinned:quantum=4ms"]
//!     host.topology = "2"
//!
//!     [[vm]]
//!     name = "a"
//!     count = 2
//!     vcpus = 2
//!     workload = { kind = "barrier", grain = "100us" }
//!     "#,
//! );
//! assert_eq!(scenario.unwrap().vms[0].count, 2);
//! ```

mod bounds;
mod guests;
mod host;
mod workload;

use crate::params::format_duration;
use crate::{CpuId, CpuSet, MS, Nanos, PolicySpec, SECOND, Topology};

use super::fields::Fields;
use super::scenario_error::ScenarioError;

use host::read_topology;

pub use guests::{Arrivals, RunTime, Sizes, VmGroup};
pub use host::{Costs, Steal};
pub use workload::{LockKind, Phase, Receivers, Spread, Wait, Workload};

/// The most vCPUs that all VMs have together, apart from those that arrive at random.
pub(super) const VCPUS_TOTAL_MAX: u64 = 65_536;

/// A whole experiment: the keys of the file's first level.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name; must be there.
    pub name: String,
    /// What it shows, in a sentence or two; default empty.
    pub about: String,
    /// How long it is measured; default 1s.
    pub duration_ns: Nanos,
    /// How long it runs before that, so that what is measured has settled; default 0s.
    pub warm_up_ns: Nanos,
    /// The seed if none is asked for; default 1.
    pub seed: u64,
    /// The policies to compare: a list; default just the baseline.
    pub policies: Vec<PolicySpec>,
    /// What they are compared with; default `pinned`.
    pub baseline: PolicySpec,
    /// Key `host.topology`, such as `"16"` or `"nodes=2,llcs=2,cores=4,threads=2"`; default 2 CPUs.
    pub topology: Topology,
    /// `[host.costs]`.
    pub costs: Costs,
    /// `[host.steal]`; default none.
    pub steal: Option<Steal>,
    /// `[[vm]]`: one at least.
    pub vms: Vec<VmGroup>,
    /// `[faults]`.
    pub faults: Faults,
    /// `[[swap]]`: another policy is put in charge.
    pub swaps: Vec<Swap>,
    /// `[[offline]]`: a CPU is taken away.
    pub outages: Vec<Outage>,
    /// `[picture]`: the part of a run that is worth looking at.
    pub picture: Picture,
}

/// The part of a run that is worth looking at: `[picture]`. The program chooses where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picture {
    /// Where charts and traces begin: `from`.
    pub from_ns: Option<Nanos>,
    /// Where they end: `to`.
    pub to_ns: Option<Nanos>,
}

/// What goes wrong: `[faults]`. Percentages are chances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// That a switch is late: `late`; default 0.
    pub late_percent: u32,
    /// How late: `late-by`; default 5ms.
    pub late_by_ns: Nanos,
    /// That an interrupt for a halted vCPU is lost and has to be sent again: `lost`; default 0.
    pub lost_percent: u32,
    /// When it is sent again: `lost-for`; default 10ms.
    pub lost_for_ns: Nanos,
    /// That a vCPU never halts but spins: `never-halt`; default 0.
    pub never_halt_percent: u32,
    /// How often a CPU goes away, on average: `offline-every`; default never. The last one stays.
    pub offline_every_ns: Option<Nanos>,
    /// And for how long on average: `offline-for`; default 20ms.
    pub offline_for_ns: Nanos,
}

/// A change of policy: `[[swap]]`.
#[derive(Debug, Clone)]
pub struct Swap {
    /// When; must be there.
    pub at_ns: Nanos,
    /// To which; must be there.
    pub policy: PolicySpec,
}

/// A CPU that goes away: `[[offline]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which; must be there.
    pub cpu: CpuId,
    /// When; default 0s.
    pub at_ns: Nanos,
    /// When it comes back: `until`; default never.
    pub until_ns: Option<Nanos>,
}

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut fields = Fields::parse(text)?;
        let name = fields.label("name")?;
        let name = fields.required("name", name, "a name")?;
        let about = fields.text("about")?.unwrap_or_default();
        let duration_ns = fields.positive_time("duration", SECOND)?;
        let warm_up_ns = fields.time_or("warm-up", 0)?;
        let seed = fields.number("seed", 0..=i64::MAX as u64)?.unwrap_or(1);
        let baseline = fields.parsed("baseline")?;
        let baseline = baseline.unwrap_or_else(default_baseline);
        let mut policies = fields.parsed_list("policies")?;
        if policies.is_empty() {
            policies.push(baseline.clone());
        }
        let mut host = fields.table("host")?;
        let topology = read_topology(&mut host)?;
        let costs = Costs::read(host.table("costs")?)?;
        let steal = host.optional_table("steal")?.map(Steal::read).transpose()?;
        host.finish()?;
        let tables = fields.tables("vm")?;
        if tables.is_empty() {
            return fields.required("vm", None, "one [[vm]] at least");
        }
        let vms = tables.into_iter().map(|vm| VmGroup::read(vm, &topology));
        let vms = vms.collect::<Result<Vec<_>, _>>()?;
        check_total(&vms)?;
        let faults = Faults::read(fields.table("faults")?)?;
        let swaps = fields.tables("swap")?.into_iter().map(Swap::read);
        let swaps = swaps.collect::<Result<_, _>>()?;
        let outages = fields.tables("offline")?.into_iter();
        let outages = outages.map(|outage| Outage::read(outage, &topology));
        let outages = outages.collect::<Result<_, _>>()?;
        let picture = Picture::read(fields.table("picture")?, warm_up_ns + duration_ns)?;
        fields.finish()?;
        let scenario = Self {
            name,
            about,
            duration_ns,
            warm_up_ns,
            seed,
            policies,
            baseline,
            topology,
            costs,
            steal,
            vms,
            faults,
            swaps,
            outages,
            picture,
        };
        scenario.check_bounds().map(|()| scenario)
    }

    /// Warm-up and measurement.
    pub fn total_ns(&self) -> Nanos {
        self.warm_up_ns + self.duration_ns
    }
}

/// More vCPUs would take all of a machine's memory and nobody could wait for the end. Who arrives one
/// by one may have left before the next comes, and does not count: the run sees to it.
fn check_total(vms: &[VmGroup]) -> Result<(), ScenarioError> {
    let mut total = 0;
    for (index, group) in vms.iter().enumerate() {
        if group.arrivals.is_some() {
            continue;
        }
        total += u64::from(group.count) * u64::from(group.spec.vcpus);
        if total > VCPUS_TOTAL_MAX {
            return Err(ScenarioError::BadValue {
                field: format!("vm[{index}].count"),
                value: group.count.to_string(),
                expected: format!("at most {VCPUS_TOTAL_MAX} vCPUs in all VMs, not {total}"),
            });
        }
    }
    Ok(())
}

fn default_baseline() -> PolicySpec {
    "pinned".parse().expect("pinned is in the registry")
}

impl Faults {
    fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let offline_every_ns = fields.time("offline-every")?;
        if offline_every_ns == Some(0) {
            return Err(fields.bad("offline-every", "\"0ns\"", "more than zero"));
        }
        let faults = Self {
            late_percent: fields.count("late", 0..=100, 0)?,
            late_by_ns: fields.time_or("late-by", 5 * MS)?,
            lost_percent: fields.count("lost", 0..=100, 0)?,
            lost_for_ns: fields.time_or("lost-for", 10 * MS)?,
            never_halt_percent: fields.count("never-halt", 0..=100, 0)?,
            offline_every_ns,
            offline_for_ns: fields.positive_time("offline-for", 20 * MS)?,
        };
        fields.finish().map(|()| faults)
    }
}

impl Swap {
    fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let at_ns = fields.time("at")?;
        let policy = fields.parsed("policy")?;
        let swap = Self {
            at_ns: fields.required("at", at_ns, "a time such as \"1s\"")?,
            policy: fields.required("policy", policy, "a policy such as \"pinned\"")?,
        };
        fields.finish().map(|()| swap)
    }
}

impl Picture {
    fn read(mut fields: Fields, total_ns: Nanos) -> Result<Self, ScenarioError> {
        let picture = Self {
            from_ns: fields.time("from")?,
            to_ns: fields.time("to")?,
        };
        let end = picture.to_ns.unwrap_or(total_ns);
        if end > total_ns {
            let expected = format!("at most {}, when all is over", format_duration(total_ns));
            return Err(fields.bad("to", format_duration(end), expected));
        }
        if let Some(from) = picture.from_ns.filter(|&from| from >= end) {
            let expected = format!("less than {}, its end", format_duration(end));
            return Err(fields.bad("from", format_duration(from), expected));
        }
        fields.finish().map(|()| picture)
    }
}

impl Outage {
    fn read(mut fields: Fields, topology: &Topology) -> Result<Self, ScenarioError> {
        let cpus = topology.cpu_count() as u64;
        let cpu = fields.number("cpu", 0..=cpus - 1)?;
        let cpu = fields.required("cpu", cpu, "the number of a CPU")?;
        let at_ns = fields.time_or("at", 0)?;
        let until_ns = fields.time("until")?;
        if until_ns.is_some_and(|until| until <= at_ns) {
            return Err(fields.bad("until", "a time", "a later one than at"));
        }
        let cpu = CpuId(cpu as u16);
        fields.finish().map(|()| Self {
            cpu,
            at_ns,
            until_ns,
        })
    }
}

/// The CPUs that a key names, among those of the host.
fn read_affinity(
    fields: &mut Fields,
    key: &'static str,
    topology: &Topology,
) -> Result<CpuSet, ScenarioError> {
    let Some(set) = fields.parsed::<CpuSet>(key)? else {
        return Ok(CpuSet::ALL);
    };
    if set.is_subset(&topology.cpus()) {
        Ok(set)
    } else {
        let expected = format!("CPUs of the host: {}", topology.cpus());
        Err(fields.bad(key, set, expected))
    }
}

#[cfg(test)]
mod tests;
