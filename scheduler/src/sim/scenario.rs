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

mod guests;
mod workload;

use crate::topology::TopologySpec;
use crate::vm::VmSpecError;
use crate::{CpuId, CpuSet, MS, Nanos, PolicySpec, SECOND, Topology, US};

use super::fields::Fields;

pub use guests::{Arrivals, RunTime, Sizes, VmGroup};
pub use workload::{LockKind, Phase, Receivers, Spread, Wait, Workload};

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
}

/// What things cost: `[host.costs]`. The defaults were measured on a small server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// From an order until the vCPU on the CPU stops, which goes on meanwhile: `actuation`; default
    /// 14us.
    pub actuation_ns: Nanos,
    /// By how much that is longer at most, evenly distributed: `jitter`; default 7us.
    pub jitter_ns: Nanos,
    /// From one vCPU's stop to the other's start: `switch`; default 13us.
    pub switch_ns: Nanos,
    /// From sending an interrupt to a halted vCPU until it is runnable, and to a running one until it
    /// handles it: `ipi`; default 5us.
    pub ipi_ns: Nanos,
    /// Moving a cache line to another CPU, as when a lock is handed on: `handoff`; default 100ns.
    pub handoff_ns: Nanos,
    /// How long someone else must run on a CPU until nothing is left in its caches: `evict`; default
    /// 1ms.
    pub evict_ns: Nanos,
    /// Filling one MiB from the last-level cache: `refill`; default 50us.
    pub refill_ns: Nanos,
    /// The same from memory, after a move to another last-level cache: `refill-memory`; default 150us.
    pub refill_memory_ns: Nanos,
    /// The same from another NUMA node: `refill-remote`; default 250us.
    pub refill_remote_ns: Nanos,
    /// How fast a hardware thread is while its core's other threads are busy, in percent: `smt`;
    /// default 60.
    pub smt_percent: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            actuation_ns: 14 * US,
            jitter_ns: 7 * US,
            switch_ns: 13 * US,
            ipi_ns: 5 * US,
            handoff_ns: 100,
            evict_ns: MS,
            refill_ns: 50 * US,
            refill_memory_ns: 150 * US,
            refill_remote_ns: 250 * US,
            smt_percent: 60,
        }
    }
}

impl Costs {
    /// A host on which everything but the guests' own work is free.
    pub const FREE: Self = Self {
        actuation_ns: 0,
        jitter_ns: 0,
        switch_ns: 0,
        ipi_ns: 0,
        handoff_ns: 0,
        evict_ns: MS,
        refill_ns: 0,
        refill_memory_ns: 0,
        refill_remote_ns: 0,
        smt_percent: 100,
    };
}

/// CPU time that is taken away by whatever is below the host: `[host.steal]`. Each CPU by itself,
/// both times exponential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steal {
    /// Mean time from the end of one to the next; default 100ms.
    pub every_ns: Nanos,
    /// Mean length; default 1ms.
    pub length_ns: Nanos,
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

/// What is wrong with a scenario. The caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What.
        message: String,
    },
    /// A key that there is not.
    #[error("{field}: unknown key: there are {known}")]
    UnknownKey {
        /// Which.
        field: String,
        /// What there is.
        known: String,
    },
    /// A key that must be there.
    #[error("{field}: missing: expected {expected}")]
    Missing {
        /// Which.
        field: String,
        /// What it takes.
        expected: String,
    },
    /// A value that is not allowed.
    #[error("{field} = {value}: expected {expected}")]
    BadValue {
        /// Of which key.
        field: String,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A text without meaning.
    #[error("{field}: {message}")]
    Meaning {
        /// Of which key.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A VM that the host can't take.
    #[error("{field}: {reason}")]
    Vm {
        /// Which.
        field: String,
        /// Why.
        reason: VmSpecError,
    },
}

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut fields = Fields::parse(text)?;
        let name = fields.text("name")?;
        let name = fields.required("name", name, "a name")?;
        let about = fields.text("about")?.unwrap_or_default();
        let duration_ns = fields.positive_time("duration", SECOND)?;
        let warm_up_ns = fields.time_or("warm-up", 0)?;
        let seed = fields.number("seed", 0..=u64::MAX)?.unwrap_or(1);
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
        let vms = vms.collect::<Result<_, _>>()?;
        let faults = Faults::read(fields.table("faults")?)?;
        let swaps = fields.tables("swap")?.into_iter().map(Swap::read);
        let swaps = swaps.collect::<Result<_, _>>()?;
        let outages = fields.tables("offline")?.into_iter();
        let outages = outages.map(|outage| Outage::read(outage, &topology));
        let outages = outages.collect::<Result<_, _>>()?;
        fields.finish()?;
        Ok(Self {
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
        })
    }

    /// Warm-up and measurement.
    pub fn total_ns(&self) -> Nanos {
        self.warm_up_ns + self.duration_ns
    }
}

fn default_baseline() -> PolicySpec {
    "pinned".parse().expect("pinned is in the registry")
}

fn read_topology(host: &mut Fields) -> Result<Topology, ScenarioError> {
    let spec = host.parsed::<TopologySpec>("topology")?;
    let spec = spec.unwrap_or(TopologySpec {
        cores: 2,
        ..TopologySpec::default()
    });
    spec.build().map_err(|error| ScenarioError::Meaning {
        field: host.name("topology"),
        message: error.to_string(),
    })
}

impl Costs {
    fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let default = Self::default();
        let costs = Self {
            actuation_ns: fields.time_or("actuation", default.actuation_ns)?,
            jitter_ns: fields.time_or("jitter", default.jitter_ns)?,
            switch_ns: fields.time_or("switch", default.switch_ns)?,
            ipi_ns: fields.time_or("ipi", default.ipi_ns)?,
            handoff_ns: fields.time_or("handoff", default.handoff_ns)?,
            evict_ns: fields.positive_time("evict", default.evict_ns)?,
            refill_ns: fields.time_or("refill", default.refill_ns)?,
            refill_memory_ns: fields.time_or("refill-memory", default.refill_memory_ns)?,
            refill_remote_ns: fields.time_or("refill-remote", default.refill_remote_ns)?,
            smt_percent: fields.count("smt", 1..=100, default.smt_percent)?,
        };
        fields.finish().map(|()| costs)
    }
}

impl Steal {
    fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let steal = Self {
            every_ns: fields.positive_time("every", 100 * MS)?,
            length_ns: fields.positive_time("length", MS)?,
        };
        fields.finish().map(|()| steal)
    }
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
