use std::io::Write;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::NamedTempFile;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_SCSI_CMD, VIRTIO_BLK_T_WRITE_ZEROES,
};
use vm_memory::{Bytes, GuestAddress};

use super::super::driver::{
    AVAILABLE, Buffer, DATA, DESCRIPTORS, Driver, Interrupts, RAM_LEN, SEAM, USED, eventually, ram,
    resources,
};
use super::*;
use crate::disk::faulty::FaultyDisk;
use crate::disk::raw::{RawDisk, RawDiskSpec};

const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPP: u8 = VIRTIO_BLK_S_UNSUPP as u8;

const SECTOR: usize = SECTOR_SIZE as usize;
const SECTORS: u64 = 64;
const DISK_LEN: usize = SECTORS as usize * SECTOR;
const FLUSH: u64 = 1 << VIRTIO_BLK_F_FLUSH;

/// A status that no device writes.
const NO_STATUS: u8 = 0xee;
/// Where requests keep what the device writes.
const IN: u64 = SEAM;

type Faulty = FaultyDisk<RawDisk>;

fn disk(read_only: bool) -> Arc<Faulty> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&content()).unwrap();
    let spec = RawDiskSpec {
        read_only,
        serial: Some("serial-0".into()),
    };
    Arc::new(FaultyDisk::new(RawDisk::open(file.path(), &spec).unwrap()))
}

fn content() -> Vec<u8> {
    (0..DISK_LEN).map(|at| (at % 251) as u8).collect()
}

/// What came back from a request.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u8,
    used_len: u32,
    data: Vec<u8>,
}

/// A guest that makes one request after the other.
struct Guest {
    ram: GuestRam,
    disk: Arc<Faulty>,
    features: u64,
}

impl Guest {
    fn new() -> Self {
        Self {
            ram: ram(),
            disk: disk(false),
            features: FLUSH,
        }
    }

    fn read_only() -> Self {
        Self {
            disk: disk(true),
            ..Self::new()
        }
    }

    /// Has `readable`, cut as given, and `room` for data and the status carried out.
    fn submit(&self, readable: &[u8], room: usize, cuts: &[usize], indirect: bool) -> Answer {
        self.ram.write_slice(readable, GuestAddress(DATA)).unwrap();
        self.ram
            .write_slice(&vec![NO_STATUS; room + 1], GuestAddress(IN))
            .unwrap();
        let mut buffers = cut(DATA, readable.len(), cuts, Buffer::readable);
        buffers.extend(cut(IN, room + 1, cuts, Buffer::writable));
        let mut driver = Driver::new(&self.ram, QUEUE_SIZES[0]);
        driver.write(AVAILABLE + 2, 0);
        driver.write(USED + 2, 0);
        let head = if indirect {
            driver.submit_indirect(&buffers)
        } else {
            driver.submit(&buffers)
        };
        assert_eq!(self.process(&mut driver.queue()).unwrap(), 1);
        let (used_head, used_len) = driver.take_used().unwrap();
        assert_eq!(used_head, head);
        let mut data = vec![0; room + 1];
        self.ram.read_slice(&mut data, GuestAddress(IN)).unwrap();
        Answer {
            status: data.pop().unwrap(),
            used_len,
            data,
        }
    }

    fn process(&self, queue: &mut Queue) -> Result<u16, RingError> {
        let disk: Arc<dyn Disk> = self.disk.clone();
        process_queue(queue, &self.ram, &disk, self.features)
    }

    /// A request in three descriptors, as most drivers make it.
    fn request(&self, kind: u32, sector: u64, out: &[u8], room: usize) -> Answer {
        let readable = [&header(kind, sector)[..], out].concat();
        self.submit(&readable, room, &[16, room], false)
    }

    fn read(&self, sector: u64, sectors: usize) -> Answer {
        self.request(VIRTIO_BLK_T_IN, sector, &[], sectors * SECTOR)
    }

