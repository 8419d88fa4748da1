//! The host's side of a lab run: one thread, one poll loop.
//!
//! It passes frames between the lab and this process's standard streams, forwards signals and window
//! sizes, keeps the end of the lab's own log, and ends with the command's exit frame, at the
//! deadline, when QEMU goes away, or when the lab has stood still for [`SILENCE_MAX`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Stdin, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::qemu::Qemu;
use super::signals::Signals;
use super::wire::{CHUNK_LEN, Decoder, Frame, Job, WireError};
use super::{LabError, LabTimes, LogTail};
use crate::terminal::{RawMode, window_size};

/// How long the log may still come after QEMU has closed the stream of frames.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long the lab may say nothing while its command runs: many times its heartbeat, for it may share
/// a busy host with others.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where the command's output goes.
pub struct Output<'a> {
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
}

/// What connects a run to this process.
pub struct Connection {
    /// Whether standard input is forwarded; else the command finds its input empty.
    pub stdin: bool,
    /// Whether signals are forwarded instead of ending this process. The calling thread must be the
    /// process's only one.
    pub signals: bool,
    /// When to give up.
    pub deadline: Option<(Instant, Duration)>,
}

/// A run under way.
pub struct Session<'a> {
    qemu: Qemu,
    output: Output<'a>,
    stdin: Option<Stdin>,
    signals: Option<Signals>,
    deadline: Option<(Instant, Duration)>,
    decoder: Decoder,
    /// Bytes for the lab that did not fit the socket yet.
    pending: VecDeque<u8>,
    /// Taken when the lab is ready.
    job: Option<Job>,
    log: LogTail,
    raw_mode: Option<RawMode>,
    started: Instant,
    ready: Option<Instant>,
    /// When the lab last gave a sign of life, once it has promised to give some.
    last_heard: Option<Instant>,
    stop_signals: u32,
}

/// How a run ended.
pub struct Ended {
    pub status: i32,
    pub times: LabTimes,
}

