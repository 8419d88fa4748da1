//! What every [`Disk`] must do, as a suite that each implementation's tests run.

use vm_memory::VolatileSlice;

use super::{Disk, DiskError, SECTOR_SIZE};

/// The smallest disk that the suite can work with.
pub(crate) const LEN_MIN: u64 = 1 << 20;

/// Ranges that lie outside of a disk of `len` bytes, or wrap around.
fn ranges_outside(len: u64) -> Vec<(u64, u64)> {
    vec![
        (len, 1),
        (len - 1, 2),
        (0, len + 1),
        (len + 1, 0),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (u64::MAX - 511, SECTOR_SIZE),
        (i64::MAX as u64, 1),
        (i64::MAX as u64 + 1, SECTOR_SIZE),
        (1, u64::MAX),
        (0, u64::MAX),
    ]
}

/// Reads `len` bytes.
pub(crate) fn read(disk: &dyn Disk, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
    let mut data = vec![0xaa; len];
    disk.read_at(offset, &[VolatileSlice::from(&mut data[..])])?;
    Ok(data)
}

/// Writes `data`.
pub(crate) fn write(disk: &dyn Disk, offset: u64, data: &[u8]) -> Result<(), DiskError> {
    disk.write_at(offset, &[VolatileSlice::from(&mut data.to_vec()[..])])
}

/// Bytes that differ from place to place, with a period that is no power of two.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 + 1).collect()
}

fn expect_out_of_range(result: Result<(), DiskError>, what: &str, range: (u64, u64)) {
    assert!(
        matches!(result, Err(DiskError::OutOfRange { .. })),
        "{what} {range:?}: {result:?}"
    );
}

/// Checks all of a writable disk. Its content is lost.
pub(crate) fn check_writable(disk: &dyn Disk) {
    assert!(!disk.read_only() && !disk.is_empty() && disk.len() >= LEN_MIN);
    assert!((1..=20).contains(&disk.serial().len()));
    assert_eq!(disk.len() % SECTOR_SIZE, 0);
    ranges_outside_change_nothing(disk);
    reads_and_writes_are_vectored_and_unaligned(disk);
    zeroes_are_zeroes_up_to_the_last_byte(disk);
    discards_stay_within_their_range(disk);
    disk.flush().unwrap();
}

/// Checks all of a read-only disk whose content is `content`.
pub(crate) fn check_read_only(disk: &dyn Disk, content: &[u8]) {
    assert!(disk.read_only());
    assert_eq!(disk.len(), content.len() as u64);
    for (offset, len) in [(0, 0), (0, 1), (u64::MAX, u64::MAX)] {
        for result in [
            disk.write_at(offset, &[VolatileSlice::from(&mut [0u8; 8][..])]),
            disk.discard(offset, len),
            disk.write_zeroes(offset, len, true),
            disk.write_zeroes(offset, len, false),
        ] {
            assert!(matches!(result, Err(DiskError::ReadOnly)), "{result:?}");
        }
    }
    disk.flush().unwrap();
    assert_eq!(read(disk, 0, content.len()).unwrap(), content);
}

fn ranges_outside_change_nothing(disk: &dyn Disk) {
    let len = disk.len();
    let tail = pattern(4096);
    write(disk, len - 4096, &tail).unwrap();
    for range @ (offset, len) in ranges_outside(len) {
        expect_out_of_range(disk.discard(offset, len), "discard", range);
        expect_out_of_range(disk.write_zeroes(offset, len, true), "zeroes", range);
        expect_out_of_range(disk.write_zeroes(offset, len, false), "zeroes", range);
        if let Ok(len @ 0..=4096) = usize::try_from(len) {
            expect_out_of_range(read(disk, offset, len).map(drop), "read", range);
            expect_out_of_range(write(disk, offset, &vec![0; len]), "write", range);
        }
    }
    let mut buffer = [0; 2 * SECTOR_SIZE as usize];
    let across_the_end = [VolatileSlice::from(&mut buffer[..])];
    let offset = len - SECTOR_SIZE;
    expect_out_of_range(
        disk.write_at(offset, &across_the_end),
        "write",
        (offset, 1024),
    );
    expect_out_of_range(
        disk.read_at(offset, &across_the_end),
        "read",
        (offset, 1024),
    );
    assert_eq!(read(disk, len - 4096, 4096).unwrap(), tail);
    assert_eq!(disk.len(), len);
    for offset in [0, 1, len] {
        assert!(read(disk, offset, 0).unwrap().is_empty());
        write(disk, offset, &[]).unwrap();
        disk.discard(offset, 0).unwrap();
        disk.write_zeroes(offset, 0, false).unwrap();
    }
}

fn reads_and_writes_are_vectored_and_unaligned(disk: &dyn Disk) {
    let data = pattern(3000);
    for offset in [0, 1, 511, 4095, disk.len() - 3000] {
        // More buffers than one system call takes, some of them empty.
        let mut source = data.clone();
        let pieces = source.chunks_mut(2).flat_map(|piece| [&mut [][..], piece]);
        let pieces: Vec<_> = pieces.map(VolatileSlice::from).collect();
        disk.write_at(offset, &pieces).unwrap();
        let mut back = vec![0; data.len()];
        let pieces: Vec<_> = back.chunks_mut(7).map(VolatileSlice::from).collect();
        disk.read_at(offset, &pieces).unwrap();
        assert_eq!(back, data, "at {offset}");
    }
}

fn zeroes_are_zeroes_up_to_the_last_byte(disk: &dyn Disk) {
    let data = pattern(256 << 10);
    for may_unmap in [false, true] {
        for (start, len) in [
            (512, 512),
            (4096, 4096),
            (1536, 100 << 10),
            (0, data.len()),
            (7, 9),
        ] {
            write(disk, 4096, &data).unwrap();
            disk.write_zeroes(4096 + start as u64, len as u64, may_unmap)
                .unwrap();
            let mut expected = data.clone();
            expected[start..start + len].fill(0);
            assert!(
                read(disk, 4096, data.len()).unwrap() == expected,
                "{start}+{len}"
            );
        }
    }
    disk.write_zeroes(disk.len() - 512, 512, true).unwrap();
    assert_eq!(read(disk, disk.len() - 512, 512).unwrap(), [0; 512]);
}

fn discards_stay_within_their_range(disk: &dyn Disk) {
    let data = pattern(64 << 10);
    for (start, len) in [(0, 512), (512, 512), (1536, 20 << 10), (4096, 8192)] {
        write(disk, 0, &data).unwrap();
        match disk.discard(start as u64, len as u64) {
            Ok(()) | Err(DiskError::Unsupported) => {}
            Err(error) => panic!("{error}"),
        }
        let after = read(disk, 0, data.len()).unwrap();
        assert!(after[..start] == data[..start] && after[start + len..] == data[start + len..]);
    }
}
