//! The job: what the command line asks for, or a shell for a person.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use muster_init::cmdline::{self, CmdlineError, Request};
use nix::sys::reboot::RebootMode;
use thiserror::Error;

use crate::session::{Outcome, Session};
use crate::{mounts, port, say};

/// The status of a job that never ran, as of `env` and others that run a command.
const NOT_RUN: u8 = 125;

/// What programs need to find each other.
const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("USER", "root"),
    ("SHELL", "/bin/sh"),
];

/// For a person: what nearly every terminal understands.
const PERSON: [(&str, &str); 1] = [("TERM", "vt220")];

/// For a command: nobody is there to turn pages, and colours are in the way.
const NOBODY: [(&str, &str); 3] = [("TERM", "dumb"), ("PAGER", "cat"), ("SYSTEMD_PAGER", "cat")];

/// No way to know what to do.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The kernel does not tell its command line.
    #[error("cannot read /proc/cmdline: {0}")]
    Read(io::Error),
    /// The command line makes no sense.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
}

/// What the kernel command line asks for.
pub fn request() -> Result<Request, RequestError> {
    let line = fs::read("/proc/cmdline").map_err(RequestError::Read)?;
    Ok(cmdline::parse(&line)?)
}

/// Runs the job as process 1 and ends all processes; gives the way in which the machine ends.
pub fn run(request: Result<Request, RequestError>) -> RebootMode {
    let mut session = match Session::new() {
        Ok(session) => session,
        Err(error) => {
            say(&format!("cannot listen for signals: {error}"));
            return RebootMode::RB_POWER_OFF;
        }
    };
    start_loopback();
    let (job, counts) = match request {
        Ok(Request {
            exec: Some(command),
            root: None,
        }) => (Ok(shell_command(&command)), true),
        Ok(Request { exec: Some(_), .. }) => {
            (Err("there is no system to run it in".to_owned()), true)
        }
        Ok(Request { exec: None, .. }) => (Ok(shell()), false),
        Err(error) => (Err(error.to_string()), true),
    };
    let outcome = job.and_then(|mut job| session.run(&mut job).map_err(|error| error.to_string()));
    let outcome = outcome.unwrap_or_else(|error| {
        say(&format!("cannot run the command: {error}"));
        Outcome::Ended(NOT_RUN)
    });
    session.end_all(!counts);
    match outcome {
        Outcome::Ended(status) if counts => {
            // The machine may end with the write.
            mounts::tear_down();
            report(status);
            RebootMode::RB_POWER_OFF
        }
        Outcome::Ended(_) | Outcome::PowerOff => RebootMode::RB_POWER_OFF,
        Outcome::Reboot => RebootMode::RB_AUTOBOOT,
    }
}

/// Runs the job as a service of a whole system, which powers off after it. Without a job there is
/// nothing to do.
pub fn run_in_system() -> ExitCode {
    let status = match request() {
        Ok(Request { exec: None, .. }) => return ExitCode::SUCCESS,
        Ok(Request {
            exec: Some(command),
            ..
        }) => match shell_command(&command).status() {
            Ok(status) => code(status),
            Err(error) => {
                say(&format!("cannot run the command: {error}"));
                NOT_RUN
            }
        },
        Err(error) => {
            say(&error.to_string());
            NOT_RUN
        }
    };
    // Nothing may be lost if the machine ends with the write.
    nix::unistd::sync();
    report(status);
    ExitCode::SUCCESS
}

/// The status in one byte, as shells have it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .unwrap_or(NOT_RUN.into());
    (code & 0xff) as u8
}

fn report(status: u8) {
    if let Err(error) = port::write_status(status) {
        say(&format!("cannot report the status {status}: {error}"));
    }
}

/// The command, with the console as its standard input and output.
fn shell_command(command: &OsStr) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .envs(ENVIRONMENT)
        .envs(NOBODY)
        .current_dir("/root");
    shell
}

/// A shell for a person: with the console as its terminal, so that jobs can be controlled.
fn shell() -> Command {
    let mut shell = Command::new("/bin/busybox");
    let arguments: [OsString; 4] = ["setsid", "cttyhack", "sh", "-l"].map(OsString::from);
    shell
        .args(arguments)
        .envs(ENVIRONMENT)
        .envs(PERSON)
        .current_dir("/root");
    shell
}

/// Makes 127.0.0.1 reachable. A guest whose kernel has no network lacks nothing.
fn start_loopback() {
    let mut link = Command::new("/bin/busybox");
    link.args(["ip", "link", "set", "lo", "up"]);
    let _ = link.output();
}
