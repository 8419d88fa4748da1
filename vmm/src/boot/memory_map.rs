//! The memory map that firmware would report (E820): which addresses are RAM.

use muster_devices::memory::GuestRam;

use crate::layout::{ACPI_START, HIMEM_START, LOW_RAM_END};
use crate::memory::regions;

/// Usable by the guest.
pub(super) const RAM: u32 = 1;
/// In use by something else.
pub(super) const RESERVED: u32 = 2;

/// One line of the map. The type's numbers are the same in the Linux and PVH protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryRange {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) kind: u32,
}

/// The map of a guest with this RAM, in the order of addresses.
///
/// Between conventional memory and 1 MiB, only what takes the place of firmware is listed, from the
/// ACPI tables to the reset vector. The rest is a PC's video memory, and kernels leave it alone.
pub(super) fn memory_map(ram: &GuestRam) -> Vec<MemoryRange> {
    let range = |start: u64, end: u64, kind| MemoryRange {
        start,
        len: end - start,
        kind,
    };
    let mut map = vec![
        range(0, LOW_RAM_END.0, RAM),
        range(ACPI_START.0, HIMEM_START.0, RESERVED),
    ];
    map.extend(regions(ram).iter().map(|region| {
        let start = region.guest_base.0.max(HIMEM_START.0);
        range(start, region.guest_base.0 + region.len, RAM)
    }));
    map
}
