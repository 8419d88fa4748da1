//! `cargo xtask bench`: measurements that end up in `docs/results/`.

mod boot;
mod overhead;
mod results;
mod sim;
mod table;

use clap::{Args, Subcommand};

use crate::TaskResult;

/// Measure muster.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Boot(boot::BootArgs),
    Overhead(overhead::OverheadArgs),
    Sim(sim::SimArgs),
}

/// Runs the task.
pub fn run(args: &BenchArgs) -> TaskResult {
    match &args.bench {
        Bench::Boot(args) => boot::run(args),
        Bench::Overhead(args) => overhead::run(args),
        Bench::Sim(args) => sim::run(args),
    }
}
