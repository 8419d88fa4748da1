//! The host of a scenario.

use crate::sim::fields::Fields;
use crate::sim::scenario_error::ScenarioError;
use crate::topology::TopologySpec;
use crate::{MS, Nanos, Topology, US};

use super::bounds::refill;

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

pub(super) fn read_topology(host: &mut Fields) -> Result<Topology, ScenarioError> {
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
    pub(super) fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let default = Self::default();
        let costs = Self {
            actuation_ns: fields.time_or("actuation", default.actuation_ns)?,
            jitter_ns: fields.time_or("jitter", default.jitter_ns)?,
            switch_ns: fields.time_or("switch", default.switch_ns)?,
            ipi_ns: fields.time_or("ipi", default.ipi_ns)?,
            handoff_ns: fields.time_or("handoff", default.handoff_ns)?,
            evict_ns: fields.positive_time("evict", default.evict_ns)?,
            refill_ns: refill(&mut fields, "refill", default.refill_ns)?,
            refill_memory_ns: refill(&mut fields, "refill-memory", default.refill_memory_ns)?,
            refill_remote_ns: refill(&mut fields, "refill-remote", default.refill_remote_ns)?,
            smt_percent: fields.count("smt", 1..=100, default.smt_percent)?,
        };
        fields.finish().map(|()| costs)
    }
}

impl Steal {
    pub(super) fn read(mut fields: Fields) -> Result<Self, ScenarioError> {
        let steal = Self {
            every_ns: fields.positive_time("every", 100 * MS)?,
            length_ns: fields.positive_time("length", MS)?,
        };
        fields.finish().map(|()| steal)
    }
}
