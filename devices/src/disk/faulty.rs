//! A disk that fails on demand and counts what else cannot be seen, for tests.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use vm_memory::VolatileSlice;

use super::{Disk, DiskError};

/// Passes everything on to another disk, or fails as the host would.
#[derive(Debug)]
pub(crate) struct FaultyDisk<D> {
    inner: D,
    /// The error of every operation; 0 for none.
    errno: AtomicI32,
    flushes: AtomicU64,
    unmaps: AtomicU64,
}

impl<D: Disk> FaultyDisk<D> {
    /// A disk that works so far.
    pub(crate) fn new(inner: D) -> Self {
        Self {
            inner,
            errno: AtomicI32::new(0),
            flushes: AtomicU64::new(0),
            unmaps: AtomicU64::new(0),
        }
    }

    /// From now on everything fails with `errno`; with 0, nothing any more.
    pub(crate) fn fail_with(&self, errno: i32) {
        self.errno.store(errno, Ordering::SeqCst);
    }

    /// How often it was flushed.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// How often zeroes were written that may give storage back.
    pub(crate) fn unmaps(&self) -> u64 {
        self.unmaps.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), DiskError> {
        match self.errno.load(Ordering::SeqCst) {
            0 => Ok(()),
            libc::EOPNOTSUPP => Err(DiskError::Unsupported),
            errno => Err(io::Error::from_raw_os_error(errno).into()),
        }
    }
}

impl<D: Disk> Disk for FaultyDisk<D> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_only(&self) -> bool {
        self.inner.read_only()
    }

    fn serial(&self) -> &str {
        self.inner.serial()
    }

    fn read_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        self.check()?;
        self.inner.read_at(offset, buffers)
    }

    fn write_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        self.check()?;
        self.inner.write_at(offset, buffers)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.check()?;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.inner.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check()?;
        self.inner.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), DiskError> {
        self.check()?;
        self.unmaps.fetch_add(may_unmap.into(), Ordering::SeqCst);
        self.inner.write_zeroes(offset, len, may_unmap)
    }
}