    fn status(&self, kind: u32, sector: u64, out: &[u8]) -> u8 {
        let answer = self.request(kind, sector, out, 0);
        assert_eq!(answer.used_len, 1);
        answer.status
    }
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0xbb; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [
        &sector.to_le_bytes()[..],
        &sectors.to_le_bytes(),
        &flags.to_le_bytes(),
    ]
    .concat()
}

/// `len` bytes at `address`, in buffers that are cut at those places that lie within.
fn cut(address: u64, len: usize, cuts: &[usize], make: fn(u64, u32) -> Buffer) -> Vec<Buffer> {
    let mut ends: Vec<usize> = cuts
        .iter()
        .copied()
        .filter(|cut| (1..len).contains(cut))
        .collect();
    ends.extend([len]);
    ends.sort_unstable();
    ends.dedup();
    let starts = [0].into_iter().chain(ends.clone());
    let ranges = starts.zip(&ends).filter(|(start, end)| start < *end);
    ranges
        .map(|(start, end)| make(address + start as u64, (end - start) as u32))
        .collect()
}

#[test]
fn data_goes_both_ways() {
    let guest = Guest::new();
    let answer = guest.read(3, 2);
    assert_eq!(
        (answer.status, answer.used_len),
        (OK, 2 * SECTOR as u32 + 1)
    );
    assert_eq!(answer.data, content()[3 * SECTOR..5 * SECTOR]);
    let data = vec![7; 3 * SECTOR];
    assert_eq!(guest.status(VIRTIO_BLK_T_OUT, SECTORS - 3, &data), OK);
    assert_eq!(guest.status(VIRTIO_BLK_T_FLUSH, 0, &[]), OK);
    assert_eq!(guest.read(SECTORS - 3, 3).data, data);
}

#[test]
fn the_disk_is_named() {
    let guest = Guest::new();
    let name = |room| guest.request(VIRTIO_BLK_T_GET_ID, 0, &[], room);
    let padded = b"serial-0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(
        name(20),
        Answer {
            status: OK,
            used_len: 21,
            data: padded.to_vec()
        }
    );
    assert_eq!(
        name(3),
        Answer {
            status: OK,
            used_len: 4,
            data: b"ser".to_vec()
        }
    );
    let long = name(30);
    assert_eq!(
        (long.status, long.used_len),
        (OK, 20),
        "there is a gap before the status"
    );
    assert_eq!((&long.data[..20], long.data[20]), (&padded[..], NO_STATUS));
}

#[test]
fn ranges_are_zeroed_and_discarded() {
    let guest = Guest::new();
    for unmap in [0, 1] {
        assert_eq!(guest.status(VIRTIO_BLK_T_OUT, 0, &content()), OK);
        assert_eq!(
            guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(5, 20, unmap)),
            OK
        );
        let mut expected = content();
        expected[5 * SECTOR..25 * SECTOR].fill(0);
        assert_eq!(guest.read(0, SECTORS as usize).data, expected);
        assert_eq!(guest.disk.unmaps(), u64::from(unmap));
    }
    let ranges = [range(0, 16, 0), range(32, 8, 0)].concat();
    assert_eq!(guest.status(VIRTIO_BLK_T_DISCARD, 0, &ranges), OK);
    assert_eq!(guest.read(40, 24).data, content()[40 * SECTOR..]);
}

#[test]
fn what_is_out_of_range_fails_and_changes_nothing() {
    let guest = Guest::new();
    let sector = vec![9; SECTOR];
    for at in [
        SECTORS,
        SECTORS + 1,
        u64::MAX / 512,
        u64::MAX / 512 + 1,
        u64::MAX,
    ] {
        let answer = guest.read(at, 1);
        assert_eq!(
            (answer.status, answer.used_len),
            (IOERR, 0),
            "sector {at:#x}"
        );
        assert!(answer.data.iter().all(|byte| *byte == NO_STATUS));
        assert_eq!(guest.status(VIRTIO_BLK_T_OUT, at, &sector), IOERR);
        assert_eq!(
            guest.status(VIRTIO_BLK_T_DISCARD, 0, &range(at, 1, 0)),
            IOERR
        );
        assert_eq!(
            guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(at, 1, 0)),
            IOERR
        );
    }
    let across = vec![9; 2 * SECTOR];
    assert_eq!(guest.status(VIRTIO_BLK_T_OUT, SECTORS - 1, &across), IOERR);
    let across = range(SECTORS - 1, 2, 0);
    assert_eq!(guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &across), IOERR);
    assert_eq!(guest.read(0, SECTORS as usize).data, content());
}

