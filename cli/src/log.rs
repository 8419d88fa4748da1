//! muster's own log: to standard error or a file, never into the guest's console.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context;
use clap::{ArgAction, Args};
use tracing::level_filters::LevelFilter;

/// Where the log goes, and how much of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Append muster's log to FILE instead of standard error
    #[arg(long, value_name = "FILE", global = true)]
    log: Option<PathBuf>,

    /// Log more: -v what happens, -vv details, -vvv everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
}

/// Starts logging for this process.
pub fn start(args: &LogArgs) -> anyhow::Result<()> {
    let level = match args.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // A log that cannot be written must not end the guest.
        .log_internal_errors(false);
    match &args.log {
        Some(path) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .with_context(|| format!("cannot write the log to {}", path.display()))?;
            builder
                .with_ansi(false)
                .with_writer(Mutex::new(file))
                .init();
        }
        None => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder
                .with_ansi(colour)
                .without_time()
                .with_writer(io::stderr)
                .init();
        }
    }
    Ok(())
}
