//! Where VMs join: a Unix socket of packets. See [`node_link`](muster_vmm::node_link) for the protocol.
//!
//! One thread listens, hears each newcomer, asks the manager, and notices who has gone. A VM process is
//! not trusted: its message is bounded and parsed, its board must be sealed, its statistics must be
//! KVM's, and the threads that it names must be its own (the kernel says who it is). Whoever else has a
//! copy of the connection: when the process ends the VM has gone, so that no number of a thread is
//! used after it may have become another's.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use muster_vmm::board::{Board, BoardError, VCPUS_MAX};
use muster_vmm::kvm::stats::{StatsError, StatsReader};
use muster_vmm::node_link::{Answer, MESSAGE_LEN_MAX};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags, accept_with,
    recvmsg,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use crate::end_with_thread::EndWithThread;
use crate::enforcement::{Enforcement, Way};
use crate::hello::{HelloError, Wishes};
use crate::manager::Message;
use crate::reach::{OutOfReach, Reach};
use crate::thread::Thread;

/// How many VMs may be there.
const GUESTS_MAX: usize = 1024;
/// How long a newcomer may take to say hello, and the manager to answer.
const HELLO_TIMEOUT: TimeVal = TimeVal::new(0, 200_000);
const MANAGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A VM that wants to join, checked.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub connection: u64,
    pub wishes: Wishes,
    pub pid: u32,
    pub board: Arc<Board>,
    pub stats: Vec<StatsReader>,
    pub threads: Vec<Thread>,
    /// How the schedule is enforced on it.
    pub enforcement: Enforcement,
}