#[test]
fn a_read_only_disk_does_not_change() {
    let guest = Guest::read_only();
    assert_eq!(guest.status(VIRTIO_BLK_T_OUT, 0, &[1; SECTOR]), IOERR);
    for unmap in [0, 1] {
        assert_eq!(
            guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(0, 1, unmap)),
            IOERR
        );
    }
    assert_eq!(
        guest.status(VIRTIO_BLK_T_DISCARD, 0, &range(0, 8, 0)),
        IOERR
    );
    assert_eq!(guest.status(VIRTIO_BLK_T_FLUSH, 0, &[]), OK);
    assert_eq!(guest.read(0, SECTORS as usize).data, content());
}

#[test]
fn a_failing_host_is_an_io_error_and_life_goes_on() {
    let guest = Guest::new();
    for (errno, expected) in [
        (libc::ENOSPC, IOERR),
        (libc::EIO, IOERR),
        (libc::EOPNOTSUPP, UNSUPP),
    ] {
        guest.disk.fail_with(errno);
        let answer = guest.read(0, 1);
        assert_eq!((answer.status, answer.used_len), (expected, 0));
        assert_eq!(guest.status(VIRTIO_BLK_T_OUT, 0, &[1; SECTOR]), expected);
        assert_eq!(guest.status(VIRTIO_BLK_T_FLUSH, 0, &[]), expected);
        assert_eq!(
            guest.status(VIRTIO_BLK_T_DISCARD, 0, &range(0, 8, 0)),
            expected
        );
        assert_eq!(
            guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(0, 8, 0)),
            expected
        );
        guest.disk.fail_with(0);
        assert_eq!(guest.read(0, SECTORS as usize).data, content());
    }
}

#[test]
fn unknown_requests_and_flags_are_unsupported() {
    let guest = Guest::new();
    for kind in [VIRTIO_BLK_T_SCSI_CMD, 3, 14, 1 << 31, u32::MAX] {
        assert_eq!(guest.status(kind, 0, &[]), UNSUPP, "type {kind}");
    }
    for flags in [1, 2, u32::MAX] {
        assert_eq!(
            guest.status(VIRTIO_BLK_T_DISCARD, 0, &range(0, 8, flags)),
            UNSUPP
        );
    }
    for flags in [2, 3, u32::MAX] {
        assert_eq!(
            guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(0, 8, flags)),
            UNSUPP
        );
    }
    // One bad range spoils all.
    let ranges = [range(0, 8, 0), range(8, 8, 1)].concat();
    assert_eq!(guest.status(VIRTIO_BLK_T_DISCARD, 0, &ranges), UNSUPP);
    assert_eq!(guest.read(0, SECTORS as usize).data, content());
}

