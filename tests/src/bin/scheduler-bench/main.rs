//! Measures the scheduler's core in one process: `cargo xtask bench sim` builds it optimised, runs
//! it for each case in turn, and puts the answers together.
//!
//! Each command prints one line of JSON.

mod decision;
mod throughput;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use muster_scheduler::PolicySpec;
use serde_json::{Value, json};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a decision costs: an engine on a machine that obeys at once.
    Decision(Case),
    /// How fast the simulator is, and what a vCPU takes of memory.
    Throughput(Case),
}

#[derive(Debug, clap::Args)]
struct Case {
    policy: PolicySpec,
    cpus: usize,
    vcpus: u32,
}

fn main() -> ExitCode {
    let answer: Value = match Arguments::parse().what {
        What::Decision(case) => {
            let cost = decision::measure(&case.policy, case.cpus, case.vcpus);
            json!({ "ns_per_decision": cost.ns_per_decision, "decisions": cost.decisions })
        }
        What::Throughput(case) => {
            let speed = throughput::measure(&case.policy, case.cpus, case.vcpus);
            json!({
                "events_per_s": speed.events_per_s,
                "events": speed.events,
                "bytes_per_vcpu": speed.bytes_per_vcpu,
            })
        }
    };
    println!("{answer}");
    ExitCode::SUCCESS
}
