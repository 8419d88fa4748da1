//! Linux's zero page.
//!
//! Source: The Linux/x86 Boot Protocol and Zero Page, Documentation/arch/x86 in Linux.

use linux_loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use muster_devices::memory::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::initrd::LoadedInitrd;
use super::kernel::LoadedKernel;
use super::memory_map::memory_map;
use crate::layout::{CMDLINE, ZERO_PAGE};

/// "HdrS".
const SETUP_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
/// Protocol 2.15, which describes all fields that are set here.
const PROTOCOL: u16 = 0x020f;
/// A boot loader without an assigned number.
const LOADER_UNDEFINED: u8 = 0xff;
/// The kernel proper is at 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// Linux's default alignment.
const KERNEL_ALIGNMENT: u32 = 16 << 20;

/// Writes the zero page and returns where it is.
pub(super) fn write(
    ram: &GuestRam,
    kernel: &LoadedKernel,
    initrd: Option<LoadedInitrd>,
    cmdline_len: usize,
    rsdp: GuestAddress,
) -> Result<GuestAddress, GuestMemoryError> {
    let mut params = boot_params {
        hdr: kernel.setup_header.unwrap_or_else(synthetic_header),
        acpi_rsdp_addr: rsdp.0,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.cmd_line_ptr = CMDLINE.0 as u32;
    if kernel.setup_header.is_none() {
        params.hdr.cmdline_size = cmdline_len as u32;
    }
    if let Some(initrd) = initrd {
        params.hdr.ramdisk_image = initrd.start.0 as u32;
        params.hdr.ramdisk_size = initrd.len;
    }
    let map = memory_map(ram);
    params.e820_entries = map.len() as u8;
    for (entry, range) in params.e820_table.iter_mut().zip(map) {
        *entry = boot_e820_entry {
            addr: range.start,
            size: range.len,
            r#type: range.kind,
        };
    }
    ram.write_obj(params, ZERO_PAGE)?;
    Ok(ZERO_PAGE)
}

/// What a bzImage's header would say of an ELF kernel.
fn synthetic_header() -> setup_header {
    setup_header {
        boot_flag: BOOT_FLAG,
        header: SETUP_MAGIC,
        version: PROTOCOL,
        loadflags: LOADED_HIGH,
        kernel_alignment: KERNEL_ALIGNMENT,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
