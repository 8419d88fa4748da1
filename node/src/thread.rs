//! A thread of another process.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// The process.
    pub pid: u32,
    /// The thread's number, as the process says.
    pub tid: u32,
}

/// What the kernel counts for a thread, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelTimes {
    /// On a CPU.
    pub run: u64,
    /// Waiting for one.
    pub wait: u64,
}

impl Thread {
    /// Whether the process has such a thread. Whoever names threads of others is found out here.
    pub fn exists(self) -> bool {
        self.tid != 0 && Path::new(&format!("/proc/{}/task/{}", self.pid, self.tid)).exists()
    }

    /// What the kernel has counted so far; `None` once the thread has ended, or if the kernel does
    /// not count.
    pub fn times(self) -> Option<KernelTimes> {
        let path = format!("/proc/{}/task/{}/schedstat", self.pid, self.tid);
        parse_schedstat(&fs::read_to_string(path).ok()?)
    }

    /// Signals it, if it is still of that process.
    #[expect(
        unsafe_code,
        reason = "tgkill(2) with real-time signals, which libraries do not know"
    )]
    pub fn signal(self, signal: i32) -> Result<(), Errno> {
        // SAFETY: takes three numbers.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, self.pid, self.tid, signal) };
        Errno::result(result).map(drop)
    }
}

/// `run wait count`.
fn parse_schedstat(text: &str) -> Option<KernelTimes> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(KernelTimes {
        run: next()?,
        wait: next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn this() -> Thread {
        Thread {
            pid: std::process::id(),
            tid: nix::unistd::gettid().as_raw().cast_unsigned(),
        }
    }

    #[test]
    fn this_thread_exists_and_has_run() {
        assert!(this().exists());
        // The kernel counts at its ticks.
        let deadline = Instant::now() + Duration::from_secs(5);
        while this().times().unwrap().run == 0 {
            assert!(Instant::now() < deadline, "it never runs");
        }
        assert!(!Thread { tid: 0, ..this() }.exists());
        // Thread 1 is not this process's.
        assert!(!Thread { tid: 1, ..this() }.exists());
        assert_eq!(Thread { tid: 1, ..this() }.signal(0), Err(Errno::ESRCH));
    }

    #[test]
    fn numbers_are_run_and_wait() {
        let times = KernelTimes { run: 12, wait: 345 };
        assert_eq!(parse_schedstat("12 345 6\n"), Some(times));
        assert_eq!(parse_schedstat("12\n"), None);
        assert_eq!(parse_schedstat("a b c"), None);
    }
}
