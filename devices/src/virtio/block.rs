//! Block device: a [`Disk`] for the guest.
//!
//! One worker thread per queue carries out requests in order, each with plain system calls straight
//! into guest RAM. Whatever goes wrong, at the guest's side or the host's, ends as the status byte
//! of that request; the VM goes on.
//!
//! Source: VIRTIO 1.2, section 5.2.

use std::mem::offset_of;
use std::sync::Arc;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES, virtio_blk_config,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Error as RingError, Queue, QueueT};

use self::execute::BlockService;
use self::request::{
    DISCARD_SECTORS_MAX, DISCARD_SEGMENTS_MAX, WRITE_ZEROES_SECTORS_MAX, WRITE_ZEROES_SEGMENTS_MAX,
};
use super::service::QueueServer;
use super::worker::QueueWorker;
use super::{QueueResources, QueueState, StartQueueError, VirtioDevice, copy_config};
use crate::disk::{Disk, SECTOR_SIZE};
use crate::memory::GuestRam;

mod execute;
mod request;

/// All queues take requests of every kind.
const QUEUE_SIZES: [u16; 1] = [256];

/// Data buffers per request: what a queue holds, less the header and the status.
const SEG_MAX: u32 = QUEUE_SIZES[0] as u32 - 2;

/// What the guest is told of the host's block size, in sectors: storage comes back in units of it.
const DISCARD_ALIGNMENT_SECTORS: u32 = (4096 / SECTOR_SIZE) as u32;

const CONFIG_LEN: usize = size_of::<virtio_blk_config>();

/// A block device. Each running queue has a worker thread.
pub struct Block {
    disk: Arc<dyn Disk>,
    workers: [Option<QueueWorker>; QUEUE_SIZES.len()],
}

impl Block {
    /// A device for `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            workers: Default::default(),
        }
    }

    /// The device's configuration space.
    fn config(&self) -> [u8; CONFIG_LEN] {
        let mut config = [0; CONFIG_LEN];
        let mut put = |at: usize, value: &[u8]| config[at..at + value.len()].copy_from_slice(value);
        let sectors = self.disk.len() / SECTOR_SIZE;
        put(
            offset_of!(virtio_blk_config, capacity),
            &sectors.to_le_bytes(),
        );
        let limits = [
            (offset_of!(virtio_blk_config, seg_max), SEG_MAX),
            (
                offset_of!(virtio_blk_config, max_discard_sectors),
                DISCARD_SECTORS_MAX,
            ),
            (
                offset_of!(virtio_blk_config, max_discard_seg),
                DISCARD_SEGMENTS_MAX as u32,
            ),
            (
                offset_of!(virtio_blk_config, discard_sector_alignment),
                DISCARD_ALIGNMENT_SECTORS,
            ),
            (
                offset_of!(virtio_blk_config, max_write_zeroes_sectors),
                WRITE_ZEROES_SECTORS_MAX,
            ),
            (
                offset_of!(virtio_blk_config, max_write_zeroes_seg),
                WRITE_ZEROES_SEGMENTS_MAX as u32,
            ),
        ];
        for (at, limit) in limits {
            put(at, &limit.to_le_bytes());
        }
        put(offset_of!(virtio_blk_config, write_zeroes_may_unmap), &[1]);
        config
    }
}

impl VirtioDevice for Block {
    fn device_id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let always = [
            VIRTIO_RING_F_INDIRECT_DESC,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_FLUSH,
        ];
        let by_access: &[u32] = if self.disk.read_only() {
            &[VIRTIO_BLK_F_RO]
        } else {
            &[VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]
        };
        always
            .iter()
            .chain(by_access)
            .fold(0, |features, bit| features | 1 << bit)
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.config(), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        state: Option<QueueState>,
    ) -> Result<(), StartQueueError> {
        let service = BlockService::new(self.disk.clone(), resources.features);
        let name = format!("blk-{}", self.disk.serial());
        let worker = QueueWorker::start(&name, index, resources, state, service)
            .map_err(|source| StartQueueError { index, source })?;
        self.workers[usize::from(index)] = Some(worker);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        self.workers[usize::from(index)]
            .take()
            .map(QueueWorker::stop)
    }
}

/// Serves what is available in `queue` now, without a thread and without interrupts, for a driver
/// that accepted `features`. Returns how many chains were used; at most a whole ring's worth.
///
/// This is the whole path of a request from ring to disk: what tests and fuzzers call.
pub fn process_queue(
    queue: &mut Queue,
    ram: &GuestRam,
    disk: &Arc<dyn Disk>,
    features: u64,
) -> Result<u16, RingError> {
    let size = queue.size();
    let mut server = QueueServer::new(queue, ram, BlockService::new(disk.clone(), features));
    let mut used = 0;
    while used < size && server.serve_next()? {
        used += 1;
    }
    Ok(used)
}

#[cfg(test)]
mod tests;
