//! A window's one interrupt: which events it stands for, and its line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vmm_sys_util::eventfd::EventFd;

use super::super::VirtioInterrupt;

/// Shared by the transport and the device's workers, without a lock.
///
/// Order: an event is recorded before the line is raised. The driver acknowledges events before it
/// looks for their causes, so whatever comes in after that raises the line again.
pub struct MmioInterrupt {
    events: AtomicU32,
    needs_reset: AtomicBool,
    line: EventFd,
}

impl MmioInterrupt {
    /// No event yet. `line` gives the guest an edge when written.
    pub fn new(line: EventFd) -> Arc<Self> {
        Arc::new(Self {
            events: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            line,
        })
    }

    /// The events that the driver has not acknowledged.
    pub fn status(&self) -> u32 {
        self.events.load(Ordering::SeqCst)
    }

    /// The driver has seen `events`.
    pub fn acknowledge(&self, events: u32) {
        self.events.fetch_and(!events, Ordering::SeqCst);
    }

    /// What the device adds to the driver's status bits.
    pub fn needs_reset_bit(&self) -> u32 {
        if self.needs_reset.load(Ordering::SeqCst) {
            VIRTIO_CONFIG_S_NEEDS_RESET
        } else {
            0
        }
    }

    /// Forgets everything. No queue may be running.
    pub fn reset(&self) {
        self.events.store(0, Ordering::SeqCst);
        self.needs_reset.store(false, Ordering::SeqCst);
    }

    fn raise(&self, event: u32) {
        self.events.fetch_or(event, Ordering::SeqCst);
        // Full only if nobody has consumed 2^64 edges; one more makes no difference then.
        let _ = self.line.write(1);
    }
}

impl VirtioInterrupt for MmioInterrupt {
    fn used_buffers(&self, _index: u16) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    fn needs_reset(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }
}
