//! Signals that ask the experiment to end, turned into something that can be waited for.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// While it lives, those signals do nothing but end waits of this thread.
#[derive(Debug)]
pub struct Interrupt {
    signals: SignalFd,
    before: SigSet,
}

impl Interrupt {
    /// Begins to listen. To be called before other threads are started, which inherit what this one
    /// has blocked.
    pub fn listen() -> io::Result<Self> {
        let set: SigSet = SIGNALS.into_iter().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, before })
    }

    /// Waits, at most so long; `true` if a signal has come.
    pub fn wait(&mut self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        loop {
            if self.signals.read_signal()?.is_some() {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Rounded up, so that it does not spin at the end.
            let left = left.as_micros().div_ceil(1000).min(60_000) as u16;
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(left)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // What came twice does not count twice.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        // It can only fail for a mask that is none.
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::pthread::{pthread_kill, pthread_self};

    use super::*;

    #[test]
    fn a_signal_ends_a_wait_and_nothing_else() {
        let mut interrupt = Interrupt::listen().unwrap();
        assert!(!interrupt.wait(Duration::from_millis(1)).unwrap());
        pthread_kill(pthread_self(), Signal::SIGTERM).unwrap();
        assert!(interrupt.wait(Duration::from_secs(60)).unwrap());
        assert!(!interrupt.wait(Duration::ZERO).unwrap());
        let blocked = SigSet::thread_get_mask().unwrap();
        assert!(blocked.contains(Signal::SIGTERM));
        drop(interrupt);
        let blocked = SigSet::thread_get_mask().unwrap();
        assert!(!blocked.contains(Signal::SIGTERM));
    }
}
