//! The initial RAM disk: copied as it is to the top of the RAM below the hole.

use std::io::{self, Seek};

use muster_devices::memory::GuestRam;
use thiserror::Error;
use vm_memory::{GuestAddress, ReadVolatile};

use super::image::Image;
use super::kernel::LoadedKernel;
use crate::layout::PAGE_SIZE;
use crate::memory::low_ram_end;

/// An initrd in guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadedInitrd {
    /// Its first byte, at the beginning of a page.
    pub start: GuestAddress,
    /// Length in bytes.
    pub len: u32,
}

/// An initrd that cannot be given to the guest.
#[derive(Debug, Error)]
pub enum InitrdError {
    /// The host could not read it, or it shrank meanwhile.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It does not fit beside the kernel.
    #[error(
        "it has {} KiB, but the guest's memory has only {} KiB left beside the kernel; \
         give the guest more memory",
        len.div_ceil(1024),
        room / 1024
    )]
    TooLarge {
        /// Bytes of the initrd.
        len: u64,
        /// Bytes that are left.
        room: u64,
    },
}

/// Copies an initrd to where `kernel` can use it.
pub fn load_initrd<F: ReadVolatile + Seek>(
    ram: &GuestRam,
    source: &mut F,
    kernel: &LoadedKernel,
) -> Result<LoadedInitrd, InitrdError> {
    let mut image = Image::new(source)?;
    let len = image.len();
    if len == 0 {
        return Err(InitrdError::Empty);
    }
    let bottom = kernel.end.0.next_multiple_of(PAGE_SIZE);
    let limit = low_ram_end(ram)
        .0
        .min(kernel.initrd_last.0.saturating_add(1));
    let room = (limit - limit % PAGE_SIZE).saturating_sub(bottom);
    let padded = len
        .checked_next_multiple_of(PAGE_SIZE)
        .filter(|padded| *padded <= room);
    let Some(padded) = padded else {
        return Err(InitrdError::TooLarge { len, room });
    };
    let start = GuestAddress(bottom + room - padded);
    image.copy_to_ram(0, len, ram, start)?;
    Ok(LoadedInitrd {
        start,
        len: len.try_into().expect("the hole is below 4 GiB"),
    })
}

#[cfg(test)]
mod tests;
