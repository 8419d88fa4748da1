//! `muster node`: the node manager of this host, in this process.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::{
    ApiServer, ApiSpec, Enforcement, Node, NodeDirectory, NodeHandle, NodeSpec, Request, Schedule,
    Way,
};
use muster_scheduler::CpuSet;
use muster_vmm::{Signals, node_link};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::output;
use crate::run::values::cpu_set;

/// How often it is seen to that the manager's thread lives, in milliseconds.
const LOOK_MS: u16 = 2000;
/// How often in a row it may fail to answer: a process that was stopped for a while does so once.
const SILENCES: u32 = 2;

const AFTER_HELP: &str = "\
Examples:
  Gangs: a machine's vCPUs run at the same time, in turns of 20 ms:
    muster node --sched gang:quantum=20ms
    muster run --kernel vmlinuz --cpus 2 --node --name web

  Gangs that let lock holders finish, on four CPUs, with metrics for Prometheus:
    muster node --sched gang+smart --cpus 0-3 --metrics 127.0.0.1:9273

  Only watch: the kernel schedules, and `muster sched show` tells what it does:
    muster node --sched host

Without --dir, sockets are in /run/muster for root, else in $XDG_RUNTIME_DIR/muster or /tmp/muster-UID:
  node.sock  machines join here (muster run --node)
  api.sock   muster sched, curl --unix-socket api.sock http://muster/v1/snapshot

What the host is made to obey by, with --enforce auto, is the first that this user may do: gates with
real-time threads, gates with threads at nice -20, gates with ordinary threads. The first line of output
says which it is, and why not a better one; muster doctor says so beforehand. A machine whose process may
not be signalled gets affinity. A way that is asked for by name is refused if it cannot be had.

SIGTERM or SIGINT ends it: gates open, and machines go on as the kernel schedules them. They do so
too if it is killed, and join the next one by themselves.

Exit status:
  0  it was asked to end
  1  it could not start, or go on; another one runs already
  2  the command line is wrong";

/// Options of `muster node`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct NodeArgs {
    /// A policy such as gang:quantum=20ms+smart (see muster sched policies), or the kernel's own
    /// scheduler: host, host:pin, host:slice=100ms
    #[arg(long, value_name = "SCHEDULE", default_value = "gang")]
    sched: Schedule,

    /// The host CPUs that machines are scheduled on, like 0-3,8 [default: all that are online]
    #[arg(long, value_name = "LIST", value_parser = cpu_set)]
    cpus: Option<Box<CpuSet>>,

    /// How the host is made to obey: gate, pulse, affinity, or the best that it permits
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = enforcement)]
    enforce: Enforce,

    /// Directory for the sockets, writable by nobody else [default: this user's own]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Show metrics to Prometheus on an address of this host alone, such as 127.0.0.1:9273
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
}

/// What `auto` leaves to the host.
fn enforcement(text: &str) -> Result<Enforce, String> {
    match text {
        "auto" => Ok(Enforce(None)),
        text => match text.parse() {
            Ok(way) => Ok(Enforce(Some(way))),
            Err(error) => Err(format!("{error}, and auto")),
        },
    }
}

/// A way to make the host obey; the best that it permits if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Enforce(Option<Enforcement>);

/// Runs it until a signal says that it is enough.
pub fn run(args: &NodeArgs) -> Result<ExitCode> {
    // Before there is any thread, so that none of them is ended by a signal.
    let signals = Signals::block().context("cannot wait for signals")?;
    let path = args.dir.clone().unwrap_or_else(node_link::directory);
    let directory = NodeDirectory::claim(&path)?;
    let node = Node::start(NodeSpec {
        socket: directory.node_socket(),
        schedule: args.sched.clone(),
        cpus: args.cpus.as_deref().copied(),
        enforcement: args.enforce.0,
    })?;
    let handle = node.handle();
    let api = ApiSpec {
        socket: directory.api_socket(),
        metrics: args.metrics,
    };
    let api = ApiServer::start(&api, &handle)?;
    let begun = begin(&node, &api).and_then(|()| wait(&signals, &handle));
    drop(api);
    node.stop();
    drop(directory);
    begun?;
    Ok(ExitCode::SUCCESS)
}

/// Says that it is there, and how it makes the host obey.
fn begin(node: &Node, api: &ApiServer) -> Result<()> {
    let schedule = node.handle().snapshot()?.schedule;
    let address = api.metrics_address();
    output::print(&first_line(&schedule, &node.cpus(), node.way(), address))
}

fn first_line(schedule: &str, cpus: &CpuSet, way: Way, metrics: Option<SocketAddr>) -> String {
    let mut line = format!("muster: scheduling VMs by {schedule} on CPUs {cpus} ({way})");
    if let Some(address) = metrics {
        line.push_str(&format!(", metrics on http://{address}/metrics"));
    }
    if let Some(reason) = way.shortfall() {
        line.push_str(&format!(
            "; switches wait while other programs run: {reason} (see muster doctor)"
        ));
    }
    line.push('\n');
    line
}

/// Waits for a signal, and sees to it that there is something to wait with.
fn wait(signals: &Signals, handle: &NodeHandle) -> Result<()> {
    let mut silences = 0;
    loop {
        while let Some(signal) = signals.read() {
            if signal != Signal::SIGCONT {
                tracing::info!(%signal, "ending");
                return Ok(());
            }
        }
        let mut fds = [PollFd::new(signals.fd().as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        silences = match handle.ask(Request::Decisions { count: 0 }) {
            Ok(_) => 0,
            Err(error) if silences + 1 == SILENCES => return Err(error.into()),
            Err(_) => silences + 1,
        };
    }
}

#[cfg(test)]
mod tests;