#[test]
fn malformed_requests_are_io_errors() {
    let guest = Guest::new();
    for len in [1, 511, 513] {
        assert_eq!(guest.status(VIRTIO_BLK_T_OUT, 0, &vec![1; len]), IOERR);
        assert_eq!(guest.request(VIRTIO_BLK_T_IN, 0, &[], len).status, IOERR);
    }
    assert_eq!(guest.status(VIRTIO_BLK_T_OUT, 0, &[]), IOERR);
    assert_eq!(guest.status(VIRTIO_BLK_T_IN, 0, &[]), IOERR);
    assert_eq!(
        guest
            .request(VIRTIO_BLK_T_IN, 0, &[0; SECTOR], SECTOR)
            .status,
        IOERR
    );
    assert_eq!(
        guest
            .request(VIRTIO_BLK_T_OUT, 0, &[0; SECTOR], SECTOR)
            .status,
        IOERR
    );
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[0], 0).status, IOERR);
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[], 1).status, IOERR);
    assert_eq!(
        guest.request(VIRTIO_BLK_T_GET_ID, 0, &[0], 20).status,
        IOERR
    );
    assert_eq!(
        guest
            .request(VIRTIO_BLK_T_DISCARD, 0, &range(0, 8, 0), 1)
            .status,
        IOERR
    );
    for ranges in [0, 1, 15, 17, 16 * (DISCARD_SEGMENTS_MAX + 1)] {
        assert_eq!(
            guest.status(VIRTIO_BLK_T_DISCARD, 0, &vec![0; ranges]),
            IOERR,
            "{ranges}"
        );
    }
    assert_eq!(
        guest.status(VIRTIO_BLK_T_DISCARD, 0, &[0; 16 * DISCARD_SEGMENTS_MAX]),
        OK
    );
    assert_eq!(guest.status(VIRTIO_BLK_T_WRITE_ZEROES, 0, &[0; 32]), IOERR);
    let short = guest.submit(&header(VIRTIO_BLK_T_FLUSH, 0)[..15], 0, &[], false);
    assert_eq!((short.status, short.used_len), (IOERR, 1));
    assert_eq!(guest.read(0, SECTORS as usize).data, content());
}

#[test]
fn ranges_have_a_longest_length() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4 << 30).unwrap();
    let disk = RawDisk::open(file.path(), &RawDiskSpec::default()).unwrap();
    let guest = Guest {
        disk: Arc::new(FaultyDisk::new(disk)),
        ..Guest::new()
    };
    for (kind, max) in [
        (VIRTIO_BLK_T_DISCARD, DISCARD_SECTORS_MAX),
        (VIRTIO_BLK_T_WRITE_ZEROES, WRITE_ZEROES_SECTORS_MAX),
    ] {
        assert_eq!(guest.status(kind, 0, &range(0, max, 0)), OK);
        assert_eq!(guest.status(kind, 0, &range(0, max + 1, 0)), IOERR);
        assert_eq!(guest.status(kind, 0, &range(0, u32::MAX, 0)), IOERR);
    }
}

#[test]
fn a_request_without_room_for_its_status_is_dropped() {
    let guest = Guest::new();
    guest
        .ram
        .write_slice(&header(VIRTIO_BLK_T_OUT, 0), GuestAddress(DATA))
        .unwrap();
    let mut driver = Driver::new(&guest.ram, QUEUE_SIZES[0]);
    let head = driver.submit(&[Buffer::readable(DATA, 16 + SECTOR as u32)]);
    assert_eq!(guest.process(&mut driver.queue()).unwrap(), 1);
    assert_eq!(driver.take_used(), Some((head, 0)));
    assert_eq!(guest.read(0, 1).data, content()[..SECTOR]);
}

#[test]
fn a_driver_without_flushes_gets_durable_writes() {
    for (features, expected) in [(FLUSH, 0), (0, 2)] {
        let guest = Guest {
            features,
            ..Guest::new()
        };
        let mut driver = Driver::new(&guest.ram, QUEUE_SIZES[0]);
        let requests = [
            [&header(VIRTIO_BLK_T_OUT, 0)[..], &[1; SECTOR]].concat(),
            [&header(VIRTIO_BLK_T_WRITE_ZEROES, 0)[..], &range(0, 1, 0)].concat(),
            [&header(VIRTIO_BLK_T_DISCARD, 0)[..], &range(0, 1, 0)].concat(),
        ];
        for (at, request) in (DATA..).step_by(0x1000).zip(&requests) {
            guest.ram.write_slice(request, GuestAddress(at)).unwrap();
            let readable = Buffer::readable(at, request.len() as u32);
            driver.submit(&[readable, Buffer::writable(IN, 1)]);
        }
        assert_eq!(guest.process(&mut driver.queue()).unwrap(), 3);
        assert_eq!(guest.disk.flushes(), expected, "features {features:#x}");
    }
}

