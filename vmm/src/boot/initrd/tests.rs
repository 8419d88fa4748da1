use std::io::Cursor;

use proptest::prelude::*;
use vm_memory::Bytes;

use super::*;
use crate::boot::kernel::KernelEntry;
use crate::boot::kernel::tests::ram;

const MIB: u64 = 1 << 20;

fn kernel(end: u64, initrd_last: u64) -> LoadedKernel {
    LoadedKernel {
        entry: KernelEntry::Linux64(GuestAddress(MIB)),
        end: GuestAddress(end),
        setup_header: None,
        cmdline_len_max: 2047,
        initrd_last: GuestAddress(initrd_last),
    }
}

#[test]
fn it_is_copied_to_the_top_of_ram_at_a_page() {
    let ram = ram(16);
    let content: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
    let kernel = kernel(6 * MIB, u64::from(u32::MAX));
    let initrd = load_initrd(&ram, &mut Cursor::new(&content), &kernel).unwrap();
    assert_eq!(
        initrd,
        LoadedInitrd {
            start: GuestAddress(16 * MIB - 0x2000),
            len: 5000
        }
    );
    let mut copy = vec![0; 5000];
    ram.read_slice(&mut copy, initrd.start).unwrap();
    assert_eq!(copy, content);
}

#[test]
fn it_stays_below_what_the_kernel_can_address() {
    let initrd = load_initrd(
        &ram(16),
        &mut Cursor::new([1; 4096]),
        &kernel(2 * MIB, 8 * MIB - 1),
    )
    .unwrap();
    assert_eq!(initrd.start.0, 8 * MIB - 0x1000);
}

#[test]
fn it_stays_below_the_hole() {
    let initrd = load_initrd(
        &ram(5 << 10),
        &mut Cursor::new([1; 4096]),
        &kernel(2 * MIB, u64::from(u32::MAX)),
    )
    .unwrap();
    assert_eq!(initrd.start.0, 0xc000_0000 - 0x1000);
}

#[test]
fn it_may_fill_all_that_the_kernel_leaves() {
    let kernel = kernel(15 * MIB + 1, u64::from(u32::MAX));
    let load = |len: usize| load_initrd(&ram(16), &mut Cursor::new(vec![1; len]), &kernel);
    assert_eq!(
        load(MIB as usize - 0x1000).unwrap().start.0,
        15 * MIB + 0x1000
    );
    let error = load(MIB as usize - 0xfff).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it has 1021 KiB, but the guest's memory has only 1020 KiB left beside the kernel; give \
         the guest more memory"
    );
}

#[test]
fn an_empty_one_is_refused() {
    let error = load_initrd(&ram(2), &mut Cursor::new([]), &kernel(MIB, u64::MAX)).unwrap_err();
    assert!(matches!(error, InitrdError::Empty));
}

/// A file that claims more than it has.
struct Sparse {
    len: u64,
}

impl Seek for Sparse {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        Ok(if matches!(position, io::SeekFrom::End(_)) {
            self.len
        } else {
            0
        })
    }
}

impl ReadVolatile for Sparse {
    fn read_volatile<B: vm_memory::bitmap::BitmapSlice>(
        &mut self,
        _: &mut vm_memory::VolatileSlice<'_, B>,
    ) -> Result<usize, vm_memory::VolatileMemoryError> {
        Ok(0)
    }
}

#[test]
fn one_that_is_larger_than_any_memory_or_shrinks_is_refused() {
    let kernel = kernel(2 * MIB, u64::from(u32::MAX));
    let error = load_initrd(&ram(16), &mut Sparse { len: u64::MAX }, &kernel).unwrap_err();
    assert!(matches!(error, InitrdError::TooLarge { len: u64::MAX, .. }));
    let error = load_initrd(&ram(16), &mut Sparse { len: 4096 }, &kernel).unwrap_err();
    assert!(matches!(error, InitrdError::Read(_)));
}

proptest! {
    #[test]
    fn it_never_touches_the_kernel(
        len in 1u64..3 * MIB,
        end in MIB..4 * MIB,
        last in any::<u64>(),
    ) {
        let ram = ram(4);
        let content = vec![1; len as usize];
        match load_initrd(&ram, &mut Cursor::new(content), &kernel(end, last)) {
            Ok(initrd) => {
                prop_assert!(initrd.start.0 >= end && initrd.start.0 % PAGE_SIZE == 0);
                prop_assert!(initrd.start.0 + len <= 4 * MIB && initrd.start.0 + len - 1 <= last);
            }
            Err(InitrdError::TooLarge { room, .. }) => {
                prop_assert!(room < len.next_multiple_of(PAGE_SIZE));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
