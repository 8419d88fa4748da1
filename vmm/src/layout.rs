//! Where everything lies in a guest's address spaces.
//!
//! Approach: one flat map, the same for every guest, in the order of addresses. What a kernel has
//! compiled in (1 MiB, the interrupt controllers) follows the PC; the rest is ours to choose and
//! reaches the guest through the boot parameters and ACPI.
//!
//! ```text
//! 0x0000_0000  boot data: descriptor table, start info, zero page, stack, page tables, command line
//! 0x000e_0000  ACPI tables, reset vector                 reserved in the memory map
//! 0x0010_0000  kernel ... initrd at the top              RAM up to the hole
//! 0xc000_0000  virtio-mmio windows                       the hole: no RAM
//! 0xfd00_0000  guest page: memory that is shared with the host's scheduler
//! 0xfec0_0000  I/O APIC, local APICs, KVM's own pages
//! 0x1_0000_0000  RAM beyond the hole
//! ```
//!
//! Boot data needs no protection from the kernel: every entry protocol says that it is read before
//! the kernel first allocates memory.

use std::ops::RangeInclusive;

use vm_memory::GuestAddress;

/// Size of a page.
pub const PAGE_SIZE: u64 = 0x1000;
/// Size of a huge page, in the host's page tables and in the boot page tables.
pub const HUGE_PAGE_SIZE: u64 = 2 << 20;

// Boot data, below 640 KiB.

/// The global descriptor table that a vCPU starts with.
pub const GDT: GuestAddress = GuestAddress(0x500);
/// PVH: the start info structure, followed by the module list and the memory map.
pub const PVH_START_INFO: GuestAddress = GuestAddress(0x6000);
/// PVH: the list of modules (the initrd is the only one).
pub const PVH_MODULES: GuestAddress = GuestAddress(0x6040);
/// PVH: the memory map.
pub const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x6080);
/// Linux's `struct boot_params`, one page.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// The end of one page of stack for guests that begin with compiled code; the stack grows down.
pub const BOOT_STACK_END: GuestAddress = GuestAddress(0x9000);
/// The top page table of the identity map.
pub const PML4: GuestAddress = GuestAddress(0x9000);
/// The second level, one page: one entry per GiB.
pub const PAGE_DIRECTORY_POINTERS: GuestAddress = GuestAddress(0xa000);
/// The third level: [`IDENTITY_MAP_GIB`] pages, one entry per 2 MiB.
pub const PAGE_DIRECTORIES: GuestAddress = GuestAddress(0xb000);
/// How much the boot page tables map: all RAM below the hole, and every device register.
pub const IDENTITY_MAP_GIB: u64 = 4;
/// The kernel's command line, NUL-terminated.
pub const CMDLINE: GuestAddress = GuestAddress(0x2_0000);
/// Room for the command line with its NUL. Kernels take less: see the boot header.
pub const CMDLINE_CAPACITY: u64 = 0x1_0000;
/// Where conventional memory ends, as PC firmware reports it (its data area follows).
pub const LOW_RAM_END: GuestAddress = GuestAddress(0x9_fc00);

/// First byte of the ACPI tables, and the RSDP. A kernel that is not told searches from here.
pub const ACPI_START: GuestAddress = GuestAddress(0xe_0000);
/// The end of the ACPI tables.
pub const ACPI_END: GuestAddress = GuestAddress(0xf_0000);
/// Where a PC's processor begins after a reset, as seen in real mode: the last 16 bytes of firmware.
pub const RESET_VECTOR: GuestAddress = GuestAddress(0xf_fff0);

/// Where memory without PC history begins: kernels load here or above.
pub const HIMEM_START: GuestAddress = GuestAddress(0x10_0000);

// The hole below 4 GiB, for devices.

/// RAM stops here and goes on at [`MMIO_HOLE_END`].
pub const MMIO_HOLE_START: GuestAddress = GuestAddress(0xc000_0000);
/// The end of the hole.
pub const MMIO_HOLE_END: GuestAddress = GuestAddress(0x1_0000_0000);

/// The first virtio-mmio window; the others follow without gaps.
pub const VIRTIO_MMIO_START: GuestAddress = MMIO_HOLE_START;
/// From one virtio-mmio window to the next: a page, so that a guest may map one alone.
pub const VIRTIO_MMIO_STRIDE: u64 = PAGE_SIZE;
/// How many virtio-mmio devices a guest can have.
pub const VIRTIO_DEVICES_MAX: usize = 512;

