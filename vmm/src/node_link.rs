//! How a VM process joins the host's node manager.
//!
//! Protocol: one connection on a Unix socket of packets per running machine. The VM sends a
//! [`Hello`] as JSON, with the descriptors of its board and of each vCPU's statistics. The node
//! manager sends an [`Answer`]. Then both are silent: the connection says that the other one lives.
//!
//! Whatever becomes of the node manager, the guest goes on. If it has gone, the VM takes back what was
//! done to its threads (affinity, class) and asks once a second whether there is a new one. If it has
//! only stopped, gates open as the lease ends, and threads are taken back likewise until it returns.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rustix::thread::futex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::board::{Board, LEASE_NS_MAX, now_ns};
use crate::thread_schedule::ThreadSchedule;

/// The version of this protocol. The board has one of its own.
pub const PROTOCOL: u32 = 1;
/// The longest message.
pub const MESSAGE_LEN_MAX: usize = 16 << 10;

/// How long a VM waits for the answer.
const ANSWER_TIMEOUT: TimeVal = TimeVal::new(0, 500_000);
/// How often a VM asks for a node manager that it has lost.
const RETRY: Duration = Duration::from_secs(1);

/// A VM as it asks to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The VM's name, unique on this host.
    pub name: String,
    /// Its share beside other VMs.
    pub weight: u32,
    /// The most CPU time that it may use, in percent of one CPU.
    pub cap_percent: Option<u32>,
    /// Where its vCPUs may run, as a list like `0-3,8`; anywhere if there is none.
    pub cpus: Option<String>,
}

/// What the node manager says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It schedules the VM from now on.
    Welcome,
    /// It does not, and why.
    Refused(String),
}

/// Which node manager, and what to ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its socket.
    pub socket: PathBuf,
    /// What is said there.
    pub hello: Hello,
}

/// A VM cannot join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Nobody is there.
    #[error(
        "no node manager answers at {}: start one with `muster node`, or leave out --node",
        socket.display()
    )]
    Absent {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: Errno,
    },
    /// It stopped talking, or talks nonsense.
    #[error("the node manager at {} does not answer as expected", socket.display())]
    Answer {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host does not say how it schedules this process.
    #[error("cannot find out how the host schedules this process")]
    Schedule(#[source] io::Error),
    /// It said no.
    #[error("the node manager at {} refused the VM: {reason}", socket.display())]
    Refused {
        /// Where.
        socket: PathBuf,
        /// Its words.
        reason: String,
    },
}

/// Where the node manager of this host listens for VMs unless somebody says otherwise:
/// `/run/muster/node.sock` for root, a directory of the user's own for others.
pub fn default_socket() -> PathBuf {
    directory().join("node.sock")
}

/// Whether a VM may have this name: up to 63 letters, digits, `-`, `_` and `.`, the first of them a
/// letter or digit.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(is_plain)
        && text.chars().all(|c| is_plain(c) || "-_.".contains(c))
}

/// Where this user's sockets are.
pub fn directory() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/run/muster");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(own) if Path::new(&own).is_absolute() => PathBuf::from(own).join("muster"),
        _ => PathBuf::from(format!("/tmp/muster-{}", nix::unistd::geteuid())),
    }
}

/// A running machine's connection.
pub struct NodeLink {
    spec: NodeSpec,
    board: Arc<Board>,
    stats: Vec<OwnedFd>,
    /// How its threads were scheduled before anybody touched them.
    schedule: ThreadSchedule,
    state: State,
}

enum State {
    Joined {
        socket: OwnedFd,
        /// The lease has ended, and the threads have been taken back.
        is_stale: bool,
    },
    Lost {
        retry: Instant,
    },
}

/// Has all vCPUs wait at their gates for a node manager, if it comes within a lease's time. To be
/// called before their threads start.
pub fn close_gates(board: &Board) {
    board.renew_lease(now_ns(), LEASE_NS_MAX);
    for index in 0..board.vcpus() {
        board.cell(index).want.store(1, Ordering::Release);
    }
}

