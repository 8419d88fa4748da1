//! `muster sched`: what there is to schedule with, and what the node manager of this host does.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

mod change;
mod connection;
mod policies;
mod show;
mod trace;
mod why;

const AFTER_HELP: &str = "\
Examples:
  What there is, and what runs:
    muster sched policies
    muster sched show

  Another policy for all machines, at once; then the kernel's own scheduler:
    muster sched set gang:quantum=10ms+smart
    muster sched set host

  Where a machine runs, and how much of the host it gets:
    muster sched pin web/1 3
    muster sched weight web 512
    muster sched cap web 150

  Why the last vCPUs were switched, and when:
    muster sched why
    muster sched trace --seconds 2 -o trace.json --svg chart.svg

All but `policies` ask the node manager (`muster node`).";

/// Options of `muster sched`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SchedArgs {
    #[command(subcommand)]
    command: SchedCommand,
}

#[derive(Debug, Subcommand)]
enum SchedCommand {
    /// List the policies, with what can be set
    Policies(policies::PoliciesArgs),
    /// Show every machine and vCPU, and what the node manager costs
    Show(show::ShowArgs),
    /// Schedule all machines by another policy, or leave them to the host's kernel
    Set(change::SetArgs),
    /// Tell the reasons of the last decisions
    Why(why::WhyArgs),
    /// Record who is on which CPU when
    Trace(trace::TraceArgs),
    /// Say where a machine's vCPUs may run
    Pin(change::PinArgs),
    /// Set a machine's share beside others
    Weight(change::WeightArgs),
    /// Set the most CPU time that a machine may use
    Cap(change::CapArgs),
}

/// Runs the command.
pub fn run(args: &SchedArgs) -> Result<ExitCode> {
    match &args.command {
        SchedCommand::Policies(args) => policies::run(args)?,
        SchedCommand::Show(args) => show::run(args)?,
        SchedCommand::Set(args) => change::set(args)?,
        SchedCommand::Why(args) => why::run(args)?,
        SchedCommand::Trace(args) => trace::run(args)?,
        SchedCommand::Pin(args) => change::pin(args)?,
        SchedCommand::Weight(args) => change::weight(args)?,
        SchedCommand::Cap(args) => change::cap(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
