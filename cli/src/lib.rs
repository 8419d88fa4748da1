//! The `muster` command: one file per subcommand, and what they share.
//!
//! A library, so that tests and fuzz targets reach the command line's parsing.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod doctor;
pub mod experiment;
mod log;
pub mod node;
mod output;
pub mod run;
pub mod sched;
pub mod sim;
mod text_file;
mod whole_file;

/// The exit status when muster itself failed.
pub const FAILURE: u8 = 1;
/// The exit status when what the user asked for makes no sense.
pub const USAGE: u8 = 2;

/// Launch Linux guests on KVM.
#[derive(Debug, Parser)]
#[command(name = "muster", version, about, max_term_width = 100)]
#[command(after_help = "Run `muster COMMAND --help` for a command's options and examples.")]
pub struct Arguments {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

impl Arguments {
    /// What to do.
    pub fn command(&self) -> &Command {
        &self.command
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a virtual machine until its guest ends
    Run(Box<run::RunArgs>),
    /// Tell what this host can do for virtual machines
    Doctor(doctor::DoctorArgs),
    /// Schedule the vCPUs of all virtual machines of this host that join
    Node(node::NodeArgs),
    /// Look at what the node manager schedules, and change it
    Sched(sched::SchedArgs),
    /// Measure real virtual machines under every schedule
    Experiment(experiment::ExperimentArgs),
    /// Simulate a host
    Sim(sim::SimArgs),
}

/// What the user asked for makes no sense: status 2, as for any wrong command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// Parses a command line, the program's name first. Never ends the process.
pub fn parse<I>(arguments: I) -> Result<Arguments, clap::Error>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    Arguments::try_parse_from(arguments)
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        // Help and version are no errors; a wrong command line is status 2.
        Err(error) => error.exit(),
    };
    match execute(&arguments) {
        Ok(status) => status,
        Err(error) => {
            // Nobody may be left to read it.
            let _ = writeln!(io::stderr(), "muster: {error:#}");
            ExitCode::from(if error.is::<UsageError>() {
                USAGE
            } else {
                FAILURE
            })
        }
    }
}

fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    log::start(&arguments.log)?;
    match &arguments.command {
        Command::Run(args) => run::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Node(args) => node::run(args),
        Command::Sched(args) => sched::run(args),
        Command::Experiment(args) => experiment::run(args),
        Command::Sim(args) => sim::run(args),
    }
}
