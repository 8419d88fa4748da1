//! `muster sched set`, `pin`, `weight` and `cap`: they change what the node manager does.

use anyhow::Result;
use clap::Args;
use muster_node::Schedule;
use muster_scheduler::CpuSet;
use muster_scheduler::vm::WEIGHT_MAX;

use super::connection::{NodeArg, answered};
use crate::run::values;

/// Options of `muster sched set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// A policy such as gang:quantum=20ms+smart, or host, host:pin, host:slice=100ms
    #[arg(value_name = "SCHEDULE")]
    schedule: Schedule,

    #[command(flatten)]
    node: NodeArg,
}

/// Options of `muster sched pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// A machine, or one of its vCPUs: web, web/1
    #[arg(value_name = "VM[/N]", value_parser = target)]
    target: Target,

    /// The host CPUs that it may run on, like 0-3,8
    #[arg(value_name = "LIST", value_parser = values::cpu_set)]
    cpus: Box<CpuSet>,

    #[command(flatten)]
    node: NodeArg,
}

/// Options of `muster sched weight`.
#[derive(Debug, Args)]
pub struct WeightArgs {
    /// The machine
    #[arg(value_parser = values::name)]
    vm: String,

    /// Its share, 1 to 10000; machines have 256 unless they say otherwise
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    weight: u32,

    #[command(flatten)]
    node: NodeArg,
}

/// Options of `muster sched cap`.
#[derive(Debug, Args)]
pub struct CapArgs {
    /// The machine
    #[arg(value_parser = values::name)]
    vm: String,

    /// In percent of one CPU, such as 150 for one and a half; none takes the cap away
    #[arg(value_name = "PERCENT|none", value_parser = cap_value)]
    cap: Cap,

    #[command(flatten)]
    node: NodeArg,
}

/// Which vCPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    vm: String,
    vcpu: Option<u32>,
}

/// The most CPU time in percent; no limit if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cap(Option<u32>);

fn target(text: &str) -> Result<Target, String> {
    let (name, number) = match text.split_once('/') {
        Some((name, number)) => (name, Some(number)),
        None => (text, None),
    };
    let vcpu = match number.map(str::parse) {
        None => None,
        Some(Ok(number)) => Some(number),
        Some(Err(_)) => {
            return Err("has no vCPU's number behind the /: write it like web/1".to_owned());
        }
    };
    let vm = values::name(name)?;
    Ok(Target { vm, vcpu })
}

fn cap_value(text: &str) -> Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(None));
    }
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    match number {
        Ok(percent @ 1..=102_400) => Ok(Cap(Some(percent))),
        _ => Err("is no cap: give a percentage of one CPU from 1 to 102400, or none".to_owned()),
    }
}

/// Runs `muster sched set`.
pub fn set(args: &SetArgs) -> Result<()> {
    let client = args.node.client()?;
    answered(client.set_schedule(&args.schedule.to_string()))
}

/// Runs `muster sched pin`.
pub fn pin(args: &PinArgs) -> Result<()> {
    let client = args.node.client()?;
    answered(client.pin(&args.target.vm, args.target.vcpu, &args.cpus))
}

/// Runs `muster sched weight`.
pub fn weight(args: &WeightArgs) -> Result<()> {
    let client = args.node.client()?;
    answered(client.set_weight(&args.vm, args.weight))
}

/// Runs `muster sched cap`.
pub fn cap(args: &CapArgs) -> Result<()> {
    let client = args.node.client()?;
    answered(client.set_cap(&args.vm, args.cap.0))
}

#[cfg(test)]
mod tests;