/// Why a VM is not let in. It is told so.
#[derive(Debug, Error)]
enum Refusal {
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("it cannot be heard: {0}")]
    Receive(#[from] io::Error),
    #[error(
        "it says more than {MESSAGE_LEN_MAX} bytes, or sends more than a board and the statistics of {VCPUS_MAX} vCPUs"
    )]
    TooMuch,
    #[error("its process cannot be seen from here, or has ended")]
    Process,
    #[error("it sent {sent} descriptors where {expected} are expected")]
    Descriptors { sent: usize, expected: usize },
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    Stats(#[from] StatsError),
    #[error("vCPU {0} has no thread of this process")]
    Thread(u32),
    #[error(transparent)]
    Reach(#[from] OutOfReach),
    #[error("there are {GUESTS_MAX} VMs already")]
    Full,
    #[error("{0}")]
    Manager(String),
}

/// The listening thread, until dropped. Its socket is removed then.
#[derive(Debug)]
pub(crate) struct Reception {
    path: PathBuf,
    ends: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Reception {
    /// Listens at `path`, which must be free.
    pub(crate) fn start(path: &Path, way: Way, manager: Sender<Message>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&listener, Backlog::new(64)?)?;
        let ends = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let mut worker = Worker {
            listener,
            ends: ends.clone(),
            way,
            manager,
            guests: Vec::new(),
            connections: 0,
        };
        let thread = thread::Builder::new()
            .name("reception".to_owned())
            .spawn(move || worker.work())?;
        Ok(Self {
            path: path.to_owned(),
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.path);
        let _ = self.ends.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A VM that has been let in.
struct Member {
    connection: u64,
    socket: OwnedFd,
    /// Readable once it has ended.
    process: OwnedFd,
}

struct Worker {
    listener: OwnedFd,
    ends: Arc<EventFd>,
    way: Way,
    manager: Sender<Message>,
    guests: Vec<Member>,
    connections: u64,
}

impl Worker {
    fn work(&mut self) {
        let _guard = EndWithThread;
        loop {
            let watched = [self.ends.as_fd(), self.listener.as_fd()];
            let guests = self.guests.iter();
            let guests = guests.flat_map(|guest| [guest.socket.as_fd(), guest.process.as_fd()]);
            let all = watched.into_iter().chain(guests);
            let mut fds: Vec<PollFd<'_>> =
                all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            if poll(&mut fds, PollTimeout::NONE).is_err() {
                continue;
            }
            let ready: Vec<bool> = fds
                .iter()
                .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
                .collect();
            if ready[0] {
                return;
            }
            // A guest that says more than hello is as gone as one that hangs up.
            let mut at = 2;
            let manager = &self.manager;
            self.guests.retain(|guest| {
                let has_gone = ready[at] || ready[at + 1];
                at += 2;
                if has_gone {
                    let _ = manager.send(Message::Left(guest.connection));
                }
                !has_gone
            });
            if ready[1] {
                self.welcome();
            }
        }
    }

    /// Hears a newcomer and answers.
    fn welcome(&mut self) {
        let accepted = accept_with(&self.listener, SocketFlags::CLOEXEC);
        let Ok(peer) = accepted else { return };
        self.connections += 1;
        let connection = self.connections;
        let (answer, process) = match self.hear(&peer, connection) {
            Ok(process) => (Answer::Welcome, Some(process)),
            Err(refusal) => {
                tracing::warn!(%refusal, "a VM is not let in");
                (Answer::Refused(refusal.to_string()), None)
            }
        };
        let text = serde_json::to_vec(&answer).expect("an answer is plain");
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let heard = send(peer.as_raw_fd(), &text, flags).is_ok();
        match process {
            Some(process) if heard => self.guests.push(Member {
                connection,
                socket: peer,
                process,
            }),
            // The manager may have let it in, and nobody would ever tell that it has gone.
            _ => {
                let _ = self.manager.send(Message::Left(connection));
            }
        }
    }

    /// Hears what a newcomer says. Gives its process.
    fn hear(&self, peer: &OwnedFd, connection: u64) -> Result<OwnedFd, Refusal> {
        if self.guests.len() >= GUESTS_MAX {
            return Err(Refusal::Full);
        }
        setsockopt(peer, sockopt::ReceiveTimeout, &HELLO_TIMEOUT).map_err(io::Error::from)?;
        let peer_is = getsockopt(peer, sockopt::PeerCredentials).map_err(io::Error::from)?;
        // Before its threads are looked at: from then on they cannot become another's unseen.
        let process = Pid::from_raw(peer_is.pid()).ok_or(Refusal::Process)?;
        let process = pidfd_open(process, PidfdFlags::empty()).map_err(|_| Refusal::Process)?;
        let (text, fds) = receive(peer)?;
        let from = (peer_is.pid().cast_unsigned(), connection);
        let newcomer = check(&text, fds, from, self.way)?;
        let (reply_to, reply) = sync_channel(1);
        let gone = || Refusal::Manager("the node manager is ending".to_owned());
        self.manager
            .send(Message::Join(Box::new(newcomer), reply_to))
            .map_err(|_| gone())?;
        let answer = reply.recv_timeout(MANAGER_TIMEOUT).map_err(|_| gone())?;
        answer.map_err(Refusal::Manager)?;
        Ok(process)
    }
}

/// A message and its descriptors. Those that are not asked for are closed.
fn receive(peer: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Refusal> {
    let mut text = vec![0; MESSAGE_LEN_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1 + VCPUS_MAX as usize))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut text)];
    let message = recvmsg(peer, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(io::Error::from)?;
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(Refusal::TooMuch);
    }
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = part {
            fds.extend(some);
        }
    }
    text.truncate(message.bytes);
    Ok((text, fds))
}

/// What a newcomer says and sends.
fn check(
    text: &[u8],
    fds: Vec<OwnedFd>,
    (pid, connection): (u32, u64),
    way: Way,
) -> Result<Newcomer, Refusal> {
    let wishes = Wishes::read(text)?;
    let sent = fds.len();
    let mut fds = fds.into_iter();
    let expected = |vcpus| Refusal::Descriptors {
        sent,
        expected: 1 + vcpus,
    };
    let board = Arc::new(Board::open(fds.next().ok_or(expected(1))?.into())?);
    let vcpus = board.vcpus();
    if sent != 1 + vcpus as usize {
        return Err(expected(vcpus as usize));
    }
    let thread = |index| {
        let tid = board.cell(index).tid.load(Ordering::Acquire);
        let thread = Thread { pid, tid };
        thread
            .exists()
            .then_some(thread)
            .ok_or(Refusal::Thread(index))
    };
    let threads: Vec<Thread> = (0..vcpus).map(thread).collect::<Result<_, _>>()?;
    let enforcement = Reach::of(&threads, way).choose(way)?;
    if enforcement != way.enforcement {
        let name = &wishes.name;
        tracing::warn!(
            "{name}'s process may not be signalled: its vCPUs are bound to CPUs, and have no gates"
        );
    }
    Ok(Newcomer {
        connection,
        pid,
        threads,
        enforcement,
        stats: fds.map(StatsReader::new).collect::<Result<_, _>>()?,
        board,
        wishes,
    })
}

#[cfg(test)]
mod tests;
