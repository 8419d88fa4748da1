//! The start info of the PVH boot protocol.
//!
//! Source: xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh.pandoc in Xen.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use muster_devices::memory::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::initrd::LoadedInitrd;
use super::memory_map::memory_map;
use crate::layout::{CMDLINE, PVH_MEMORY_MAP, PVH_MODULES, PVH_START_INFO};

/// The first version with a memory map.
const VERSION: u32 = 1;

/// Writes the start info and all it points to, and returns where it is.
pub(super) fn write(
    ram: &GuestRam,
    initrd: Option<LoadedInitrd>,
    rsdp: GuestAddress,
) -> Result<GuestAddress, GuestMemoryError> {
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        cmdline_paddr: CMDLINE.0,
        rsdp_paddr: rsdp.0,
        memmap_paddr: PVH_MEMORY_MAP.0,
        ..Default::default()
    };
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.start.0,
            size: u64::from(initrd.len),
            ..Default::default()
        };
        ram.write_obj(module, PVH_MODULES)?;
        info.nr_modules = 1;
        info.modlist_paddr = PVH_MODULES.0;
    }
    let mut address = PVH_MEMORY_MAP;
    for range in memory_map(ram) {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.len,
            type_: range.kind,
            reserved: 0,
        };
        ram.write_obj(entry, address)?;
        address.0 += size_of_val(&entry) as u64;
        info.memmap_entries += 1;
    }
    ram.write_obj(info, PVH_START_INFO)?;
    Ok(PVH_START_INFO)
}

#[cfg(test)]
mod tests;
