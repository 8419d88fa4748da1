//! Standard input on its way to the guest's serial port.
//!
//! A person's keys are read at once whatever the guest does, for the escape key must work with a
//! guest that hangs; what such a guest leaves unread beyond a bound is dropped. Piped input waits
//! instead until there is room, and arrives whole.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::TryLockError;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use muster_devices::bus::Shared;
use muster_devices::serial::SerialPort;
use nix::errno::Errno;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::timerfd::TimerFd;

use super::{Event, Queue, watch};
use crate::console::escape::EscapeFilter;

/// The serial port of the machine that runs now.
pub type Port = Rc<RefCell<Option<Shared<SerialPort>>>>;

/// Bytes read at once, and bytes that a terminal's input may wait.
const PENDING_MAX: usize = 4096;
/// When to try again after a vCPU had the port: it may be writing to a pipe that is full.
const RETRY: Duration = Duration::from_millis(5);

/// The subscriber for standard input.
pub struct InputSource {
    port: Port,
    /// Readable when the port has room again, or is another one.
    room: EventFd,
    /// Runs out when a port that was busy is to be tried again.
    retry: TimerFd,
    queue: Queue,
    /// Only a person at a terminal types escape sequences; piped input passes unchanged.
    escape: Option<EscapeFilter>,
    /// Read, and not yet taken by the port.
    pending: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for input.
    Watching,
    /// Waiting for the port to take what is pending.
    Paused,
    /// Regular files and /dev/null cannot be waited for: they are read whenever there is room.
    AlwaysReady,
    /// End of input.
    Ended,
}

impl InputSource {
    /// Input for `port`, which signals `room`; commands go to `queue`.
    pub fn new(port: Port, room: EventFd, queue: Queue) -> io::Result<Self> {
        Ok(Self {
            port,
            room,
            retry: TimerFd::new()?,
            queue,
            escape: io::stdin().is_terminal().then(EscapeFilter::default),
            pending: Vec::with_capacity(PENDING_MAX),
            state: State::Watching,
        })
    }

    /// Reads once and passes on what came.
    fn read(&mut self, ops: &mut EventOps) {
        let mut buffer = [0; PENDING_MAX];
        match nix::unistd::read(io::stdin(), &mut buffer) {
            Ok(0) => self.end(ops),
            Ok(count) => self.accept(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => {
                tracing::warn!(%error, "console input ended");
                self.end(ops);
            }
        }
        self.flush();
        if self.escape.is_none() && !self.pending.is_empty() {
            self.pause(ops);
        }
    }

    fn accept(&mut self, input: &[u8]) {
        let Some(filter) = &mut self.escape else {
            return self.pending.extend_from_slice(input);
        };
        let commands = filter.filter(input, &mut self.pending);
        self.pending.truncate(PENDING_MAX);
        self.queue
            .borrow_mut()
            .extend(commands.into_iter().map(Event::Command));
    }

    /// Gives the port as much as it takes.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let port = self.port.borrow();
        let Some(port) = port.as_ref() else { return };
        let taken = match port.try_lock() {
            Ok(mut serial) => serial.push_input(&self.pending),
            Err(TryLockError::Poisoned(serial)) => serial.into_inner().push_input(&self.pending),
            Err(TryLockError::WouldBlock) => {
                if let Err(error) = self.retry.reset(RETRY, None) {
                    tracing::warn!(%error, "console input stalled");
                }
                return;
            }
        };
        self.pending.drain(..taken);
    }

    fn pause(&mut self, ops: &mut EventOps) {
        // An empty set of events would still report a hang-up, again and again.
        if self.state == State::Watching && ops.remove(Events::empty(&io::stdin())).is_ok() {
            self.state = State::Paused;
        }
    }

    fn end(&mut self, ops: &mut EventOps) {
        self.pause(ops);
        self.state = State::Ended;
    }

    /// After the port has taken what was pending.
    fn go_on(&mut self, ops: &mut EventOps) {
        if self.state == State::Paused && self.pending.is_empty() {
            watch(ops, &io::stdin());
            self.state = State::Watching;
        }
        while self.state == State::AlwaysReady && self.pending.is_empty() {
            self.read(ops);
        }
    }
}

impl MutEventSubscriber for InputSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.room);
        watch(ops, &self.retry);
        match ops.add(Events::new(&io::stdin(), EventSet::IN)) {
            Ok(()) => {}
            // Reading begins when a machine is attached.
            Err(event_manager::Error::Epoll(errno)) if errno.errno() == libc::EPERM => {
                self.state = State::AlwaysReady;
            }
            Err(error) => {
                tracing::warn!(%error, "the console has no input");
                self.state = State::Ended;
            }
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if events.fd() == self.room.as_raw_fd() {
            let _ = self.room.read();
        } else if events.fd() == self.retry.as_raw_fd() {
            let _ = self.retry.wait();
        } else {
            return self.read(ops);
        }
        self.flush();
        self.go_on(ops);
    }
}
