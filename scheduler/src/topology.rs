//! The host's CPUs, and what they share.

use std::str::FromStr;

use crate::cpu_set::CPUS_MAX;
use crate::{CpuId, CpuSet};

/// Where a CPU is. Numbers count over the whole host, from 0 and without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The core; CPUs of one core are its hardware threads.
    pub core: u16,
    /// The last-level cache.
    pub llc: u16,
    /// The NUMA node.
    pub node: u16,
}

/// How far apart two CPUs are: what a vCPU that moves from one to the other loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// They are one.
    Same,
    /// Threads of one core: nothing is lost.
    Core,
    /// The first caches are cold.
    Cache,
    /// All caches are cold.
    Node,
    /// And memory is remote.
    Remote,
}

/// The CPUs of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    places: Vec<Place>,
    cores: Vec<CpuSet>,
    llcs: Vec<CpuSet>,
    nodes: Vec<CpuSet>,
}

impl Topology {
    /// A host whose CPU `n` is at `places[n]`.
    pub fn new(places: Vec<Place>) -> Result<Self, TopologyError> {
        if !(1..=CPUS_MAX).contains(&places.len()) {
            return Err(TopologyError::Cpus(places.len()));
        }
        let domains = |what: &'static str, of: fn(&Place) -> u16| {
            let count = places.iter().map(|place| usize::from(of(place)) + 1).max();
            let mut sets = vec![CpuSet::EMPTY; count.unwrap_or(0)];
            for (cpu, place) in places.iter().enumerate() {
                sets[usize::from(of(place))].insert(CpuId(cpu as u16));
            }
            match sets.iter().position(CpuSet::is_empty) {
                Some(gap) => Err(TopologyError::Gap(what, gap)),
                None => Ok(sets),
            }
        };
        let topology = Self {
            cores: domains("core", |place| place.core)?,
            llcs: domains("last-level cache", |place| place.llc)?,
            nodes: domains("NUMA node", |place| place.node)?,
            places,
        };
        for (inner, outer, names) in [
            (
                &topology.cores,
                &topology.llcs,
                ["core", "last-level cache"],
            ),
            (
                &topology.llcs,
                &topology.nodes,
                ["last-level cache", "NUMA node"],
            ),
        ] {
            let contained = |set: &CpuSet| outer.iter().any(|around| set.is_subset(around));
            if let Some(split) = inner.iter().position(|set| !contained(set)) {
                return Err(TopologyError::Split(names[0], split, names[1]));
            }
        }
        Ok(topology)
    }

    /// `count` cores with one thread each around one cache.
    ///
    /// # Panics
    /// Without a CPU, or over [`CPUS_MAX`].
    pub fn flat(count: usize) -> Self {
        let spec = TopologySpec {
            cores: count,
            ..TopologySpec::default()
        };
        spec.build().expect("a number of CPUs that is allowed")
    }

    /// How many CPUs there are.
    pub fn cpu_count(&self) -> usize {
        self.places.len()
    }

    /// All CPUs.
    pub fn cpus(&self) -> CpuSet {
        CpuSet::first_n(self.places.len())
    }

    /// Where a CPU is.
    pub fn place(&self, cpu: CpuId) -> Place {
        self.places[cpu.index()]
    }

    /// The CPUs of each core, by the core's number.
    pub fn cores(&self) -> &[CpuSet] {
        &self.cores
    }

    /// The CPUs around each last-level cache.
    pub fn llcs(&self) -> &[CpuSet] {
        &self.llcs
    }

    /// The CPUs of each NUMA node.
    pub fn nodes(&self) -> &[CpuSet] {
        &self.nodes
    }

    /// The CPUs around a CPU, from near to far: of its core, its last-level cache, its NUMA node, all.
    pub fn around(&self, cpu: CpuId) -> [CpuSet; 4] {
        let place = self.place(cpu);
        [
            self.cores[usize::from(place.core)],
            self.llcs[usize::from(place.llc)],
            self.nodes[usize::from(place.node)],
            self.cpus(),
        ]
    }

    /// How far apart two CPUs are.
    pub fn distance(&self, a: CpuId, b: CpuId) -> Distance {
        let (here, there) = (self.place(a), self.place(b));
        if a == b {
            Distance::Same
        } else if here.core == there.core {
            Distance::Core
        } else if here.llc == there.llc {
            Distance::Cache
        } else if here.node == there.node {
            Distance::Node
        } else {
            Distance::Remote
        }
    }
}

/// A regular host, as people describe it: `16`, or `nodes=2,llcs=2,cores=8,threads=2`, each number
/// per part of the kind before it. Threads of a core are neighbours, then cores of a cache, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopologySpec {
    /// NUMA nodes of the host.
    pub nodes: usize,
    /// Last-level caches of a node.
    pub llcs: usize,
    /// Cores of a cache.
    pub cores: usize,
    /// Hardware threads of a core.
    pub threads: usize,
}

impl Default for TopologySpec {
    fn default() -> Self {
        Self {
            nodes: 1,
            llcs: 1,
            cores: 1,
            threads: 1,
        }
    }
}

impl TopologySpec {
    /// The host.
    pub fn build(self) -> Result<Topology, TopologyError> {
        let parts = [self.llcs, self.cores, self.threads];
        let count = parts
            .iter()
            .try_fold(self.nodes, |product, &part| product.checked_mul(part));
        let count = count.unwrap_or(usize::MAX);
        if !(1..=CPUS_MAX).contains(&count) {
            return Err(TopologyError::Cpus(count));
        }
        let place = |cpu: usize| Place {
            core: (cpu / self.threads) as u16,
            llc: (cpu / self.threads / self.cores) as u16,
            node: (cpu / self.threads / self.cores / self.llcs) as u16,
        };
        Topology::new((0..count).map(place).collect())
    }
}

impl FromStr for TopologySpec {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, TopologyError> {
        let number = |text: &str| {
            let number = text.trim().parse().ok();
            number.ok_or_else(|| TopologyError::NotANumber(text.to_owned()))
        };
        let mut spec = Self::default();
        let mut seen = Vec::new();
        if !text.contains('=') {
            spec.cores = number(text)?;
            return Ok(spec);
        }
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let key = key.trim();
            if seen.contains(&key) {
                return Err(TopologyError::Twice(key.to_owned()));
            }
            seen.push(key);
            let field = match key {
                "nodes" => &mut spec.nodes,
                "llcs" => &mut spec.llcs,
                "cores" => &mut spec.cores,
                "threads" => &mut spec.threads,
                other => return Err(TopologyError::Unknown(other.to_owned())),
            };
            *field = number(value)?;
        }
        Ok(spec)
    }
}

/// What is wrong with a description of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// No CPU, or too many.
    #[error("{0} CPUs: a host has from 1 to {CPUS_MAX}")]
    Cpus(usize),
    /// A number is used by no CPU.
    #[error("{0} {1} has no CPU: they are numbered from 0 without gaps")]
    Gap(&'static str, usize),
    /// A part lies in two.
    #[error("{0} {1} does not lie in one {2}")]
    Split(&'static str, usize, &'static str),
    /// Not a number.
    #[error("{0:?} is not a number of CPUs, nor like nodes=2,llcs=1,cores=8,threads=2")]
    NotANumber(String),
    /// A key that there is not.
    #[error("unknown {0:?} in a topology: allowed are nodes, llcs, cores and threads")]
    Unknown(String),
    /// A key that is there already.
    #[error("{0:?} stands twice in a topology")]
    Twice(String),
}

#[cfg(test)]
mod tests;