/// What a turn of the loop found to do.
#[derive(Debug, Clone, Copy, Default)]
struct Readiness {
    wire_in: bool,
    wire_out: bool,
    log: bool,
    stdin: bool,
    signal: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        qemu: Qemu,
        job: Job,
        connection: &Connection,
        output: Output<'a>,
        started: Instant,
    ) -> Result<Self, LabError> {
        for socket in [&qemu.wire, &qemu.log] {
            socket.set_nonblocking(true).map_err(LabError::Socket)?;
        }
        let signals = if connection.signals {
            Some(Signals::take().map_err(LabError::Signals)?)
        } else {
            None
        };
        Ok(Self {
            qemu,
            output,
            stdin: connection.stdin.then(io::stdin),
            signals,
            deadline: connection.deadline,
            decoder: Decoder::default(),
            pending: VecDeque::new(),
            job: Some(job),
            log: LogTail::default(),
            raw_mode: None,
            started,
            ready: None,
            last_heard: None,
            stop_signals: 0,
        })
    }

    /// Runs until the command has ended.
    pub fn run(mut self) -> Result<Ended, LabError> {
        loop {
            let ready = self.wait()?;
            if ready.log {
                self.read_log()?;
            }
            if ready.signal
                && let Some(status) = self.take_signals()?
            {
                return Ok(self.ended(status));
            }
            if ready.stdin {
                self.read_stdin()?;
            }
            if ready.wire_out {
                self.send_pending()?;
            }
            if !ready.wire_in {
                self.check_silence()?;
            } else if let Some(status) = self.read_wire()? {
                return Ok(self.ended(status));
            }
        }
    }

    fn ended(&self, status: i32) -> Ended {
        let now = Instant::now();
        let ready = self.ready.unwrap_or(now);
        Ended {
            status,
            times: LabTimes {
                start: ready - self.started,
                command: now - ready,
            },
        }
    }

    /// How long to wait for something to do: until the deadline, or until a silence becomes too long.
    fn patience(&mut self) -> Result<PollTimeout, LabError> {
        let now = Instant::now();
        if let Some((deadline, limit)) = self.deadline
            && now >= deadline
        {
            return Err(LabError::Timeout {
                limit,
                log: self.last_words(),
            });
        }
        let ends = [
            self.deadline.map(|(deadline, _)| deadline),
            self.last_heard.map(|heard| heard + SILENCE_MAX),
        ];
        Ok(match ends.into_iter().flatten().min() {
            None => PollTimeout::NONE,
            Some(end) => {
                // Rounded up: a timeout of zero would spin.
                let left = end.saturating_duration_since(now) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        })
    }

    /// Fails if the lab has been silent for too long. Asked only when nothing waits to be read: this
    /// process may have been stopped itself.
    fn check_silence(&mut self) -> Result<(), LabError> {
        match self.last_heard.map(|heard| heard.elapsed()) {
            Some(silence) if silence >= SILENCE_MAX => Err(LabError::StoodStill {
                silence,
                log: self.last_words(),
            }),
            _ => Ok(()),
        }
    }

    fn wait(&mut self) -> Result<Readiness, LabError> {
        let timeout = self.patience()?;
        let wire_events = if self.pending.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let mut fds = vec![
            PollFd::new(self.qemu.wire.as_fd(), wire_events),
            PollFd::new(self.qemu.log.as_fd(), PollFlags::POLLIN),
        ];
        // Input is read only once the last has gone, which bounds what is pending.
        let wants_stdin = self.ready.is_some() && self.pending.is_empty();
        let stdin = self.stdin.as_ref().filter(|_| wants_stdin).map(AsFd::as_fd);
        let signals = self.signals.as_ref().map(|signals| signals.as_fd());
        let stdin_at = stdin.map(|fd| {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            fds.len() - 1
        });
        let signals_at = signals.map(|fd| {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            fds.len() - 1
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(LabError::Socket(errno.into())),
        }
        let has = |index: usize, flags: PollFlags| {
            fds[index]
                .revents()
                .is_some_and(|revents| revents.intersects(flags))
        };
        let input = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        Ok(Readiness {
            wire_in: has(0, input),
            wire_out: has(0, PollFlags::POLLOUT),
            log: has(1, input),
            stdin: stdin_at.is_some_and(|index| has(index, input)),
            signal: signals_at.is_some_and(|index| has(index, input)),
        })
    }

    fn send(&mut self, frame: &Frame) -> Result<(), LabError> {
        self.pending.extend(frame.encode());
        self.send_pending()
    }

    fn send_pending(&mut self) -> Result<(), LabError> {
        while !self.pending.is_empty() {
            match self.qemu.wire.write(self.pending.as_slices().0) {
                Ok(len) => drop(self.pending.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    return Err(LabError::Died {
                        log: self.last_words(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Passes on what the lab has sent. Gives the exit status when it is there.
    fn read_wire(&mut self) -> Result<Option<i32>, LabError> {
        let mut bytes = [0; CHUNK_LEN];
        match self.qemu.wire.read(&mut bytes) {
            Ok(0) => {
                return Err(LabError::Died {
                    log: self.last_words(),
                });
            }
            Ok(len) => {
                self.decoder.push(&bytes[..len]);
                self.last_heard = self.last_heard.map(|_| Instant::now());
            }
            Err(error) if is_momentary(&error) => {}
            Err(_) => {
                return Err(LabError::Died {
                    log: self.last_words(),
                });
            }
        }
        while let Some(frame) = self.decoder.next_frame()? {
            match frame {
                Frame::Ready => self.start_job()?,
                Frame::Stdout(bytes) => pass_on(self.output.stdout, &bytes)?,
                Frame::Stderr(bytes) => pass_on(self.output.stderr, &bytes)?,
                Frame::Alive => {}
                Frame::Exit(status) => return Ok(Some(status)),
                other => return Err(LabError::Wire(WireError::Direction(other.kind()))),
            }
        }
        Ok(None)
    }

    fn start_job(&mut self) -> Result<(), LabError> {
        let Some(job) = self.job.take() else {
            // Init says it once; a second time means that the lab started over.
            return Err(LabError::Died {
                log: self.last_words(),
            });
        };
        let now = Instant::now();
        self.ready = Some(now);
        self.last_heard = job.heartbeat.then_some(now);
        if job.terminal.is_some() {
            self.raw_mode = RawMode::set();
        }
        self.send(&Frame::Start(job))?;
        if self.stdin.is_none() {
            self.send(&Frame::StdinEnd)?;
        }
        Ok(())
    }

    fn read_stdin(&mut self) -> Result<(), LabError> {
        let mut bytes = [0; CHUNK_LEN];
        match nix::unistd::read(io::stdin(), &mut bytes) {
            Ok(0) => {
                self.stdin = None;
                self.send(&Frame::StdinEnd)
            }
            Ok(len) => self.send(&Frame::Stdin(bytes[..len].to_vec())),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => Ok(()),
            // A terminal that is gone, or a directory: there is no input.
            Err(_) => {
                self.stdin = None;
                self.send(&Frame::StdinEnd)
            }
        }
    }

    fn read_log(&mut self) -> Result<(), LabError> {
        let mut bytes = [0; CHUNK_LEN];
        match self.qemu.log.read(&mut bytes) {
            Ok(len) => self.log.push(&bytes[..len]),
            Err(error) if is_momentary(&error) => {}
            Err(error) => return Err(LabError::Socket(error)),
        }
        Ok(())
    }

    /// Forwards what has come. The second request to stop ends the run at once.
    fn take_signals(&mut self) -> Result<Option<i32>, LabError> {
        while let Some(number) = self.signals.as_ref().and_then(Signals::next) {
            if number == Signal::SIGWINCH as i32 {
                if let Ok(size) = window_size(io::stdin()) {
                    self.send(&Frame::Resize(size))?;
                }
                continue;
            }
            self.stop_signals += 1;
            if self.stop_signals > 1 || self.ready.is_none() {
                return Ok(Some(128 + number));
            }
            self.send(&Frame::Signal(number))?;
        }
        Ok(None)
    }

    /// The end of the log, with what QEMU wrote just before it went away.
    fn last_words(&mut self) -> LogTail {
        if self.qemu.log.set_nonblocking(false).is_ok()
            && self.qemu.log.set_read_timeout(Some(LAST_WORDS)).is_ok()
        {
            let mut bytes = [0; CHUNK_LEN];
            while let Ok(len @ 1..) = self.qemu.log.read(&mut bytes) {
                self.log.push(&bytes[..len]);
            }
        }
        std::mem::take(&mut self.log)
    }
}

fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn pass_on(stream: &mut dyn Write, bytes: &[u8]) -> Result<(), LabError> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(LabError::Output)
}
