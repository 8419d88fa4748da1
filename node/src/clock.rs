//! The engine's time and the host's.

use std::time::{Duration, Instant};

use muster_scheduler::Nanos;
use muster_vmm::board::now_ns;

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

    /// When it will be `at`, for those who wait.
    pub(crate) fn instant(self, at: Nanos) -> Instant {
        Instant::now() + Duration::from_nanos(at.saturating_sub(self.now()))
    }
}
