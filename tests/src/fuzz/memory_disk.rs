//! A disk without a file.

use std::sync::{Mutex, PoisonError};

use muster_devices::disk::{Disk, DiskError, check_range};
use vm_memory::{Bytes, VolatileSlice};

/// A disk whose bytes are in memory.
#[derive(Debug)]
pub(super) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    read_only: bool,
}

impl MemoryDisk {
    /// A disk of `len` bytes, none of them zero.
    pub fn new(len: usize, read_only: bool) -> Self {
        Self {
            bytes: Mutex::new(Self::fresh(len)),
            read_only,
        }
    }

    fn fresh(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251 + 1) as u8).collect()
    }

    /// Whether every byte is as it was at the beginning.
    pub fn is_fresh(&self) -> bool {
        self.with(|bytes| *bytes == Self::fresh(bytes.len()))
    }

    fn with<T>(&self, use_bytes: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        use_bytes(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The range `offset .. offset + len` as indices.
    fn range(&self, offset: u64, len: u64) -> Result<std::ops::Range<usize>, DiskError> {
        check_range(self.len(), offset, len)?;
        Ok(offset as usize..(offset + len) as usize)
    }

    fn writable_range(&self, offset: u64, len: u64) -> Result<std::ops::Range<usize>, DiskError> {
        if self.read_only {
            return Err(DiskError::ReadOnly);
        }
        self.range(offset, len)
    }
}

fn total(buffers: &[VolatileSlice<'_>]) -> u64 {
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

impl Disk for MemoryDisk {
    fn len(&self) -> u64 {
        self.with(|bytes| bytes.len() as u64)
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn serial(&self) -> &str {
        "fuzz"
    }

    fn read_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let range = self.range(offset, total(buffers))?;
        self.with(|bytes| {
            let mut rest = &bytes[range];
            for buffer in buffers {
                let (now, later) = rest.split_at(buffer.len());
                buffer.copy_from(now);
                rest = later;
            }
        });
        Ok(())
    }

    fn write_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let range = self.writable_range(offset, total(buffers))?;
        self.with(|bytes| {
            let mut rest = &mut bytes[range];
            for buffer in buffers {
                let (now, later) = rest.split_at_mut(buffer.len());
                buffer.read_slice(now, 0).expect("the lengths are equal");
                rest = later;
            }
        });
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.write_zeroes(offset, len, true)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<(), DiskError> {
        let range = self.writable_range(offset, len)?;
        self.with(|bytes| bytes[range].fill(0));
        Ok(())
    }
}
