//! Signals as something to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that a person sends to the command through us.
const FORWARDED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals of this process, taken as data for as long as this lives.
pub struct Signals {
    fd: SignalFd,
    former: SigSet,
}

impl Signals {
    /// Takes them over.
    pub fn take() -> io::Result<Self> {
        let mut set = SigSet::from_iter(FORWARDED);
        set.add(Signal::SIGWINCH);
        let former = SigSet::thread_get_mask()?;
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd, former })
    }

    /// The next that has come.
    pub fn next(&self) -> Option<i32> {
        let info = self.fd.read_signal().ok()??;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The former mask was valid when it was read.
        let _ = self.former.thread_set_mask();
    }
}