impl NodeLink {
    /// Joins for the first time. `stats` are the vCPUs' statistics, in order.
    pub fn join(
        spec: &NodeSpec,
        board: Arc<Board>,
        stats: Vec<OwnedFd>,
    ) -> Result<Self, JoinError> {
        let schedule = ThreadSchedule::of_this_thread().map_err(JoinError::Schedule)?;
        let socket = hand_over(spec, &board, &stats)?;
        Ok(Self {
            spec: spec.clone(),
            board,
            stats,
            schedule,
            state: State::Joined {
                socket,
                is_stale: false,
            },
        })
    }

    /// Looks after the connection. To be called a few times per lease.
    pub fn look(&mut self) {
        match &mut self.state {
            State::Joined { socket, .. } if has_hung_up(socket) => {
                tracing::warn!("the node manager has gone: the host schedules this VM");
                // What it last promised need not be waited for.
                self.board
                    .header()
                    .lease_until_ns
                    .store(0, Ordering::Release);
                self.take_back();
                self.state = State::Lost {
                    retry: Instant::now() + RETRY,
                };
            }
            State::Joined { is_stale, .. } => {
                let has_lease = self.board.lease_left_ns(now_ns()) > 0;
                let was_stale = std::mem::replace(is_stale, !has_lease);
                if !has_lease && !was_stale {
                    tracing::warn!("the node manager does not move: the host schedules this VM");
                    self.take_back();
                } else if has_lease && was_stale {
                    tracing::info!("the node manager moves again");
                }
            }
            State::Lost { retry } if *retry <= Instant::now() => {
                match hand_over(&self.spec, &self.board, &self.stats) {
                    Ok(socket) => {
                        tracing::info!("a node manager schedules this VM again");
                        self.state = State::Joined {
                            socket,
                            is_stale: false,
                        };
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no node manager yet");
                        *retry = Instant::now() + RETRY;
                    }
                }
            }
            State::Lost { .. } => {}
        }
    }

    /// Opens all gates, and gives the vCPUs' threads back what they had.
    fn take_back(&self) {
        for index in 0..self.board.vcpus() {
            let cell = self.board.cell(index);
            // Who waits looks at the lease.
            let _ = futex::wake(&cell.want, futex::Flags::empty(), u32::MAX);
            self.schedule.give_to(cell.tid.load(Ordering::Acquire));
        }
    }
}

/// Connects, says hello, and hears the answer.
fn hand_over(spec: &NodeSpec, board: &Board, stats: &[OwnedFd]) -> Result<OwnedFd, JoinError> {
    let at = &spec.socket;
    let socket = open(at).map_err(|source| JoinError::Absent {
        socket: at.clone(),
        source,
    })?;
    let failed = |source: io::Error| JoinError::Answer {
        socket: at.clone(),
        source,
    };
    let answer = talk(&socket, &spec.hello, board, stats).map_err(failed)?;
    match answer {
        Answer::Welcome => Ok(socket),
        Answer::Refused(reason) => Err(JoinError::Refused {
            socket: at.clone(),
            reason,
        }),
    }
}

fn open(at: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(at)?)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &ANSWER_TIMEOUT)?;
    setsockopt(&socket, sockopt::SendTimeout, &ANSWER_TIMEOUT)?;
    Ok(socket)
}

fn talk(
    socket: &OwnedFd,
    hello: &Hello,
    board: &Board,
    stats: &[OwnedFd],
) -> Result<Answer, io::Error> {
    let text = serde_json::to_vec(hello)?;
    let mut fds = vec![board.as_raw_fd()];
    fds.extend(stats.iter().map(AsRawFd::as_raw_fd));
    let rights = [ControlMessage::ScmRights(&fds)];
    let slices = [IoSlice::new(&text)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &slices, &rights, flags, None)?;
    let mut answer = vec![0; MESSAGE_LEN_MAX];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(serde_json::from_slice(&answer[..len])?)
}

/// Whether the other side has gone. Whatever it says otherwise is not listened to.
fn has_hung_up(socket: &OwnedFd) -> bool {
    let mut byte = [0];
    let heard = recv(socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT);
    !matches!(heard, Err(Errno::EAGAIN | Errno::EINTR) | Ok(1..))
}

#[cfg(test)]
mod tests;
