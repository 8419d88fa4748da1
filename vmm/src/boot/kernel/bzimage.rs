//! bzImage: a compressed Linux kernel behind a setup header.
//!
//! The kernel is entered at its 64-bit entry point, behind all real-mode code: the page tables,
//! memory map and command line that this code would gather come with the zero page instead.
//!
//! Source: The Linux/x86 Boot Protocol, Documentation/arch/x86/boot.rst in Linux.

use std::io::Seek;

use linux_loader::bootparam::setup_header;
use muster_devices::memory::GuestRam;
use vm_memory::{ByteValued, GuestAddress, ReadVolatile};

use super::{KernelEntry, KernelError, LoadedKernel, check_placement};
use crate::boot::image::Image;

/// Where the setup header begins in the file, and in the zero page.
const HEADER: usize = 0x1f1;
/// The byte whose value, counted from `HEADER_END_BASE`, is the end of the header.
const HEADER_END_BYTE: usize = 0x201;
const HEADER_END_BASE: usize = 0x202;
/// Size of a sector, the unit of `setup_sects`.
const SECTOR: u64 = 512;
/// The unit of `syssize`.
const PARAGRAPH: u64 = 16;
/// The protocol that introduced `xloadflags`, 2.12.
const PROTOCOL_64BIT: u16 = 0x020c;
/// `loadflags`: the kernel proper loads at 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// `xloadflags`: there is a 64-bit entry point.
const XLF_KERNEL_64: u16 = 1;
/// Where the 64-bit entry point is, from the load address.
const ENTRY_64: u64 = 0x200;

/// Loads the bzImage whose first bytes are `head`.
pub(super) fn load<F: ReadVolatile + Seek>(
    ram: &GuestRam,
    image: &mut Image<'_, F>,
    head: &[u8],
) -> Result<LoadedKernel, KernelError> {
    let header = read_header(head, image.len())?;
    // Copies: the fields of a packed structure cannot be borrowed.
    let (version, loadflags, xloadflags) = (header.version, header.loadflags, header.xloadflags);
    if loadflags & LOADED_HIGH == 0 {
        return Err(KernelError::ThirtyTwoBit);
    }
    if version < PROTOCOL_64BIT {
        return Err(KernelError::OldProtocol { version });
    }
    if xloadflags & XLF_KERNEL_64 == 0 {
        return Err(KernelError::ThirtyTwoBit);
    }

    let setup_sectors = if header.setup_sects == 0 {
        4
    } else {
        u64::from(header.setup_sects)
    };
    let offset = (setup_sectors + 1) * SECTOR;
    // Signed kernels have more after it.
    let len = u64::from(header.syssize) * PARAGRAPH;
    let needed = offset + len;
    if needed > image.len() || len <= ENTRY_64 {
        return Err(KernelError::Truncated {
            needed: needed.max(offset + ENTRY_64 + 1),
            len: image.len(),
        });
    }

    // The decompressor works in place: from here on it needs `init_size` bytes.
    let start = header.pref_address;
    let end = check_placement(ram, start, len.max(u64::from(header.init_size)))?;
    image.copy_to_ram(offset, len, ram, GuestAddress(start))?;

    Ok(LoadedKernel {
        entry: KernelEntry::Linux64(GuestAddress(start + ENTRY_64)),
        end: GuestAddress(end),
        cmdline_len_max: header.cmdline_size,
        initrd_last: GuestAddress(u64::from(header.initrd_addr_max)),
        setup_header: Some(header),
    })
}

/// The setup header, as far as this kernel's is long; fields it does not know are zero.
fn read_header(head: &[u8], file_len: u64) -> Result<setup_header, KernelError> {
    let mut header = setup_header::default();
    let truncated = |end: usize| KernelError::Truncated {
        needed: end as u64,
        len: file_len,
    };
    let end_byte = head
        .get(HEADER_END_BYTE)
        .ok_or(truncated(HEADER_END_BASE))?;
    let end = HEADER_END_BASE + usize::from(*end_byte);
    let bytes = head.get(HEADER..end).ok_or(truncated(end))?;
    let len = bytes.len().min(header.as_slice().len());
    header.as_mut_slice()[..len].copy_from_slice(&bytes[..len]);
    Ok(header)
}
