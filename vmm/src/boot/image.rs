//! A kernel or initrd as the loaders read it.
//!
//! Headers go to small buffers of ours, everything else straight into guest RAM in reads as large
//! as a segment: copies through a buffer, or page by page, would be the largest part of a boot.

use std::io::{self, Seek, SeekFrom};

use muster_devices::memory::GuestRam;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, ReadVolatile, VolatileMemoryError, VolatileSlice,
};

/// A source of known length. Its content is not trusted, and may shrink while it is read.
pub(super) struct Image<'a, F> {
    source: &'a mut F,
    len: u64,
}

impl<'a, F: ReadVolatile + Seek> Image<'a, F> {
    /// Finds out how long `source` is.
    pub(super) fn new(source: &'a mut F) -> io::Result<Self> {
        let len = source.seek(SeekFrom::End(0))?;
        Ok(Self { source, len })
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset`.
    pub(super) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.fill(offset, &mut VolatileSlice::from(buffer))
    }

    /// Copies `len` bytes from `offset` to `target` in guest RAM, where the caller has made sure
    /// that there is room.
    pub(super) fn copy_to_ram(
        &mut self,
        offset: u64,
        len: u64,
        ram: &GuestRam,
        target: GuestAddress,
    ) -> io::Result<()> {
        let mut slice = ram
            .get_slice(target, len as usize)
            .map_err(io::Error::other)?;
        self.fill(offset, &mut slice)
    }

    fn fill(&mut self, offset: u64, target: &mut VolatileSlice<'_>) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(offset))?;
        self.source
            .read_exact_volatile(target)
            .map_err(|error| match error {
                VolatileMemoryError::IOError(error) => error,
                other => io::Error::other(other),
            })
    }
}
