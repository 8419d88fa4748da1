//! What a process holds on to.

use std::fs;

use nix::unistd::Pid;

/// No mapping of muster's own is as large as this, and all of guest memory's are.
const GUEST_MAPPING_KIB_MIN: u64 = 32 << 10;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Open file descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
    /// Mappings.
    pub mappings: usize,
    /// Resident memory beside the guest's.
    pub own_kib: u64,
}

impl Footprint {
    /// Reads it from `/proc`.
    pub fn of(pid: Pid) -> Self {
        let proc = |name: &str| format!("/proc/{pid}/{name}");
        let entries = |name: &str| fs::read_dir(proc(name)).expect("the process lives").count();
        let maps = fs::read_to_string(proc("smaps")).expect("the process lives");
        let kib = |line: &str, name: &str| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        let sizes = maps.lines().filter_map(|line| kib(line, "Size:"));
        let resident = maps.lines().filter_map(|line| kib(line, "Rss:"));
        let sizes_and_resident: Vec<(u64, u64)> = sizes.zip(resident).collect();
        Self {
            fds: entries("fd"),
            threads: entries("task"),
            mappings: sizes_and_resident.len(),
            own_kib: sizes_and_resident
                .iter()
                .filter(|(size, _)| *size < GUEST_MAPPING_KIB_MIN)
                .map(|(_, resident)| resident)
                .sum(),
        }
    }
}