#[test]
fn configuration_tells_size_and_limits() {
    let writable = Block::new(disk(false));
    let mut capacity = [0; 8];
    writable.read_config(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), SECTORS);
    let field = |at: usize| {
        let mut data = [0; 4];
        writable.read_config(at as u64, &mut data);
        u32::from_le_bytes(data)
    };
    // The offsets are those of the specification's struct virtio_blk_config.
    assert_eq!(field(12), 254, "seg_max");
    assert_eq!(field(36), DISCARD_SECTORS_MAX);
    assert_eq!(field(40), 32, "max_discard_seg");
    assert_eq!(field(44), 8, "discard_sector_alignment");
    assert_eq!(field(48), WRITE_ZEROES_SECTORS_MAX);
    assert_eq!(field(52), 1, "max_write_zeroes_seg");
    assert_eq!(field(56), 1, "write_zeroes_may_unmap");
    let writes = 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
    let read_only = Block::new(disk(true));
    assert_eq!(writable.features() & writes, writes);
    assert_eq!(writable.features() & 1 << VIRTIO_BLK_F_RO, 0);
    assert_eq!(read_only.features() & writes, 0);
    assert_ne!(read_only.features() & 1 << VIRTIO_BLK_F_RO, 0);
}

#[test]
fn a_device_serves_its_queue_until_it_is_stopped() {
    let (ram, interrupts) = (ram(), Arc::<Interrupts>::default());
    let mut driver = Driver::new(&ram, QUEUE_SIZES[0]);
    let mut block = Block::new(disk(false));
    let (resources, kick) = resources(driver.queue(), &ram, &interrupts, FLUSH);
    block.start_queue(0, resources, None).unwrap();
    for sector in 0..SECTORS {
        ram.write_slice(&header(VIRTIO_BLK_T_IN, sector), GuestAddress(DATA))
            .unwrap();
        let data = [
            Buffer::writable(IN, SECTOR as u32),
            Buffer::writable(IN + 4096, 1),
        ];
        driver.submit(&[Buffer::readable(DATA, 16), data[0], data[1]]);
        kick.write(1).unwrap();
        eventually("a sector is read", || driver.take_used().is_some());
        let mut read = [0; SECTOR];
        ram.read_slice(&mut read, GuestAddress(IN)).unwrap();
        assert_eq!(read, content()[sector as usize * SECTOR..][..SECTOR]);
    }
    let stopped = QueueState {
        next_avail: SECTORS as u16,
        next_used: SECTORS as u16,
    };
    assert_eq!(block.stop_queue(0), Some(stopped));
    assert_eq!(block.stop_queue(0), None);
    assert_eq!(interrupts.used_buffers.load(Ordering::SeqCst), SECTORS);
}

#[test]
fn the_disk_is_free_again_once_the_device_is_gone() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    let open = || RawDisk::open(file.path(), &RawDiskSpec::default());
    let ram = ram();
    let mut block = Block::new(Arc::new(open().unwrap()));
    let (resources, _kick) = resources(
        Driver::new(&ram, QUEUE_SIZES[0]).queue(),
        &ram,
        &Arc::default(),
        0,
    );
    block.start_queue(0, resources, None).unwrap();
    assert!(open().is_err());
    drop(block);
    open().unwrap();
}

/// One operation of the reference model.
#[derive(Debug, Clone)]
enum Operation {
    Read {
        sector: u64,
        sectors: usize,
    },
    Write {
        sector: u64,
        data: Vec<u8>,
    },
    Zero {
        sector: u64,
        sectors: u32,
        unmap: bool,
    },
    Flush,
}

fn operation() -> impl Strategy<Value = Operation> {
    let sector = 0..SECTORS + 4;
    prop_oneof![
        (sector.clone(), 1usize..20)
            .prop_map(|(sector, sectors)| Operation::Read { sector, sectors }),
        (sector.clone(), 1usize..20, 1u8..).prop_map(|(sector, sectors, seed)| {
            let data = (0..sectors * SECTOR)
                .map(|at| (at as u8).wrapping_mul(seed))
                .collect();
            Operation::Write { sector, data }
        }),
        (sector, 0u32..40, any::<bool>()).prop_map(|(sector, sectors, unmap)| Operation::Zero {
            sector,
            sectors,
            unmap
        }),
        Just(Operation::Flush),
    ]
}

