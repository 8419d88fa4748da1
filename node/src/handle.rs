//! How to ask a running node manager for something, from any thread of its process.

use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use muster_scheduler::{CpuSet, Nanos};
use thiserror::Error;

use crate::manager::Message;
use crate::schedule::Schedule;
use crate::snapshot::{Decision, Snapshot, SwitchRecord};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked for.
#[derive(Debug)]
pub enum Request {
    /// Another schedule for all VMs, at once.
    SetSchedule(Schedule),
    /// Where a vCPU may run: carried out and looked at, or taken back.
    Pin {
        /// The VM's name.
        vm: String,
        /// The vCPU's number; all of them if `None`.
        vcpu: Option<u32>,
        /// The CPUs.
        cpus: CpuSet,
    },
    /// A VM's share.
    SetWeight {
        /// The VM's name.
        vm: String,
        /// 1 to 10000.
        weight: u32,
    },
    /// The most that a VM may use.
    SetCap {
        /// The VM's name.
        vm: String,
        /// In percent of one CPU; no limit if `None`.
        percent: Option<u32>,
    },
    /// What there is and how it is.
    Snapshot,
    /// The last decisions, the latest last.
    Decisions {
        /// At most so many.
        count: usize,
    },
    /// The switches since a time, the latest last. As far back as they are kept.
    Switches {
        /// Since when.
        since_ns: Nanos,
    },
}

/// What is answered.
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// See [`Request::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// See [`Request::Decisions`].
    Decisions(Vec<Decision>),
    /// See [`Request::Switches`].
    Switches(Vec<SwitchRecord>),
}

/// A request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The node manager has ended, or hangs.
    #[error("the node manager does not answer")]
    Gone,
    /// No such VM.
    #[error("there is no VM {name:?}: there are {known}")]
    UnknownVm {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such vCPU.
    #[error("{vm} has no vCPU {vcpu}: it has {count}, from 0 on")]
    UnknownVcpu {
        /// The VM's name.
        vm: String,
        /// What was asked for.
        vcpu: u32,
        /// What there is.
        count: u32,
    },
    /// The engine refused.
    #[error("{0}")]
    Refused(String),
    /// The host refused; what had been done was taken back.
    #[error("the host does not bind {vcpu} to {cpus}: {reason}; it stays as it was")]
    NotBound {
        /// Which.
        vcpu: String,
        /// Where.
        cpus: String,
        /// Why.
        reason: String,
    },
}

/// Where answers go.
pub(crate) type ReplyTo = SyncSender<Result<Reply, RequestError>>;

/// See the module's head.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    sender: Sender<Message>,
}

impl NodeHandle {
    pub(crate) fn new(sender: Sender<Message>) -> Self {
        Self { sender }
    }

    /// A handle whose node manager has ended: nothing that is asked is done.
    pub fn of_nobody() -> Self {
        Self::new(channel().0)
    }

    /// Asks, and waits for the answer.
    pub fn ask(&self, request: Request) -> Result<Reply, RequestError> {
        let (reply_to, reply) = sync_channel(1);
        let message = Message::Request(request, reply_to);
        self.sender.send(message).map_err(|_| RequestError::Gone)?;
        reply
            .recv_timeout(TIMEOUT)
            .map_err(|_| RequestError::Gone)?
    }

    /// What there is and how it is.
    pub fn snapshot(&self) -> Result<Snapshot, RequestError> {
        match self.ask(Request::Snapshot)? {
            Reply::Snapshot(snapshot) => Ok(*snapshot),
            other => unreachable!("a snapshot was asked for: {other:?}"),
        }
    }

    /// The switches since a time.
    pub fn switches(&self, since_ns: Nanos) -> Result<Vec<SwitchRecord>, RequestError> {
        match self.ask(Request::Switches { since_ns })? {
            Reply::Switches(switches) => Ok(switches),
            other => unreachable!("switches were asked for: {other:?}"),
        }
    }
}
