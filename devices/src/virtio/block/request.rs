//! What the driver asks for, parsed from a chain's bytes.
//!
//! Layout: a header of 16 bytes (type, reserved, sector), then data to write or ranges; in the
//! writable part, data to read, then the status, which the caller has taken off already.
//!
//! Everything is copied out of guest RAM once and then checked: the guest may change it meanwhile.

use thiserror::Error;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};

use super::super::chain::GuestBytes;
use crate::disk::SECTOR_SIZE;

/// Ranges in one discard.
pub const DISCARD_SEGMENTS_MAX: usize = 32;
/// Sectors in one range of a discard: 2 GiB.
pub const DISCARD_SECTORS_MAX: u32 = 1 << 22;
/// Ranges in one write-zeroes.
pub const WRITE_ZEROES_SEGMENTS_MAX: usize = 1;
/// Sectors in one range of a write-zeroes: 64 MiB, as a host without holes in files has to write
/// all of them.
pub const WRITE_ZEROES_SECTORS_MAX: u32 = 1 << 17;

const HEADER_LEN: usize = 16;
const SEGMENT_LEN: usize = 16;

/// A request that cannot be carried out, whatever the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Fewer bytes than a header.
    #[error("the request has no complete header")]
    NoHeader,
    /// Data that this kind of request does not have.
    #[error("the request has data in the wrong direction")]
    Direction,
    /// Data to transfer is whole sectors, at least one.
    #[error("{len} bytes of data are no whole number of sectors")]
    DataLength {
        /// What the chain has.
        len: u32,
    },
    /// A sector number that no disk has.
    #[error("sector {sector} is out of range of any disk")]
    Sector {
        /// What the header or range says.
        sector: u64,
    },
    /// The list of ranges is empty, too long or has half an entry.
    #[error("{len} bytes are no valid list of ranges")]
    RangeList {
        /// Length of the list.
        len: u32,
    },
    /// A range is longer than the device allows.
    #[error("a range of {sectors} sectors is longer than allowed")]
    RangeLength {
        /// What the range says.
        sectors: u32,
    },
    /// Flags that this kind of request does not have.
    #[error("a range has unsupported flags {flags:#x}")]
    Flags {
        /// All flags.
        flags: u32,
    },
    /// A kind of request that was not offered.
    #[error("unsupported request type {0}")]
    Type(u32),
}

/// A request, well-formed but not yet compared with the disk.
pub enum Request<'a, 'ram> {
    /// Read from `offset` on.
    Read {
        /// In bytes.
        offset: u64,
        /// Where the data goes.
        data: GuestBytes<'a, 'ram>,
    },
    /// Write from `offset` on.
    Write {
        /// In bytes.
        offset: u64,
        /// What to write.
        data: GuestBytes<'a, 'ram>,
    },
    /// Make completed writes durable.
    Flush,
    /// Name the disk.
    GetId {
        /// Where the name goes.
        data: GuestBytes<'a, 'ram>,
    },
    /// Give storage back.
    Discard(Vec<Range>),
    /// Make ranges read as zeroes.
    WriteZeroes(Vec<Range>),
}

impl<'a, 'ram> Request<'a, 'ram> {
    /// Parses a chain's readable bytes, and its writable ones without the status.
    pub fn parse(
        mut readable: GuestBytes<'a, 'ram>,
        writable: GuestBytes<'a, 'ram>,
    ) -> Result<Self, RequestError> {
        let mut header = [0; HEADER_LEN];
        readable
            .take_front(&mut header)
            .ok_or(RequestError::NoHeader)?;
        let (kind, sector) = (u32_at(&header, 0), u64_at(&header, 8));
        let expect_empty = |bytes: &GuestBytes<'_, '_>| {
            if bytes.is_empty() {
                Ok(())
            } else {
                Err(RequestError::Direction)
            }
        };
        match kind {
            VIRTIO_BLK_T_IN => {
                expect_empty(&readable)?;
                check_data(&writable)?;
                Ok(Self::Read {
                    offset: to_bytes(sector)?,
                    data: writable,
                })
            }
            VIRTIO_BLK_T_GET_ID => {
                expect_empty(&readable)?;
                Ok(Self::GetId { data: writable })
            }
            VIRTIO_BLK_T_OUT => {
                expect_empty(&writable)?;
                check_data(&readable)?;
                Ok(Self::Write {
                    offset: to_bytes(sector)?,
                    data: readable,
                })
            }
            VIRTIO_BLK_T_FLUSH => {
                expect_empty(&readable)?;
                expect_empty(&writable)?;
                Ok(Self::Flush)
            }
            VIRTIO_BLK_T_DISCARD => {
                expect_empty(&writable)?;
                parse_ranges(readable, DISCARD_SEGMENTS_MAX, DISCARD_SECTORS_MAX, 0)
                    .map(Self::Discard)
            }
            VIRTIO_BLK_T_WRITE_ZEROES => {
                expect_empty(&writable)?;
                let (ranges, sectors) = (WRITE_ZEROES_SEGMENTS_MAX, WRITE_ZEROES_SECTORS_MAX);
                parse_ranges(
                    readable,
                    ranges,
                    sectors,
                    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
                )
                .map(Self::WriteZeroes)
            }
            kind => Err(RequestError::Type(kind)),
        }
    }
}

/// A range of a discard or write-zeroes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Storage may be given back.
    pub unmap: bool,
}

/// Parses all of `list`, so that nothing is carried out if any range is wrong.
fn parse_ranges(
    mut list: GuestBytes<'_, '_>,
    ranges_max: usize,
    sectors_max: u32,
    flags_allowed: u32,
) -> Result<Vec<Range>, RequestError> {
    let len = list.len();
    let count = len as usize / SEGMENT_LEN;
    if !(1..=ranges_max).contains(&count) || !(len as usize).is_multiple_of(SEGMENT_LEN) {
        return Err(RequestError::RangeList { len });
    }
    let mut ranges = Vec::with_capacity(count);
    let mut segment = [0; SEGMENT_LEN];
    while list.take_front(&mut segment).is_some() {
        let (sectors, flags) = (u32_at(&segment, 8), u32_at(&segment, 12));
        if flags & !flags_allowed != 0 {
            return Err(RequestError::Flags { flags });
        }
        if sectors > sectors_max {
            return Err(RequestError::RangeLength { sectors });
        }
        ranges.push(Range {
            offset: to_bytes(u64_at(&segment, 0))?,
            len: u64::from(sectors) * SECTOR_SIZE,
            unmap: flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0,
        });
    }
    Ok(ranges)
}

/// Data to transfer is whole sectors.
fn check_data(data: &GuestBytes<'_, '_>) -> Result<(), RequestError> {
    match data.len() {
        len if len != 0 && u64::from(len).is_multiple_of(SECTOR_SIZE) => Ok(()),
        len => Err(RequestError::DataLength { len }),
    }
}

fn to_bytes(sector: u64) -> Result<u64, RequestError> {
    sector
        .checked_mul(SECTOR_SIZE)
        .ok_or(RequestError::Sector { sector })
}

fn u32_at(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
