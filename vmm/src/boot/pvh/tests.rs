use super::*;
use crate::boot::kernel::tests::ram;

const RSDP: GuestAddress = GuestAddress(0xe_0000);

#[test]
fn the_start_info_points_to_everything() {
    let ram = ram(5 << 10);
    let initrd = LoadedInitrd {
        start: GuestAddress(0xf0_0000),
        len: 0x1234,
    };
    let address = write(&ram, Some(initrd), RSDP).unwrap();
    let info: hvm_start_info = ram.read_obj(address).unwrap();
    assert_eq!((info.magic, info.version, info.flags), (0x336e_c578, 1, 0));
    assert_eq!((info.cmdline_paddr, info.rsdp_paddr), (CMDLINE.0, RSDP.0));

    assert_eq!(info.nr_modules, 1);
    let module: hvm_modlist_entry = ram.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
    assert_eq!((module.paddr, module.size), (0xf0_0000, 0x1234));

    let map: Vec<_> = (0..u64::from(info.memmap_entries))
        .map(|index| {
            let address = GuestAddress(info.memmap_paddr + 24 * index);
            let entry: hvm_memmap_table_entry = ram.read_obj(address).unwrap();
            (entry.addr, entry.size, entry.type_)
        })
        .collect();
    let expected: Vec<_> = memory_map(&ram)
        .iter()
        .map(|range| (range.start, range.len, range.kind))
        .collect();
    assert_eq!(map, expected);
    assert_eq!(map.len(), 4);
}

#[test]
fn without_an_initrd_there_is_no_module() {
    let ram = ram(16);
    let address = write(&ram, None, RSDP).unwrap();
    let info: hvm_start_info = ram.read_obj(address).unwrap();
    assert_eq!((info.nr_modules, info.modlist_paddr), (0, 0));
}
