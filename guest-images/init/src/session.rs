//! The one job of a session, and what may end it: the job itself, the power button, a signal.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::button;

/// How long processes get to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long processes get to vanish after they were killed.
const KILL: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The job ended with this status.
    Ended(u8),
    /// Someone wants the machine off.
    PowerOff,
    /// Someone wants the machine restarted.
    Reboot,
}

/// Everything that can wake the first process.
#[derive(Debug)]
pub struct Session {
    /// What comes through `signals` instead of interrupting us.
    mask: SigSet,
    signals: SignalFd,
    buttons: Vec<File>,
    /// The job, as long as it runs.
    job: Option<Pid>,
}

impl Session {
    /// Starts to listen: from here on no signal is lost.
    pub fn new() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGPWR,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            mask,
            signals,
            buttons: button::open(),
            job: None,
        })
    }

    /// Runs the job and waits for an end. All processes that lose their parent are reaped meanwhile.
    pub fn run(&mut self, job: &mut Command) -> io::Result<Outcome> {
        // The job would inherit what we block. A SIGCHLD that gets lost here does no harm, for we
        // reap before we sleep.
        self.mask.thread_unblock()?;
        let child = job.spawn();
        self.mask.thread_block()?;
        self.job = Some(Pid::from_raw(child?.id().cast_signed()));
        loop {
            while let Reaped::One(pid, status) = reap() {
                if Some(pid) == self.job {
                    self.job = None;
                    return Ok(Outcome::Ended(status));
                }
            }
            if let Some(outcome) = self.request()? {
                return Ok(outcome);
            }
            self.wait(None)?;
        }
    }

    /// What a signal or the power button asks for, if anything.
    fn request(&mut self) -> io::Result<Option<Outcome>> {
        while let Some(info) = self.signals.read_signal()? {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => {}
                // What BusyBox's `reboot` sends, and Ctrl-Alt-Del.
                Ok(Signal::SIGTERM | Signal::SIGINT) => return Ok(Some(Outcome::Reboot)),
                // What its `poweroff` and `halt` send, and a failing power supply.
                _ => return Ok(Some(Outcome::PowerOff)),
            }
        }
        let mut pressed = false;
        self.buttons
            .retain(|device| match button::was_pressed(device) {
                Ok(press) => {
                    pressed |= press;
                    true
                }
                Err(_) => false,
            });
        Ok(pressed.then_some(Outcome::PowerOff))
    }

    /// Ends all other processes: asks, and after a while insists. An interactive shell does not
    /// listen when it is asked; the end of its terminal is what it understands.
    pub fn end_all(&self, job_is_shell: bool) {
        let everyone = Pid::from_raw(-1);
        if let Some(job) = self.job
            && job_is_shell
        {
            let _ = kill(job, Signal::SIGHUP);
        }
        // What is stopped hears nothing until it continues.
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            if kill(everyone, signal).is_err() {
                return;
            }
        }
        if !self.all_gone_within(GRACE) {
            let _ = kill(everyone, Signal::SIGKILL);
            self.all_gone_within(KILL);
        }
    }

    fn all_gone_within(&self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            // Before the children are looked at, lest one that ends in between be missed.
            while let Ok(Some(_)) = self.signals.read_signal() {}
            loop {
                match reap() {
                    Reaped::One(..) => {}
                    Reaped::NoneLeft => return true,
                    Reaped::NoneYet => break,
                }
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || self.wait(Some(left)).is_err() {
                return false;
            }
        }
    }

    /// Sleeps until something happens or the time is over.
    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let timeout = match limit {
            Some(limit) => PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.buttons
                .iter()
                .map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

enum Reaped {
    One(Pid, u8),
    NoneYet,
    NoneLeft,
}

/// Takes the status of one process that has ended.
fn reap() -> Reaped {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => return Reaped::One(pid, (status & 0xff) as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Reaped::One(pid, 128 + signal as i32 as u8);
            }
            Ok(WaitStatus::StillAlive) => return Reaped::NoneYet,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NoneLeft,
        }
    }
}
