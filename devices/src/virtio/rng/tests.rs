use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::super::driver::{Buffer, DATA, Driver, RAM_LEN, eventually, ram, resources};
use super::*;

#[test]
fn buffers_are_filled_up_to_the_limit() {
    let ram = ram();
    let mut driver = Driver::new(&ram, QUEUE_SIZES[0]);
    let (resources, _kick) = resources(driver.queue(), &ram, &Arc::default(), 0);
    let half = REQUEST_BYTES_MAX as u32 / 2;
    let buffers = [1, half, half, 1].map(|len| Buffer::writable(DATA, len));
    let small = driver.submit(&buffers[..2]);
    let large = driver.submit(&buffers);
    let useless = driver.submit(&[Buffer::readable(DATA, 8)]);
    let mut rng = Rng::new().unwrap();
    rng.start_queue(0, resources, None).unwrap();
    for expected in [
        (small, 1 + half),
        (large, REQUEST_BYTES_MAX as u32),
        (useless, 0),
    ] {
        let mut used = None;
        eventually("a request is used", || {
            used = driver.take_used();
            used.is_some()
        });
        assert_eq!(used, Some(expected));
    }
    assert_eq!(
        rng.stop_queue(0),
        Some(QueueState {
            next_avail: 3,
            next_used: 3
        })
    );
    assert_eq!(rng.stop_queue(0), None);
    let mut filled = vec![0; half as usize];
    ram.read_slice(&mut filled, GuestAddress(DATA)).unwrap();
    let zeroes = filled.iter().filter(|byte| **byte == 0).count();
    assert!(
        zeroes < filled.len() / 64,
        "{zeroes} zeroes are too many for random bytes"
    );
    let mut beyond = vec![0; 4096];
    ram.read_slice(&mut beyond, GuestAddress(RAM_LEN - 4096))
        .unwrap();
    assert!(beyond.iter().all(|byte| *byte == 0));
}

#[test]
fn there_is_no_configuration_to_read() {
    let mut data = [0xff; 8];
    Rng::new().unwrap().read_config(0, &mut data);
    assert_eq!(data, [0; 8]);
}
