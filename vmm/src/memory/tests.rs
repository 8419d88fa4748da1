use proptest::prelude::*;
use vm_memory::Bytes;

use super::*;

const GIB: u64 = 1 << 30;

fn bases_and_lens(size: u64) -> Vec<(u64, u64)> {
    let ram = allocate(MemorySpec { size }).unwrap();
    regions(&ram)
        .iter()
        .map(|region| (region.guest_base.0, region.len))
        .collect()
}

#[test]
fn ram_is_split_around_the_hole() {
    assert_eq!(bases_and_lens(64 << 20), [(0, 64 << 20)]);
    assert_eq!(bases_and_lens(3 * GIB), [(0, 3 * GIB)]);
    assert_eq!(
        bases_and_lens(3 * GIB + 4096),
        [(0, 3 * GIB), (4 * GIB, 4096)]
    );
    assert_eq!(bases_and_lens(5 * GIB), [(0, 3 * GIB), (4 * GIB, 2 * GIB)]);
}

#[test]
fn mappings_are_aligned_for_huge_pages() {
    // Small odd mappings in between move the kernel's next choice off any lucky alignment.
    let mut nudges = Vec::new();
    for size in [
        MEMORY_MIN,
        MEMORY_MIN + 4096,
        64 << 20,
        5 * GIB,
        3 * GIB + 4096,
    ] {
        let ram = allocate(MemorySpec { size }).unwrap();
        for region in regions(&ram)
            .iter()
            .filter(|region| region.len >= HUGE_PAGE_SIZE)
        {
            assert_eq!(region.host_address % HUGE_PAGE_SIZE, 0, "{region:x?}");
        }
        nudges.push((map(3 * 4096).unwrap(), ram));
    }
}

#[test]
fn sizes_out_of_range_are_refused() {
    for size in [
        0,
        4096,
        MEMORY_MIN - 4096,
        MEMORY_MIN + 1,
        MEMORY_MAX + 4096,
        u64::MAX,
    ] {
        let error = allocate(MemorySpec { size }).unwrap_err();
        assert!(matches!(error, MemoryError::Size { .. }), "{size}: {error}");
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
}

#[test]
fn a_guest_larger_than_the_host_is_refused_with_both_sizes() {
    let error = MemoryError::Map {
        size: 8 * GIB,
        host: HostMemory { total: Some(GIB) },
        source: MmapRegionError::Mmap(io::Error::from_raw_os_error(libc::ENOMEM)),
    };
    assert_eq!(
        error.to_string(),
        "the host cannot give 8192 MiB of memory to the guest (it has 1024 MiB of RAM and swap)"
    );
    assert!(HostMemory::probe().total.is_some_and(|total| total > 0));
}

#[test]
fn ram_is_writable_up_to_both_ends() {
    let ram = allocate(MemorySpec {
        size: 3 * GIB + (1 << 20),
    })
    .unwrap();
    for address in [0, 3 * GIB - 8, 4 * GIB, 4 * GIB + (1 << 20) - 8] {
        assert_eq!(ram.read_obj::<u64>(GuestAddress(address)).unwrap(), 0);
        ram.write_obj(address, GuestAddress(address)).unwrap();
        assert_eq!(ram.read_obj::<u64>(GuestAddress(address)).unwrap(), address);
    }
    assert!(ram.write_obj(0u8, GuestAddress(3 * GIB)).is_err());
    assert!(
        ram.write_obj(0u8, GuestAddress(4 * GIB + (1 << 20)))
            .is_err()
    );
    assert_eq!(low_ram_end(&ram), MMIO_HOLE_START);
}

#[test]
fn dropping_the_ram_unmaps_it() {
    let address = {
        let ram = allocate(MemorySpec { size: 64 << 20 }).unwrap();
        regions(&ram)[0].host_address
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let starts = maps.lines().filter_map(|line| line.split('-').next());
    assert!(
        !starts
            .into_iter()
            .any(|start| u64::from_str_radix(start, 16) == Ok(address))
    );
}

proptest! {
    #[test]
    fn any_size_is_split_without_loss(pages in 512u64..(64 * GIB / 4096)) {
        let size = pages * 4096;
        let parts: Vec<_> = split_at_hole(size).collect();
        prop_assert_eq!(parts.iter().map(|(_, len)| len).sum::<u64>(), size);
        for (base, len) in parts {
            prop_assert!(len > 0 && base.0 % HUGE_PAGE_SIZE == 0);
            let end = base.0 + len;
            prop_assert!(end <= MMIO_HOLE_START.0 || base.0 >= MMIO_HOLE_END.0);
        }
    }
}