/// What the guest shares with the host's scheduler (`muster_guest_page`).
pub const GUEST_PAGE: GuestAddress = GuestAddress(muster_guest_page::ADDRESS);

/// The I/O APIC, where KVM puts it.
pub const IOAPIC: GuestAddress = GuestAddress(0xfec0_0000);
/// The local APIC of the vCPU that looks.
pub const LOCAL_APIC: GuestAddress = GuestAddress(0xfee0_0000);

/// One page that KVM on Intel needs for itself (`KVM_SET_IDENTITY_MAP_ADDR`).
pub const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;
/// Three pages that KVM on Intel needs for itself (`KVM_SET_TSS_ADDR`).
pub const TSS_ADDRESS: u64 = 0xfffb_d000;

// Ports.

/// First port of the console's UART, COM1.
pub const SERIAL_PORT: u16 = 0x3f8;
/// First port of the ACPI power registers (`muster_devices::power`).
pub const POWER_PORT: u16 = 0x600;

// Interrupts: global system interrupts, which are pins of the only I/O APIC.

/// COM1, as on every PC.
pub const SERIAL_GSI: u32 = 4;
/// The power button, through the ACPI generic event device.
pub const POWER_BUTTON_GSI: u32 = 5;
/// The virtio devices. Above pin 8, the clock's, which KVM treats specially.
pub const VIRTIO_GSIS: RangeInclusive<u32> = 9..=23;

/// The register window of virtio device number `index`, or `None` when there is no room.
pub fn virtio_window(index: usize) -> Option<GuestAddress> {
    (index < VIRTIO_DEVICES_MAX)
        .then(|| GuestAddress(VIRTIO_MMIO_START.0 + index as u64 * VIRTIO_MMIO_STRIDE))
}

/// The interrupt of virtio device number `index`.
///
/// Devices beyond the number of pins share them in turn. That is safe although the pins are
/// edge-triggered: an edge that arrives while handlers run is delivered again after them, and each
/// handler asks its own device.
pub fn virtio_gsi(index: usize) -> u32 {
    let pins = VIRTIO_GSIS.end() - VIRTIO_GSIS.start() + 1;
    VIRTIO_GSIS.start() + (index % pins as usize) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_data_does_not_overlap() {
        let areas = [
            (GDT.0, 0x100),
            (PVH_START_INFO.0, 56),
            (PVH_MODULES.0, 32),
            (PVH_MEMORY_MAP.0, 16 * 24),
            (ZERO_PAGE.0, PAGE_SIZE),
            (BOOT_STACK_END.0 - PAGE_SIZE, PAGE_SIZE),
            (PML4.0, PAGE_SIZE),
            (PAGE_DIRECTORY_POINTERS.0, PAGE_SIZE),
            (PAGE_DIRECTORIES.0, IDENTITY_MAP_GIB * PAGE_SIZE),
            (CMDLINE.0, CMDLINE_CAPACITY),
            (LOW_RAM_END.0, 0),
            (ACPI_START.0, ACPI_END.0 - ACPI_START.0),
            (RESET_VECTOR.0, 16),
            (HIMEM_START.0, 0),
        ];
        for pair in areas.windows(2) {
            let [(base, len), (next, _)] = pair else {
                unreachable!()
            };
            assert!(
                base + len <= *next,
                "{base:#x}+{len:#x} reaches into {next:#x}"
            );
        }
    }

    #[test]
    fn every_virtio_device_has_a_window_below_the_interrupt_controllers() {
        let last = virtio_window(VIRTIO_DEVICES_MAX - 1).unwrap();
        assert!(last.0 + VIRTIO_MMIO_STRIDE <= GUEST_PAGE.0);
        assert!(GUEST_PAGE.0 + muster_guest_page::LEN as u64 <= IOAPIC.0);
        assert_eq!(virtio_window(VIRTIO_DEVICES_MAX), None);
    }

    #[test]
    fn virtio_devices_take_the_pins_in_turn() {
        assert_eq!(virtio_gsi(0), 9);
        assert_eq!(virtio_gsi(14), 23);
        assert_eq!(virtio_gsi(15), 9);
        assert!(!VIRTIO_GSIS.contains(&SERIAL_GSI) && !VIRTIO_GSIS.contains(&POWER_BUTTON_GSI));
    }
}
