use super::*;

/// Remembers the last write and reads back its offset.
#[derive(Default)]
struct Probe {
    written: Vec<(u64, Vec<u8>)>,
}

impl Device for Probe {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        self.written.push((offset, data.to_vec()));
        Action::Reset
    }
}

fn probe() -> Shared<Probe> {
    Arc::new(Mutex::new(Probe::default()))
}

#[test]
fn accesses_reach_the_device_that_covers_them() {
    let (low, high) = (probe(), probe());
    let mut bus = Bus::new();
    bus.insert(0x3f8, 8, high.clone()).unwrap();
    bus.insert(0x60, 5, low.clone()).unwrap();

    let mut data = [0; 2];
    bus.read(0x3fc, &mut data);
    assert_eq!(data, [4, 4]);
    assert_eq!(bus.write(0x64, &[0xfe]), Action::Reset);
    assert_eq!(lock(&low).written, [(4, vec![0xfe])]);
    assert!(lock(&high).written.is_empty());
}

#[test]
fn holes_read_as_ones_and_drop_writes() {
    let mut bus = Bus::new();
    bus.insert(0x60, 5, probe()).unwrap();
    for address in [0, 0x5f, 0x65, u64::MAX] {
        let mut data = [0; 4];
        bus.read(address, &mut data);
        assert_eq!(data, [0xff; 4], "at {address:#x}");
        assert_eq!(bus.write(address, &data), Action::None);
    }
}

#[test]
fn an_access_across_the_end_of_a_device_reaches_none() {
    let device = probe();
    let mut bus = Bus::new();
    bus.insert(0x60, 5, device.clone()).unwrap();
    let mut data = [0; 4];
    bus.read(0x62, &mut data);
    assert_eq!(data, [0xff; 4]);
    assert_eq!(bus.write(0x64, &[1, 2]), Action::None);
    assert!(lock(&device).written.is_empty());
}

#[test]
fn overlapping_empty_and_wrapping_ranges_are_refused() {
    let mut bus = Bus::new();
    bus.insert(0x100, 0x10, probe()).unwrap();
    for (base, len) in [
        (0x100, 0x10),
        (0xf8, 9),
        (0x10f, 1),
        (0x200, 0),
        (u64::MAX, 2),
    ] {
        assert_eq!(bus.insert(base, len, probe()), Err(BusError { base, len }));
    }
    bus.insert(0xf8, 8, probe()).unwrap();
    bus.insert(0x110, 1, probe()).unwrap();
}
