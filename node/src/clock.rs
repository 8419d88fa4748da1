//! The engine's time and the host's.

use std::time::{Duration, Instant};

use muster_scheduler::Nanos;
use muster_vmm::board::now_ns;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

/// CLOCK_MONOTONIC, counted from when the node manager started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start_ns: now_ns() }
    }

    pub(crate) fn now(self) -> Nanos {
        now_ns() - self.start_ns
    }

    /// Sleeps until it is `at`.
    pub(crate) fn sleep_until(self, at: Nanos) {
        let at = self.start_ns + at;
        let time = TimeSpec::new((at / 1_000_000_000) as i64, (at % 1_000_000_000) as i64);
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        // A signal wakes it early at worst; callers look at the time again.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &time);
    }

    /// When it will be `at`, for those who wait.
    pub(crate) fn instant(self, at: Nanos) -> Instant {
        Instant::now() + Duration::from_nanos(at.saturating_sub(self.now()))
    }
}
