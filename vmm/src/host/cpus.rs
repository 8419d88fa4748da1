//! Processors and how they hang together.

use std::collections::BTreeSet;

use serde::Serialize;

use super::files::HostFiles;

const CPUS: &str = "/sys/devices/system/cpu";

/// More CPUs than any kernel supports; bounds what a list may expand to.
const CPU_MAX: u32 = 1 << 16;

/// Processors, for programs. Counts are of online CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuReport {
    /// The processor's name.
    pub model: Option<String>,
    /// CPUs as the kernel counts them.
    pub online: usize,
    /// Of those, how many this process may run on.
    pub usable: usize,
    /// Processor packages.
    pub sockets: usize,
    /// Cores.
    pub cores: usize,
    /// The most hardware threads that a core has.
    pub threads_per_core: usize,
    /// Last-level caches.
    pub last_level_caches: usize,
    /// Memory nodes with CPUs.
    pub numa_nodes: usize,
}

impl CpuReport {
    pub(super) fn read(files: &HostFiles) -> Self {
        let online = cpu_list(&files.text(&format!("{CPUS}/online")).unwrap_or_default());
        let allowed = files.text("/proc/self/status").unwrap_or_default();
        let allowed = allowed
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let usable = allowed.map_or(online.len(), |list| {
            cpu_list(list).intersection(&online).count()
        });
        let mut sockets = BTreeSet::new();
        let mut cores = BTreeSet::new();
        let mut caches = BTreeSet::new();
        for cpu in &online {
            let topology = |file| files.text(&format!("{CPUS}/cpu{cpu}/topology/{file}"));
            sockets.insert(topology("physical_package_id").unwrap_or_default());
            // Each core and cache is named by the CPUs that share it.
            cores.insert(topology("thread_siblings_list").unwrap_or_else(|| cpu.to_string()));
            caches.extend(last_level_cache(files, *cpu));
        }
        Self {
            model: model(files),
            online: online.len(),
            usable,
            sockets: sockets.len(),
            threads_per_core: cores
                .iter()
                .map(|core| cpu_list(core).len())
                .max()
                .unwrap_or(0),
            cores: cores.len(),
            last_level_caches: caches.len(),
            numa_nodes: numa_nodes(files),
        }
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![
            count(self.online, "CPU"),
            count(self.sockets, "socket"),
            count(self.cores, "core"),
        ];
        if self.threads_per_core > 1 {
            parts.push(format!("{} threads each", self.threads_per_core));
        }
        if self.last_level_caches > 0 {
            parts.push(count(self.last_level_caches, "last-level cache"));
        }
        if self.numa_nodes > 1 {
            parts.push(count(self.numa_nodes, "NUMA node"));
        }
        if self.usable < self.online {
            parts.push(format!("only {} for this process", self.usable));
        }
        parts.join(", ")
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn model(files: &HostFiles) -> Option<String> {
    let cpuinfo = files.text("/proc/cpuinfo")?;
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The CPUs that share the highest level of cache with `cpu`.
fn last_level_cache(files: &HostFiles, cpu: u32) -> Option<String> {
    let directory = format!("{CPUS}/cpu{cpu}/cache");
    let level = |index: &String| files.number(&format!("{directory}/{index}/level"));
    let indices = files.names(&directory).into_iter();
    let last = indices
        .filter(|index| level(index).is_some())
        .max_by_key(|index| level(index))?;
    files.text(&format!("{directory}/{last}/shared_cpu_list"))
}

fn numa_nodes(files: &HostFiles) -> usize {
    let nodes = files
        .text("/sys/devices/system/node/has_cpu")
        .unwrap_or_default();
    cpu_list(&nodes).len().max(1)
}

/// The numbers in a list as the kernel writes it: `0-3,8,10-11`.
fn cpu_list(list: &str) -> BTreeSet<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let last = last.trim().parse::<u32>().ok()?.min(CPU_MAX);
        Some(first.trim().parse().ok()?..=last)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        let expect = |list: &str, cpus: &[u32]| {
            assert_eq!(
                cpu_list(list).into_iter().collect::<Vec<_>>(),
                cpus,
                "{list:?}"
            );
        };
        expect("0", &[0]);
        expect("0-3,8,10-11\n", &[0, 1, 2, 3, 8, 10, 11]);
        expect("\t2-3", &[2, 3]);
        expect("", &[]);
        expect("3-1,x,7", &[7]);
    }

    #[test]
    fn an_absurd_list_stays_small() {
        assert_eq!(cpu_list("0-4294967295").len(), 65537);
    }
}
