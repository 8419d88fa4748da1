use proptest::collection::vec;
use proptest::prelude::*;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};
use virtio_queue::QueueOwnedT;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use super::super::driver::{Buffer, DATA, DESCRIPTORS, Driver, RAM_LEN, SEAM, ram};
use super::*;

const SIZE: u16 = 16;

/// How many bytes the chain has that `submit` makes available: readable and writable ones.
fn lens(submit: impl FnOnce(&mut Driver<'_>)) -> Result<(u32, u32), ChainError> {
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    submit(&mut driver);
    let mut queue = driver.queue();
    let chain = queue.iter(&ram).unwrap().next().unwrap();
    let mut buffers = ChainBuffers::new(&ram, SIZE);
    let (readable, writable) = buffers.collect(chain)?;
    Ok((readable.len(), writable.len()))
}

#[test]
fn readable_and_writable_bytes_are_told_apart() {
    let buffers = [
        Buffer::readable(DATA, 3),
        Buffer::readable(DATA + 10, 4),
        Buffer::writable(DATA, 50),
    ];
    assert_eq!(lens(|driver| _ = driver.submit(&buffers)), Ok((7, 50)));
    assert_eq!(
        lens(|driver| _ = driver.submit_indirect(&buffers)),
        Ok((7, 50))
    );
    assert_eq!(lens(|driver| _ = driver.submit(&buffers[2..])), Ok((0, 50)));
}

#[test]
fn a_buffer_may_cross_ram_regions_but_not_leave_ram() {
    let submit = |address: u64, len: u32| {
        move |driver: &mut Driver<'_>| _ = driver.submit(&[Buffer::readable(address, len)])
    };
    assert_eq!(lens(submit(SEAM - 8, 16)), Ok((16, 0)));
    assert_eq!(lens(submit(RAM_LEN - 8, 8)), Ok((8, 0)));
    for (address, len) in [(RAM_LEN - 8, 9), (RAM_LEN, 1), (u64::MAX, 2), (0, u32::MAX)] {
        assert_eq!(
            lens(submit(address, len)),
            Err(ChainError::OutsideRam),
            "{address:#x}"
        );
    }
}

#[test]
fn chains_that_break_the_rules_are_refused() {
    let next = VRING_DESC_F_NEXT as u16;
    let (one, two) = (Buffer::readable(DATA, 1), Buffer::writable(DATA, 1));
    assert_eq!(
        lens(|driver| _ = driver.submit(&[two, one])),
        Err(ChainError::Order)
    );
    let empty = [one, Buffer::writable(DATA, 0)];
    assert_eq!(
        lens(|driver| _ = driver.submit(&empty)),
        Err(ChainError::EmptyBuffer)
    );
    let beyond_table = |driver: &mut Driver<'_>| {
        driver.write_descriptor(DESCRIPTORS, 0, Descriptor::new(DATA, 1, next, SIZE));
        driver.offer(0);
    };
    assert_eq!(lens(beyond_table), Err(ChainError::Broken));
    let circle = |driver: &mut Driver<'_>| {
        driver.write_descriptor(DESCRIPTORS, 0, Descriptor::new(DATA, 1, next, 0));
        driver.offer(0);
    };
    assert_eq!(lens(circle), Err(ChainError::Broken));
    assert_eq!(lens(|driver| driver.offer(SIZE)), Err(ChainError::Broken));
}

#[test]
fn indirect_tables_are_bounded_by_the_queue_and_do_not_nest() {
    let buffers = [Buffer::readable(DATA, 1); SIZE as usize + 1];
    let fits = |driver: &mut Driver<'_>| _ = driver.submit_indirect(&buffers[1..]);
    assert_eq!(lens(fits), Ok((SIZE.into(), 0)));
    let too_long = |driver: &mut Driver<'_>| _ = driver.submit_indirect(&buffers);
    assert_eq!(lens(too_long), Err(ChainError::TooLong));
    let indirect = VRING_DESC_F_INDIRECT as u16;
    let nested = |driver: &mut Driver<'_>| {
        driver.write_descriptor(DESCRIPTORS, 0, Descriptor::new(DATA, 16, indirect, 0));
        driver.write_descriptor(DATA, 0, Descriptor::new(DATA, 16, indirect, 0));
        driver.offer(0);
    };
    assert_eq!(lens(nested), Err(ChainError::Broken));
}

