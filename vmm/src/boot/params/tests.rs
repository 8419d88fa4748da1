use super::*;
use crate::boot::kernel::KernelEntry;
use crate::boot::kernel::tests::ram;

const RSDP: GuestAddress = GuestAddress(0xe_0000);

fn kernel(setup_header: Option<setup_header>) -> LoadedKernel {
    LoadedKernel {
        entry: KernelEntry::Linux64(GuestAddress(0x10_0000)),
        end: GuestAddress(0x20_0000),
        setup_header,
        cmdline_len_max: 2047,
        initrd_last: GuestAddress(0x7fff_ffff),
    }
}

fn written(mib: u64, kernel: &LoadedKernel, initrd: Option<LoadedInitrd>) -> boot_params {
    let ram = ram(mib);
    let address = write(&ram, kernel, initrd, 7, RSDP).unwrap();
    ram.read_obj(address).unwrap()
}

#[test]
fn the_structure_is_one_page_with_fields_where_linux_looks() {
    assert_eq!(size_of::<boot_params>(), 4096);
    let ram = ram(16);
    let initrd = LoadedInitrd {
        start: GuestAddress(0xf0_0000),
        len: 0x1234,
    };
    write(&ram, &kernel(None), Some(initrd), 7, RSDP).unwrap();
    let u32_at = |offset| {
        ram.read_obj::<u32>(GuestAddress(ZERO_PAGE.0 + offset))
            .unwrap()
    };
    assert_eq!(u32_at(0x070), 0xe_0000, "acpi_rsdp_addr");
    assert_eq!(u32_at(0x1e8) & 0xff, 3, "e820_entries");
    assert_eq!(u32_at(0x1fc) >> 16, 0xaa55, "boot_flag");
    assert_eq!(u32_at(0x202), 0x5372_6448, "header");
    assert_eq!(u32_at(0x206) & 0xffff, 0x020f, "version");
    assert_eq!(u32_at(0x210) & 0xff, 0xff, "type_of_loader");
    assert_eq!(u32_at(0x218), 0xf0_0000, "ramdisk_image");
    assert_eq!(u32_at(0x21c), 0x1234, "ramdisk_size");
    assert_eq!(u32_at(0x228), 0x2_0000, "cmd_line_ptr");
    assert_eq!(u32_at(0x238), 7, "cmdline_size");
    assert_eq!(u32_at(0x2d0 + 8), 0x9_fc00, "e820_table[0].size");
}

#[test]
fn a_bzimages_own_header_is_kept() {
    let header = setup_header {
        header: SETUP_MAGIC,
        version: 0x020c,
        init_size: 0x12_3000,
        cmdline_size: 1000,
        ..Default::default()
    };
    let params = written(16, &kernel(Some(header)), None);
    let expected = setup_header {
        type_of_loader: LOADER_UNDEFINED,
        cmd_line_ptr: CMDLINE.0 as u32,
        ..header
    };
    assert_eq!({ params.hdr }, expected);
}

#[test]
fn the_memory_map_lists_all_ram_around_the_hole() {
    let params = written(5 << 10, &kernel(None), None);
    let table = { params.e820_table };
    let map: Vec<_> = table[..params.e820_entries.into()]
        .iter()
        .map(|entry| {
            ({ entry.addr }, { entry.addr } + { entry.size }, {
                entry.r#type
            })
        })
        .collect();
    assert_eq!(
        map,
        [
            (0, 0x9_fc00, 1),
            (0xe_0000, 0x10_0000, 2),
            (0x10_0000, 0xc000_0000, 1),
            (0x1_0000_0000, 0x1_8000_0000, 1),
        ]
    );
}
