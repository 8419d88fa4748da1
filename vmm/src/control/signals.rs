//! Signals, delivered to the control loop through a file descriptor.

use std::fs;
use std::io;
use std::rc::Rc;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that ask the VM to end.
const TERMINATION: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// The signals that the control loop answers, held back from every thread that starts meanwhile.
/// Clones share them; with the last one, they act by default again.
#[derive(Debug, Clone)]
pub struct Signals(Rc<Blocked>);

#[derive(Debug)]
struct Blocked {
    fd: SignalFd,
    mask_before: SigSet,
}

impl Signals {
    /// Blocks the signals. To be called before any thread is started, and only once there is
    /// something to shut down: until then they end the process, as is their default.
    ///
    /// A signal that the process was told to ignore (`nohup`) stays ignored.
    pub fn block() -> io::Result<Self> {
        let ignored = ignored_signals();
        let mut read = SigSet::empty();
        read.add(Signal::SIGCONT);
        for signal in TERMINATION {
            if ignored & (1 << (signal as u32 - 1)) == 0 {
                read.add(signal);
            }
        }
        // Held back and not read: a write past the limit for a file's size then fails, instead of
        // ending the process.
        let mut held = read;
        held.add(Signal::SIGXFSZ);
        let mask_before = SigSet::thread_get_mask()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&read, flags)?;
        held.thread_block()?;
        Ok(Self(Rc::new(Blocked { fd, mask_before })))
    }

    /// Readable when a signal has arrived.
    pub fn fd(&self) -> &SignalFd {
        &self.0.fd
    }

    /// The next signal that has arrived.
    pub fn read(&self) -> Option<Signal> {
        let info = self.0.fd.read_signal().ok()??;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Restoring a mask that was read before cannot fail.
        let _ = self.mask_before.thread_set_mask();
    }
}

/// The signals that this process ignores, bit 0 for signal 1.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
