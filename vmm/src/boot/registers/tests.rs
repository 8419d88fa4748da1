use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;
use crate::boot::kernel::tests::ram;

const LINUX: Entry = Entry::Linux64 {
    rip: GuestAddress(0x100_0000),
    zero_page: GuestAddress(0x7000),
};
const PVH: Entry = Entry::Pvh {
    rip: GuestAddress(0x100_0040),
    start_info: GuestAddress(0x6000),
};

fn set(entry: &Entry) -> (GuestRam, kvm_regs, kvm_sregs) {
    let ram = ram(2);
    let mut sregs = kvm_sregs {
        apic_base: 0xfee0_0900,
        cr2: 5,
        ..Default::default()
    };
    let regs = set_entry(&ram, entry, &mut sregs).unwrap();
    (ram, regs, sregs)
}

/// Walks the page tables as the processor does.
fn translate(ram: &GuestRam, cr3: u64, address: u64) -> Option<u64> {
    let mut table = cr3;
    for shift in [39, 30, 21] {
        let index = address >> shift & 511;
        let entry: u64 = ram.read_obj(GuestAddress(table + index * 8)).unwrap();
        if entry & PAGE_PRESENT == 0 {
            return None;
        }
        assert_ne!(entry & PAGE_WRITABLE, 0);
        table = entry & 0x000f_ffff_ffff_f000;
        if entry & PAGE_HUGE != 0 {
            assert_eq!(shift, 21);
            return Some(table + address % HUGE_PAGE_SIZE);
        }
    }
    panic!("the tables have no fourth level");
}

/// Reads the descriptor of `selector` back into the form that KVM uses.
fn decode(ram: &GuestRam, sregs: &kvm_sregs, selector: u16) -> kvm_segment {
    assert!(selector + 7 <= sregs.gdt.limit);
    let raw: u64 = ram
        .read_obj(GuestAddress(sregs.gdt.base + u64::from(selector)))
        .unwrap();
    let bit = |at: u32| (raw >> at & 1) as u8;
    let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    assert_eq!((raw >> 16 & 0xff_ffff, raw >> 56), (0, 0), "base");
    kvm_segment {
        selector,
        limit: if bit(55) == 1 {
            limit << 12 | 0xfff
        } else {
            limit
        },
        type_: (raw >> 40 & 0xf) as u8,
        s: bit(44),
        dpl: (raw >> 45 & 3) as u8,
        present: bit(47),
        l: bit(53),
        db: bit(54),
        g: bit(55),
        ..Default::default()
    }
}

#[test]
fn linux_starts_in_64_bit_mode_with_the_zero_page() {
    let (_, regs, sregs) = set(&LINUX);
    assert_eq!((regs.rip, regs.rsi), (0x100_0000, 0x7000));
    assert_eq!(regs.rflags, 2, "interrupts are off");
    assert_eq!((regs.rsp + 8) % 16, 0, "as after a call");
    assert_eq!(
        (sregs.cs.selector, sregs.ds.selector),
        (0x10, 0x18),
        "__BOOT_CS, __BOOT_DS"
    );
    assert_eq!((sregs.cs.l, sregs.cs.db), (1, 0));
    assert_eq!(sregs.efer, 0x500);
    assert_eq!(sregs.cr0, 0x8000_0033);
    assert_eq!(sregs.cr4, 0x620);
    assert_eq!(
        (sregs.apic_base, sregs.cr2),
        (0xfee0_0900, 5),
        "as after reset"
    );
}

#[test]
fn pvh_starts_in_32_bit_mode_without_paging() {
    let (_, regs, sregs) = set(&PVH);
    assert_eq!((regs.rip, regs.rbx, regs.rflags), (0x100_0040, 0x6000, 2));
    assert_eq!((sregs.cs.l, sregs.cs.db), (0, 1));
    assert_eq!(
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer),
        (0x11, 0, 0, 0)
    );
    assert_eq!((sregs.tr.limit, sregs.tr.type_), (0x67, 0xb));
}

#[test]
fn the_descriptor_table_says_what_the_segment_registers_hold() {
    for entry in [LINUX, PVH] {
        let (ram, _, sregs) = set(&entry);
        assert_eq!(
            ram.read_obj::<u64>(GuestAddress(sregs.gdt.base)).unwrap(),
            0,
            "null"
        );
        let segments = [
            sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr,
        ];
        for segment in segments {
            assert_eq!(decode(&ram, &sregs, segment.selector), segment);
        }
    }
}

#[test]
fn the_map_ends_at_4_gib() {
    let (ram, _, sregs) = set(&LINUX);
    assert_eq!(translate(&ram, sregs.cr3, 0), Some(0));
    assert_eq!(
        translate(&ram, sregs.cr3, (4 << 30) - 1),
        Some((4 << 30) - 1)
    );
    assert_eq!(translate(&ram, sregs.cr3, 4 << 30), None);
    assert_eq!(translate(&ram, sregs.cr3, 1 << 39), None);
}

proptest! {
    #[test]
    fn addresses_map_to_themselves(address in 0u64..4 << 30) {
        let (ram, _, sregs) = set(&LINUX);
        prop_assert_eq!(translate(&ram, sregs.cr3, address), Some(address));
    }
}
