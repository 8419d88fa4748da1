//! Kernels: finding out what a file is, and loading it.
//!
//! The file is the user's, but need not be honest: every length and address in it is checked before
//! it is used, nothing is read that does not fit the guest's RAM, and the only allocations are
//! headers of bounded size.

use std::io::{self, Seek};

use linux_loader::bootparam::setup_header;
use muster_devices::memory::GuestRam;
use thiserror::Error;
use vm_memory::{GuestAddress, ReadVolatile};

use super::Protocol;
use super::image::Image;
use crate::layout::HIMEM_START;
use crate::memory::low_ram_end;

mod bzimage;
mod elf;
mod kind;

pub use elf::ElfError;
pub use kind::FileKind;

/// How much of the file's beginning the loaders get to see at once: all headers of common kernels.
const HEAD_LEN: u64 = 0x1000;

/// The longest command line of kernels that do not say (`COMMAND_LINE_SIZE` on x86, less the NUL).
const CMDLINE_LEN_MAX: u32 = 2047;

/// A kernel in guest RAM.
#[derive(Debug, Clone, Copy)]
pub struct LoadedKernel {
    /// Where and how execution begins.
    pub entry: KernelEntry,
    /// The first byte that neither the kernel's image nor its start-up uses.
    pub end: GuestAddress,
    /// The setup header of a bzImage.
    pub setup_header: Option<setup_header>,
    /// The longest command line the kernel takes, without the NUL.
    pub cmdline_len_max: u32,
    /// The last byte that an initrd may occupy.
    pub initrd_last: GuestAddress,
}

/// The kernel's first instruction, and the state it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelEntry {
    /// The 64-bit entry of the Linux boot protocol.
    Linux64(GuestAddress),
    /// The 32-bit entry of the PVH protocol.
    Pvh(GuestAddress),
}

/// A kernel that muster does not boot.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The host could not read it, or it shrank meanwhile.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error("it is {0}; give a bzImage (vmlinuz) or an uncompressed 64-bit ELF kernel (vmlinux)")]
    NotAKernel(FileKind),
    /// It ends before what its headers announce.
    #[error("the file is cut short: it should have at least {needed} bytes but has {len}")]
    Truncated {
        /// Bytes that the headers announce.
        needed: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// It runs on 32-bit processors.
    #[error("it is a 32-bit kernel; give one built for x86-64")]
    ThirtyTwoBit,
    /// A bzImage from before the 64-bit entry.
    #[error(
        "its boot protocol {}.{:02} is too old; give Linux 3.8 or newer",
        version >> 8,
        version & 0xff
    )]
    OldProtocol {
        /// Major and minor number, a byte each.
        version: u16,
    },
    /// It wants to be where boot data lies.
    #[error("it loads at {address:#x}, below 1 MiB, where the boot data is")]
    TooLow {
        /// Where it wants to be.
        address: u64,
    },
    /// It does not fit the RAM below the hole.
    #[error(
        "it needs memory up to {} MiB, but the guest has {} MiB there; give the guest more memory",
        end.div_ceil(1 << 20),
        ram_end >> 20
    )]
    TooLarge {
        /// Where it would end.
        end: u64,
        /// Where RAM ends.
        ram_end: u64,
    },
    /// The user asked for the PVH entry.
    #[error("it has no PVH entry point; use the Linux boot protocol")]
    NoPvhEntry,
    /// Its ELF headers make no sense.
    #[error("its ELF headers are not valid")]
    Elf(#[from] ElfError),
}

/// Loads a kernel of any supported format into `ram`, which must be fresh: memory that the file does
/// not cover, such as the kernel's `.bss`, is taken to be zero already.
pub fn load_kernel<F: ReadVolatile + Seek>(
    ram: &GuestRam,
    source: &mut F,
    protocol: Protocol,
) -> Result<LoadedKernel, KernelError> {
    let mut image = Image::new(source)?;
    if image.len() == 0 {
        return Err(KernelError::Empty);
    }
    let head = read_head(&mut image)?;
    match FileKind::of(&head) {
        FileKind::BzImage if protocol == Protocol::Pvh => Err(KernelError::NoPvhEntry),
        FileKind::BzImage => bzimage::load(ram, &mut image, &head),
        FileKind::Elf => elf::load(ram, &mut image, &head, protocol),
        other => Err(KernelError::NotAKernel(other)),
    }
}

/// Whether `source` is a Linux kernel: a bzImage, or an ELF file whose notes say so. Damaged files
/// are none; loading them tells what is wrong.
pub fn is_linux<F: ReadVolatile + Seek>(source: &mut F) -> io::Result<bool> {
    let mut image = Image::new(source)?;
    let head = read_head(&mut image)?;
    match FileKind::of(&head) {
        FileKind::BzImage => Ok(true),
        FileKind::Elf => match elf::is_linux(&mut image, &head) {
            Ok(linux) => Ok(linux),
            Err(KernelError::Read(error)) => Err(error),
            Err(_) => Ok(false),
        },
        _ => Ok(false),
    }
}

fn read_head<F: ReadVolatile + Seek>(image: &mut Image<'_, F>) -> io::Result<Vec<u8>> {
    let mut head = vec![0; image.len().min(HEAD_LEN) as usize];
    image.read_at(0, &mut head)?;
    Ok(head)
}

/// Checks that `start .. start + len` lies in RAM from 1 MiB up to the hole, and returns its end.
fn check_placement(ram: &GuestRam, start: u64, len: u64) -> Result<u64, KernelError> {
    if start < HIMEM_START.0 {
        return Err(KernelError::TooLow { address: start });
    }
    let ram_end = low_ram_end(ram).0;
    match start.checked_add(len) {
        Some(end) if end <= ram_end => Ok(end),
        end => Err(KernelError::TooLarge {
            end: end.unwrap_or(u64::MAX),
            ram_end,
        }),
    }
}

#[cfg(test)]
pub(super) mod tests;
