//! Entropy device: the guest's source of random numbers.
//!
//! Source: VIRTIO 1.2, section 5.4.

use std::error::Error;
use std::fs::File;
use std::io;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::ReadVolatile;

use super::chain::GuestBytes;
use super::service::ChainService;
use super::worker::QueueWorker;
use super::{QueueResources, QueueState, StartQueueError, VirtioDevice};

/// The one queue takes buffers to fill.
const QUEUE_SIZES: [u16; 1] = [64];

/// A request gets no more than this, so that none keeps the worker for long.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// An entropy device that hands on the host's random numbers.
pub struct Rng {
    source: File,
    worker: Option<QueueWorker>,
}

impl Rng {
    /// A device that reads `/dev/urandom`.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            source: File::open("/dev/urandom")?,
            worker: None,
        })
    }
}

impl VirtioDevice for Rng {
    fn device_id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        state: Option<QueueState>,
    ) -> Result<(), StartQueueError> {
        let start = || {
            let service = RngService {
                source: self.source.try_clone()?,
                failures: 0,
            };
            QueueWorker::start("virtio-rng", index, resources, state, service)
        };
        self.worker = Some(start().map_err(|source| StartQueueError { index, source })?);
        Ok(())
    }

    fn stop_queue(&mut self, _index: u16) -> Option<QueueState> {
        self.worker.take().map(QueueWorker::stop)
    }
}

struct RngService {
    source: File,
    failures: u64,
}

impl ChainService for RngService {
    fn serve<'ram>(
        &mut self,
        _readable: GuestBytes<'_, 'ram>,
        writable: GuestBytes<'_, 'ram>,
    ) -> u32 {
        let mut filled = 0;
        for slice in writable.slices() {
            let len = slice.len().min(REQUEST_BYTES_MAX - filled);
            let mut piece = slice
                .subslice(0, len)
                .expect("a piece is no longer than its slice");
            if let Err(error) = self.source.read_exact_volatile(&mut piece) {
                if self.failures == 0 {
                    let error: &dyn Error = &error;
                    tracing::warn!(error, "cannot read the host's random numbers");
                }
                self.failures += 1;
                break;
            }
            filled += len;
        }
        filled as u32
    }
}

#[cfg(test)]
mod tests;
