//! The host's CPUs as the engine numbers them: by their number on the host.

use std::fs;
use std::io;
use std::path::Path;

use muster_scheduler::topology::{Place, TopologyError};
use muster_scheduler::{CpuSet, Topology};
use thiserror::Error;

const CPUS: &str = "/sys/devices/system/cpu";

/// The host's CPUs cannot be found out.
#[derive(Debug, Error)]
pub enum HostTopologyError {
    /// Which there are.
    #[error("cannot read which CPUs the host has")]
    Read(#[source] io::Error),
    /// The list makes no sense.
    #[error("the host's list of CPUs cannot be understood: {0:?}")]
    List(String),
    /// More than the engine can number.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

/// The host's topology, and which of its CPUs can be used. CPU numbers have no gaps here: where one is
/// missing on the host, it is not among the usable ones.
pub(crate) fn read() -> Result<(Topology, CpuSet), HostTopologyError> {
    let list = fs::read_to_string(format!("{CPUS}/online")).map_err(HostTopologyError::Read)?;
    let list = list.trim();
    let online: CpuSet = list
        .parse()
        .map_err(|_| HostTopologyError::List(list.to_owned()))?;
    let count = online.iter().map(|cpu| cpu.index() + 1).max().unwrap_or(0);
    let mut domains = Domains::default();
    let places = (0..count).map(|cpu| domains.place(cpu)).collect();
    Ok((Topology::new(places)?, online))
}

/// Numbers for cores, caches and nodes, without gaps and in the order in which they are met.
#[derive(Debug, Default)]
struct Domains {
    cores: Vec<String>,
    llcs: Vec<String>,
    nodes: Vec<String>,
}

impl Domains {
    fn place(&mut self, cpu: usize) -> Place {
        let directory = format!("{CPUS}/cpu{cpu}");
        let read = |path: &str| {
            let text = fs::read_to_string(Path::new(&directory).join(path));
            text.ok().map(|text| text.trim().to_owned())
        };
        // What the host does not tell is taken to be shared by nobody, except for nodes.
        let own = || format!("cpu{cpu}");
        let core = read("topology/thread_siblings_list").unwrap_or_else(own);
        let cache = |index| read(&format!("cache/index{index}/shared_cpu_list"));
        let llc = [3, 2].into_iter().find_map(cache).unwrap_or_else(own);
        let node = (0..64).find(|node| Path::new(&format!("{directory}/node{node}")).exists());
        Place {
            core: number(&mut self.cores, core),
            llc: number(&mut self.llcs, llc),
            node: number(&mut self.nodes, node.unwrap_or(0).to_string()),
        }
    }
}

fn number(known: &mut Vec<String>, name: String) -> u16 {
    let at = known.iter().position(|other| *other == name);
    let at = at.unwrap_or_else(|| {
        known.push(name);
        known.len() - 1
    });
    at as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_cpus() {
        let (topology, online) = read().unwrap();
        assert!(!online.is_empty() && online.is_subset(&topology.cpus()));
    }
}
