//! Disks: what stores the bytes behind a block device.
//!
//! Formats and wrappers are all [`Disk`]s and pass one conformance suite (`disk/conformance.rs`).

use std::fmt::Debug;
use std::io;

use thiserror::Error;
use vm_memory::VolatileSlice;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod faulty;
mod lock;
pub mod raw;

/// Bytes in a sector, the unit of virtio-blk addresses whatever the disk's block size.
pub const SECTOR_SIZE: u64 = 512;

/// A request that a disk did not carry out.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The range reaches past the end, or its end does not fit 64 bits.
    #[error("{len} bytes at offset {offset} reach past the end of the disk")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// A write, discard or write-zeroes on a read-only disk.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk has no such operation; the guest was not offered it or must do without.
    #[error("the disk does not support this operation")]
    Unsupported,
    /// The host failed: an I/O error, or no space left.
    #[error("host I/O failed")]
    Io(#[from] io::Error),
}

/// A virtual disk.
///
/// Called by several queue workers at once. All offsets and lengths are in bytes. No method panics
/// for any offset or length; a range that reaches past [`len`](Disk::len) gives
/// [`DiskError::OutOfRange`] and changes nothing. Data buffers are guest memory: their content may
/// change while they are read.
pub trait Disk: Send + Sync + Debug {
    /// Size in bytes. May grow while the disk is in use.
    fn len(&self) -> u64;

    /// Whether the disk has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether writes are refused.
    fn read_only(&self) -> bool;

    /// Up to 20 bytes that name the disk to the guest (virtio's get-id).
    fn serial(&self) -> &str;

    /// Reads from `offset` into all of `buffers`, in order. Never a short read: all or an error.
    fn read_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError>;

    /// Writes all of `buffers`, in order, from `offset` on. Not durable before [`flush`](Disk::flush).
    fn write_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError>;

    /// Returns when every write that had completed before the call is durable.
    fn flush(&self) -> Result<(), DiskError>;

    /// Gives the range's storage back to the host; its content is undefined afterwards.
    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError>;

    /// Makes the range read as zeroes. With `may_unmap` its storage may be given back.
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), DiskError>;
}

/// Checks that `offset .. offset + len` lies within a disk of `disk_len` bytes.
pub fn check_range(disk_len: u64, offset: u64, len: u64) -> Result<(), DiskError> {
    match offset.checked_add(len) {
        Some(end) if end <= disk_len => Ok(()),
        _ => Err(DiskError::OutOfRange { offset, len }),
    }
}

/// The length of all `buffers` together.
pub fn total_len(buffers: &[VolatileSlice<'_>]) -> u64 {
    // Buffers may overlap, so their sum has no natural bound.
    buffers
        .iter()
        .fold(0, |sum, buffer| sum.saturating_add(buffer.len() as u64))
}