/// Consecutive buffers of these lengths.
fn row(lens: &[u32], writable: bool) -> Vec<Buffer> {
    let mut address = DATA;
    let place = |&len: &u32| {
        let buffer = Buffer {
            address,
            len,
            writable,
        };
        address += u64::from(len);
        buffer
    };
    lens.iter().map(place).collect()
}

proptest! {
    #[test]
    fn bytes_come_from_the_front_in_order_wherever_the_cuts_are(
        lens in vec(1u32..20, 1..SIZE as usize),
        takes in vec(0usize..30, 0..10),
    ) {
        let total: u32 = lens.iter().sum();
        let content: Vec<u8> = (0..total).map(|i| i as u8).collect();
        let ram = ram();
        ram.write_slice(&content, GuestAddress(DATA)).unwrap();
        let mut driver = Driver::new(&ram, SIZE);
        driver.submit(&row(&lens, false));
        let mut queue = driver.queue();
        let mut buffers = ChainBuffers::new(&ram, SIZE);
        let (mut bytes, _) = buffers.collect(queue.iter(&ram).unwrap().next().unwrap()).unwrap();
        let mut rest = &content[..];
        for take in takes {
            let mut out = vec![0; take];
            if bytes.take_front(&mut out).is_none() {
                prop_assert!(take > rest.len());
                prop_assert!(bytes.is_empty());
                break;
            }
            prop_assert_eq!(&out, &rest[..take]);
            rest = &rest[take..];
            prop_assert_eq!(bytes.len() as usize, rest.len());
        }
    }

    #[test]
    fn the_last_byte_is_the_last_wherever_the_cuts_are(lens in vec(1u32..4, 1..SIZE as usize)) {
        let total: u32 = lens.iter().sum();
        let ram = ram();
        let mut driver = Driver::new(&ram, SIZE);
        driver.submit(&row(&lens, true));
        let mut queue = driver.queue();
        let mut buffers = ChainBuffers::new(&ram, SIZE);
        let (_, mut bytes) = buffers.collect(queue.iter(&ram).unwrap().next().unwrap()).unwrap();
        for left in (0..total).rev() {
            bytes.take_last().unwrap().copy_from(&[left as u8 + 1]);
            prop_assert_eq!(bytes.len(), left);
        }
        prop_assert!(bytes.take_last().is_none());
        let mut written = vec![0; total as usize];
        ram.read_slice(&mut written, GuestAddress(DATA)).unwrap();
        prop_assert!(written.iter().enumerate().all(|(i, byte)| *byte == i as u8 + 1));
    }

    #[test]
    fn a_write_fills_the_front(lens in vec(1u32..8, 1..SIZE as usize), data in vec(1u8.., 0..60)) {
        let total: usize = lens.iter().sum::<u32>() as usize;
        let ram = ram();
        let mut driver = Driver::new(&ram, SIZE);
        driver.submit(&row(&lens, true));
        let mut queue = driver.queue();
        let mut buffers = ChainBuffers::new(&ram, SIZE);
        let (_, bytes) = buffers.collect(queue.iter(&ram).unwrap().next().unwrap()).unwrap();
        let fits = data.len().min(total);
        prop_assert_eq!(bytes.write_front(&data) as usize, fits);
        let mut written = vec![0; data.len()];
        ram.read_slice(&mut written, GuestAddress(DATA)).unwrap();
        prop_assert_eq!(&written[..fits], &data[..fits]);
        prop_assert!(written[fits..].iter().all(|byte| *byte == 0));
    }
}
