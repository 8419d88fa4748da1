//! Block requests: whole rings of them, from descriptors to the disk.
//!
//! Input: flags (bit 0: the disk is read-only, bit 1: the driver knows flushes, bit 2: it uses
//! event indices), the index that the device is to begin at (2 bytes), then RAM from address 0 on,
//! with the descriptors, the available ring and the buffers in it.

use std::sync::Arc;

use muster_devices::disk::Disk;
use muster_devices::virtio::block::process_queue;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::grants::Grants;
use super::input::Input;
use super::memory_disk::MemoryDisk;
use super::ring::{AVAILABLE, DESCRIPTORS, RING_SIZE, RingImage, USED, ram};

/// Not a whole number of sectors: the last bytes are out of the guest's reach.
pub(super) const DISK_LEN: usize = 32 * 512 + 100;

const READ_ONLY: u8 = 1;
const KNOWS_FLUSH: u8 = 2;
const EVENT_IDX: u8 = 4;

/// Serves the ring and checks what came of it.
pub fn run(bytes: &[u8]) {
    serve(bytes);
}

/// Gives the number of chains used, if the ring made sense, and the disk.
fn serve(bytes: &[u8]) -> (Option<u16>, Arc<MemoryDisk>) {
    let mut input = Input::new(bytes);
    let flags = input.u8();
    let begin = input.u16();
    let ram = ram(input.rest());
    let read_only = flags & READ_ONLY != 0;
    let disk = Arc::new(MemoryDisk::new(DISK_LEN, read_only));
    let features = if flags & KNOWS_FLUSH != 0 {
        1 << VIRTIO_BLK_F_FLUSH
    } else {
        0
    };
    let mut queue = queue(begin, flags & EVENT_IDX != 0);

    let shared: Arc<dyn Disk> = disk.clone();
    let grants = Grants::read(&ram);
    let used = process_queue(&mut queue, &ram, &shared, features);

    grants.check(&ram);
    if let Ok(used) = used {
        assert!(
            used <= RING_SIZE,
            "a ring of {RING_SIZE} gave {used} chains"
        );
        assert_eq!(queue.next_avail(), begin.wrapping_add(used));
        assert_eq!(queue.next_used(), used);
        if used > 0 {
            let index: u16 = ram
                .read_obj(GuestAddress(USED + 2))
                .expect("the ring is in RAM");
            assert_eq!(
                u16::from_le(index),
                used,
                "the driver was told something else"
            );
        }
    }
    assert!(
        !read_only || disk.is_fresh(),
        "a read-only disk was written to"
    );
    assert_eq!(disk.len(), DISK_LEN as u64);
    (used.ok(), disk)
}

fn queue(begin: u16, event_idx: bool) -> Queue {
    let mut queue = Queue::new(RING_SIZE).expect("a power of two");
    queue.set_desc_table_address(Some(DESCRIPTORS as u32), None);
    queue.set_avail_ring_address(Some(AVAILABLE as u32), None);
    queue.set_used_ring_address(Some(USED as u32), None);
    queue.set_event_idx(event_idx);
    queue.set_next_avail(begin);
    queue.set_ready(true);
    queue
}

/// The first 16 bytes of every request.
pub(super) fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    header
}

/// A range of a discard or write-zeroes.
fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(sectors.to_le_bytes());
    range.extend(flags.to_le_bytes());
    range
}

/// Requests of every kind, in chains of every form.
pub fn seeds() -> Vec<Vec<u8>> {
    let data = [0xa5; 1024];
    let requests: [(Vec<u8>, &[u8], &[u32]); 7] = [
        (header(VIRTIO_BLK_T_IN, 3), &[], &[512, 1024, 1]),
        (header(VIRTIO_BLK_T_OUT, 31), &data[..512], &[1]),
        (header(VIRTIO_BLK_T_OUT, 31), &data, &[1]),
        (header(VIRTIO_BLK_T_FLUSH, 0), &[], &[1]),
        (header(VIRTIO_BLK_T_GET_ID, 0), &[], &[20, 1]),
        (
            header(VIRTIO_BLK_T_DISCARD, 0),
            &[range(1, 2, 0), range(9, 3, 0)].concat(),
            &[1],
        ),
        (header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &range(4, 4, 1), &[1]),
    ];
    let mut seeds = Vec::new();
    let mut seed = |flags: u8, image: RingImage| {
        seeds.push([&[flags, 0, 0], &image.finish()[..]].concat());
    };
    for (header, data, writable) in &requests {
        let readable: Vec<&[u8]> = [&header[..], data]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        seed(KNOWS_FLUSH, RingImage::new().chain(&readable, writable));
        seed(
            EVENT_IDX,
            RingImage::new().indirect_chain(&readable, writable),
        );
        // A header in two pieces, and everything else in one.
        let pieces = [&header[..5], &[&header[5..], data].concat()];
        seed(
            READ_ONLY | KNOWS_FLUSH,
            RingImage::new().chain(&pieces, writable),
        );
    }
    let (read, write) = (&requests[0], &requests[1]);
    let several = RingImage::new()
        .chain(&[&read.0], read.2)
        .chain(&[&write.0, write.1], write.2)
        .indirect_chain(&[&read.0], read.2);
    seed(KNOWS_FLUSH | EVENT_IDX, several);
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_requests_that_are_carried_out() {
        let outcomes: Vec<_> = seeds().iter().map(|seed| serve(seed)).collect();
        assert!(outcomes.iter().all(|(used, _)| matches!(used, Some(1 | 3))));
        // A write, a discard and a write-zeroes in two forms each, and a write among several. The
        // other write reaches past the end.
        let changed = outcomes.iter().filter(|(_, disk)| !disk.is_fresh());
        assert_eq!(changed.count(), 7);
    }
}