/// The bytes of the model that an operation is about, if the disk has them.
fn part(model: &mut [u8], sector: u64, len: usize) -> Option<&mut [u8]> {
    let start = usize::try_from(sector).ok()?.checked_mul(SECTOR)?;
    model.get_mut(start..start.checked_add(len)?)
}

proptest! {
    #[test]
    fn a_disk_is_a_row_of_bytes_whatever_the_descriptors(
        operations in vec((operation(), vec(any::<Index>(), 0..6), any::<bool>()), 1..30),
    ) {
        let guest = Guest::new();
        let mut model = content();
        for (operation, cuts, indirect) in operations {
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(20 * SECTOR)).collect();
            let submit = |kind, sector, out: &[u8], room| {
                let readable = [&header(kind, sector)[..], out].concat();
                guest.submit(&readable, room, &cuts, indirect)
            };
            let (answer, expected) = match operation {
                Operation::Read { sector, sectors } => {
                    let answer = submit(VIRTIO_BLK_T_IN, sector, &[], sectors * SECTOR);
                    let expected = part(&mut model, sector, sectors * SECTOR);
                    if let Some(expected) = &expected {
                        prop_assert!(answer.data == **expected);
                        prop_assert_eq!(answer.used_len as usize, expected.len() + 1);
                    }
                    (answer, expected.is_some())
                }
                Operation::Write { sector, data } => {
                    let answer = submit(VIRTIO_BLK_T_OUT, sector, &data, 0);
                    let changed = part(&mut model, sector, data.len());
                    (answer, changed.map(|part| part.copy_from_slice(&data)).is_some())
                }
                Operation::Zero { sector, sectors, unmap } => {
                    let list = range(sector, sectors, unmap.into());
                    let answer = submit(VIRTIO_BLK_T_WRITE_ZEROES, 0, &list, 0);
                    let changed = part(&mut model, sector, sectors as usize * SECTOR);
                    (answer, changed.map(|part| part.fill(0)).is_some())
                }
                Operation::Flush => (submit(VIRTIO_BLK_T_FLUSH, 0, &[], 0), true),
            };
            prop_assert_eq!(answer.status, if expected { OK } else { IOERR });
        }
        let all = guest.read(0, SECTORS as usize);
        prop_assert!(all.data == model, "the disk is not what the model says");
    }

    #[test]
    fn random_chains_and_rings_do_no_harm(
        descriptors in vec((0..RAM_LEN + 64, 0u32..3000, 0u16..8, 0u16..12), 10),
        headers in vec((0u32..16, 0..SECTORS + 2), 4),
        heads in vec(0u16..12, 0..8),
        noise in vec(any::<u8>(), 0..64),
        noise_at in 0..RAM_LEN - 64,
    ) {
        use virtio_queue::desc::split::Descriptor;
        let guest = Guest::new();
        let mut driver = Driver::new(&guest.ram, QUEUE_SIZES[0]);
        for (at, (kind, sector)) in (DATA..).step_by(16).zip(headers) {
            guest.ram.write_slice(&header(kind, sector), GuestAddress(at)).unwrap();
        }
        for (index, (address, len, flags, next)) in (0..).zip(descriptors) {
            // Often enough a header, and often enough in RAM.
            let address = if len % 3 == 0 { DATA + address % 64 / 16 * 16 } else { address };
            driver.write_descriptor(DESCRIPTORS, index, Descriptor::new(address, len, flags, next));
        }
        for head in heads {
            driver.offer(head);
        }
        guest.ram.write_slice(&noise, GuestAddress(noise_at)).unwrap();
        let _ = guest.process(&mut driver.queue());
        prop_assert_eq!(guest.disk.len(), DISK_LEN as u64);
    }
}
