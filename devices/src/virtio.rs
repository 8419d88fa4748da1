//! Virtio devices, apart from any transport.
//!
//! A [`VirtioDevice`] is features, configuration space and queues. A transport ([`mmio`]) carries
//! the driver's register accesses to it and knows no particular device. Reset, pause and, later,
//! snapshots all mean the same to a device: [`stop_queue`](VirtioDevice::stop_queue).
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, chapters 2 and 3.

use std::sync::Arc;

use thiserror::Error;
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use crate::memory::GuestRam;

pub mod block;
mod chain;
#[cfg(test)]
mod driver;
pub mod mmio;
pub mod rng;
mod service;
mod worker;

/// How a device tells its driver that something happened. A transport implements it.
pub trait VirtioInterrupt: Send + Sync {
    /// Buffers of queue `index` were used. The device calls it only where the queue's notification
    /// suppression asks for it.
    fn used_buffers(&self, index: u16);

    /// A ring makes no sense any more, and its queue is no longer served: only a reset helps.
    fn needs_reset(&self);
}

/// What a device needs in order to serve one queue.
pub struct QueueResources {
    /// The ring as the driver set it up: valid addresses, size and negotiated ring features.
    pub queue: Queue,
    /// The guest's RAM.
    pub ram: GuestRam,
    /// Readable when the driver has made buffers available. Blocking (not `EFD_NONBLOCK`): a worker
    /// sleeps in reading it.
    pub kick: EventFd,
    /// Where to report used buffers.
    pub interrupt: Arc<dyn VirtioInterrupt>,
    /// The features that the driver accepted.
    pub features: u64,
}

/// Where a stopped queue stood, enough to start it again at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueState {
    /// Index of the next entry to take from the available ring.
    pub next_avail: u16,
    /// Index of the next entry to fill in the used ring.
    pub next_used: u16,
}

/// A queue could not be started: a failure of the host, not of the guest.
#[derive(Debug, Error)]
#[error("cannot start queue {index}")]
pub struct StartQueueError {
    /// The queue's index.
    pub index: u16,
    /// What the host refused.
    pub source: std::io::Error,
}

/// A virtio device behind any transport.
///
/// The transport calls all methods from one thread at a time. It guarantees that queues start only
/// after the driver has set DRIVER_OK, each at most once until it is stopped, and that `index` is
/// below `queue_sizes().len()`.
pub trait VirtioDevice: Send {
    /// The device ID of the virtio specification, chapter 5 (2 is a block device).
    fn device_id(&self) -> u32;

    /// Device-specific and ring feature bits on offer. The transport adds `VIRTIO_F_VERSION_1`.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two.
    fn queue_sizes(&self) -> &[u16];

    /// Fills `data` from the device's configuration space. Bytes past its end read as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// A driver's write to configuration space. Fields that are not writable stay as they are.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// Begins to serve queue `index`, at the beginning or where `state` says.
    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        state: Option<QueueState>,
    ) -> Result<(), StartQueueError>;

    /// Stops serving queue `index`. Returns once no request is in flight and no thread of the device
    /// touches the ring any more. Idempotent: `None` if the queue was not running.
    fn stop_queue(&mut self, index: u16) -> Option<QueueState>;
}

/// Answers a read of configuration space whose content is `config`.
fn copy_config(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let at = usize::try_from(offset).map_or(config.len(), |offset| offset.min(config.len()));
    let len = data.len().min(config.len() - at);
    data[..len].copy_from_slice(&config[at..at + len]);
}
