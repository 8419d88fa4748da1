//! Fuzz targets: everything that parses what a guest, a file or a person says.
//!
//! Problem: no input may make muster panic, hang, allocate without bound or touch what it was not
//! given. Tests of known mistakes do not find the unknown ones.
//!
//! Approach: the body of a target is an ordinary function from bytes to nothing, which panics if a
//! property does not hold. `cargo xtask fuzz` has libFuzzer look for such bytes; an ordinary test
//! runs every target on its seeds and on some thousands of [mutations](mutation) of them, in every
//! run. Each target is free of threads, clocks and files, so that an input always does the same.
//!
//! Terms: a *seed* is a sound input from which others are made, an *input* any bytes at all.

pub mod block;
pub mod command_line;
pub mod experiment;
mod grants;
pub mod initrd;
mod input;
pub mod kernel;
pub mod kernel_types;
mod memory_disk;
pub mod mmio;
pub mod mutation;
pub mod node;
mod ring;
pub mod scheduling;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name for people, and of its binary for libFuzzer.
    pub name: &'static str,
    /// Its body: panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Sound inputs, which reach deep.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds }
    }
}

/// Every target.
pub const TARGETS: [Target; 14] = [
    Target::new("block_request", block::run, block::seeds),
    Target::new("cmdline", command_line::run, command_line::seeds),
    Target::new(
        "disk_spec",
        command_line::run_disk,
        command_line::disk_seeds,
    ),
    Target::new("experiment", experiment::run, experiment::seeds),
    Target::new("initrd_load", initrd::run, initrd::seeds),
    Target::new("kernel_load", kernel::run, kernel::seeds),
    Target::new("kernel_types", kernel_types::run, kernel_types::seeds),
    Target::new("node_api", node::run_api, node::api_seeds),
    Target::new("node_board", node::run_board, node::board_seeds),
    Target::new("node_hello", node::run_hello, node::hello_seeds),
    Target::new(
        "policy_spec",
        scheduling::run_policy,
        scheduling::policy_seeds,
    ),
    Target::new(
        "scenario",
        scheduling::run_scenario,
        scheduling::scenario_seeds,
    ),
    Target::new(
        "topology",
        scheduling::run_topology,
        scheduling::topology_seeds,
    ),
    Target::new("virtio_mmio", mmio::run, mmio::seeds),
];
