use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;
use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET as NEEDS_RESET;

use super::super::QueueState;
use super::super::driver::{AVAILABLE, DATA, DESCRIPTORS, RAM_LEN, USED, line, ram};
use super::*;

const SIZES: [u16; 2] = [16, 4];
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const OFFERED: u64 = 1 | EVENT_IDX;
const READY: u32 = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;

/// What the transport has told the device.
#[derive(Default)]
struct Record {
    running: [Option<QueueResources>; SIZES.len()],
    starts: usize,
    refuse_queue: Option<u16>,
    config: [u8; 16],
}

/// A device that does nothing but keep a record.
struct Recorder(Arc<Mutex<Record>>);

impl VirtioDevice for Recorder {
    fn device_id(&self) -> u32 {
        42
    }

    fn features(&self) -> u64 {
        OFFERED
    }

    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        super::super::copy_config(&self.0.lock().unwrap().config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let at = offset as usize;
        self.0.lock().unwrap().config[at..at + data.len()].copy_from_slice(data);
    }

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        state: Option<QueueState>,
    ) -> Result<(), StartQueueError> {
        let mut record = self.0.lock().unwrap();
        if record.refuse_queue == Some(index) {
            return Err(StartQueueError {
                index,
                source: io::ErrorKind::OutOfMemory.into(),
            });
        }
        assert_eq!(state, None);
        record.starts += 1;
        let before = record.running[usize::from(index)].replace(resources);
        assert!(before.is_none(), "queue {index} is started twice");
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let stopped = self.0.lock().unwrap().running[usize::from(index)].take()?;
        Some(QueueState {
            next_avail: stopped.queue.next_avail(),
            next_used: stopped.queue.next_used(),
        })
    }
}

/// A guest that pokes registers.
struct Guest {
    window: MmioTransport,
    record: Arc<Mutex<Record>>,
    line: EventFd,
}

impl Guest {
    fn new() -> Self {
        let (record, line) = (Arc::<Mutex<Record>>::default(), line());
        let device = Box::new(Recorder(record.clone()));
        let window = MmioTransport::new(device, ram(), line.try_clone().unwrap()).unwrap();
        Self {
            window,
            record,
            line,
        }
    }

    fn read(&mut self, register: u32) -> u32 {
        let mut data = [0xee; 4];
        self.window.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&mut self, register: u32, value: u32) {
        assert_eq!(
            self.window.write(register.into(), &value.to_le_bytes()),
            Action::None
        );
    }

    fn status(&mut self) -> u32 {
        self.read(VIRTIO_MMIO_STATUS)
    }

    /// Adds bits to the status, as Linux does.
    fn add_status(&mut self, bits: u32) {
        let status = self.status();
        self.write(VIRTIO_MMIO_STATUS, status | bits);
    }

    fn accept(&mut self, features: u64) {
        for half in [0, 1] {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(
                VIRTIO_MMIO_DRIVER_FEATURES,
                (features >> (32 * half)) as u32,
            );
        }
    }

    fn offered(&mut self) -> u64 {
        let mut read_half = |half| {
            self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            u64::from(self.read(VIRTIO_MMIO_DEVICE_FEATURES))
        };
        read_half(0) | read_half(1) << 32
    }

    /// Up to FEATURES_OK.
    fn negotiate(&mut self, features: u64) {
        self.write(VIRTIO_MMIO_STATUS, 0);
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        self.accept(features);
        self.add_status(FEATURES_OK);
    }

    fn set_up_queue(&mut self, index: u32, size: u32) {
        self.write(VIRTIO_MMIO_QUEUE_SEL, index);
        self.write(VIRTIO_MMIO_QUEUE_NUM, size);
        for (low, address) in [
            (VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE),
            (VIRTIO_MMIO_QUEUE_USED_LOW, USED),
        ] {
            self.write(low, address as u32);
            self.write(low + 4, (address >> 32) as u32);
        }
        self.write(VIRTIO_MMIO_QUEUE_READY, 1);
    }

    /// The whole way to DRIVER_OK with both queues.
    fn start(&mut self) {
        self.negotiate(VERSION_1);
        self.set_up_queue(0, 8);
        self.set_up_queue(1, 4);
        self.add_status(DRIVER_OK);
    }

    fn running(&self) -> [bool; SIZES.len()] {
        self.record
            .lock()
            .unwrap()
            .running
            .each_ref()
            .map(Option::is_some)
    }
}

#[test]
fn a_driver_finds_the_device() {
    let mut guest = Guest::new();
    assert_eq!(guest.read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(guest.read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(guest.read(VIRTIO_MMIO_DEVICE_ID), 42);
    assert_eq!(guest.offered(), OFFERED | VERSION_1);
    guest.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_eq!(guest.read(VIRTIO_MMIO_DEVICE_FEATURES), 0);
    for shared_memory in (VIRTIO_MMIO_SHM_LEN_LOW..=VIRTIO_MMIO_SHM_BASE_HIGH).step_by(4) {
        assert_eq!(guest.read(shared_memory), u32::MAX);
    }
}

#[test]
fn linux_starts_stops_and_restarts_a_device() {
    let mut guest = Guest::new();
    for round in 1..=3 {
        guest.negotiate(VERSION_1 | EVENT_IDX);
        assert_ne!(guest.status() & FEATURES_OK, 0);
        for (index, size) in [(0, 8), (1, 4)] {
            guest.write(VIRTIO_MMIO_QUEUE_SEL, index);
            assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
            assert_eq!(
                guest.read(VIRTIO_MMIO_QUEUE_NUM_MAX),
                u32::from(SIZES[index as usize])
            );
            guest.set_up_queue(index, size);
            assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 1);
        }
        assert_eq!(
            guest.running(),
            [false; 2],
            "nothing starts before DRIVER_OK"
        );
        guest.add_status(DRIVER_OK);
        assert_eq!(guest.status(), READY);
        assert_eq!(guest.record.lock().unwrap().starts, 2 * round);
        {
            let record = guest.record.lock().unwrap();
            let resources = record.running[0].as_ref().unwrap();
            assert_eq!(resources.features, VERSION_1 | EVENT_IDX);
            let queue = &resources.queue;
            assert_eq!((queue.size(), queue.event_idx_enabled()), (8, true));
            let rings = (queue.desc_table(), queue.avail_ring(), queue.used_ring());
            assert_eq!(rings, (DESCRIPTORS, AVAILABLE, USED));
        }
        guest.write(VIRTIO_MMIO_STATUS, 0);
        assert_eq!(guest.status(), 0);
        assert_eq!(guest.running(), [false; 2]);
    }
}

#[test]
fn only_ready_queues_are_started() {
    let mut guest = Guest::new();
    guest.negotiate(VERSION_1);
    guest.set_up_queue(1, 2);
    guest.add_status(DRIVER_OK);
    assert_eq!(guest.running(), [false, true]);
    guest.set_up_queue(0, 2);
    assert_eq!(guest.running(), [false, true], "too late");
    assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
}

#[test]
fn features_are_refused_unless_they_were_offered_and_modern() {
    for refused in [0, EVENT_IDX, VERSION_1 | 2, u64::MAX] {
        let mut guest = Guest::new();
        guest.negotiate(refused);
        assert_eq!(guest.status(), ACKNOWLEDGE | DRIVER, "{refused:#x}");
        guest.set_up_queue(0, 8);
        guest.add_status(DRIVER_OK);
        assert_eq!(guest.status(), ACKNOWLEDGE | DRIVER, "{refused:#x}");
        assert_eq!(guest.running(), [false; 2]);
        // The driver may think again.
        guest.accept(VERSION_1);
        guest.add_status(FEATURES_OK);
        assert_ne!(guest.status() & FEATURES_OK, 0);
        // But not once it is agreed.
        guest.accept(VERSION_1 | 1);
        guest.add_status(DRIVER_OK);
        assert_eq!(guest.window.driver.features, VERSION_1);
    }
}

#[test]
fn no_step_of_the_initialization_is_skipped() {
    for skipped in [
        DRIVER,
        FEATURES_OK,
        DRIVER_OK,
        DRIVER | FEATURES_OK,
        READY & !ACKNOWLEDGE,
    ] {
        let mut guest = Guest::new();
        guest.accept(VERSION_1);
        guest.write(VIRTIO_MMIO_STATUS, skipped);
        assert_eq!(guest.status(), 0, "{skipped:#x}");
    }
    let mut guest = Guest::new();
    guest.start();
    guest.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE);
    assert_eq!(guest.status(), READY, "there is no way back but a reset");
    assert_eq!(guest.running(), [true; 2]);
}

#[test]
fn a_driver_that_gives_up_stops_everything_until_a_reset() {
    let mut guest = Guest::new();
    guest.start();
    guest.add_status(FAILED);
    assert_eq!(
        (guest.status(), guest.running()),
        (READY | FAILED, [false; 2])
    );
    guest.add_status(READY);
    assert_eq!(guest.running(), [false; 2]);
    guest.start();
    assert_eq!((guest.status(), guest.running()), (READY, [true; 2]));
}

#[test]
fn a_running_queue_cannot_be_changed() {
    let mut guest = Guest::new();
    guest.start();
    let before = guest.window.driver.queues.clone();
    guest.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    for register in (VIRTIO_MMIO_QUEUE_NUM..VIRTIO_MMIO_CONFIG_GENERATION).step_by(4) {
        let acts = [VIRTIO_MMIO_STATUS, VIRTIO_MMIO_QUEUE_NOTIFY].contains(&register);
        if !acts {
            guest.write(register, 1);
        }
    }
    assert_eq!(guest.window.driver.queues, before);
    assert_eq!(guest.record.lock().unwrap().starts, 2);
}

#[test]
fn a_queue_is_set_up_only_in_its_turn() {
    let mut guest = Guest::new();
    let fresh = guest.window.driver.queues.clone();
    guest.set_up_queue(0, 2);
    guest.add_status(ACKNOWLEDGE | DRIVER);
    guest.set_up_queue(0, 2);
    assert_eq!(guest.window.driver.queues, fresh);
    guest.negotiate(VERSION_1);
    guest.set_up_queue(0, 2);
    let set_up = guest.window.driver.queues.clone();
    assert_ne!(set_up, fresh);
    guest.set_up_queue(0, 4);
    assert_eq!(guest.window.driver.queues, set_up, "it was ready already");
}

#[test]
fn a_single_queue_can_be_stopped_but_not_started_again() {
    let mut guest = Guest::new();
    guest.start();
    guest.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    guest.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
    assert_eq!(guest.running(), [false, true]);
    guest.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(guest.running(), [false, true]);
}

#[test]
fn queues_that_do_not_exist_have_no_registers() {
    let mut guest = Guest::new();
    for index in [2, 3, 0xffff, 0x1_0000, u32::MAX] {
        guest.negotiate(VERSION_1);
        guest.set_up_queue(index, 8);
        assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        assert_eq!(guest.read(VIRTIO_MMIO_QUEUE_READY), 0);
        guest.write(VIRTIO_MMIO_QUEUE_READY, 0);
        guest.write(VIRTIO_MMIO_QUEUE_NOTIFY, index);
        guest.add_status(DRIVER_OK);
        assert_eq!((guest.status(), guest.running()), (READY, [false; 2]));
    }
}

#[test]
fn an_impossible_queue_starts_none_and_asks_for_a_reset() {
    let (size, desc) = (VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_DESC_LOW);
    let (avail, used) = (VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_USED_LOW);
    let mistakes = [
        (size, 0),
        (size, 3),
        (size, 32),
        (size, 0x1_0008),
        (desc, DESCRIPTORS as u32 + 8),
        (avail, AVAILABLE as u32 + 1),
        (used, USED as u32 + 2),
        (desc, RAM_LEN as u32),
        (avail, RAM_LEN as u32 - 8),
        (used, RAM_LEN as u32 - 8),
        (desc + 4, 1),
        (used + 4, u32::MAX),
    ];
    for (register, value) in mistakes {
        let mut guest = Guest::new();
        guest.negotiate(VERSION_1);
        guest.set_up_queue(1, 4);
        guest.set_up_queue(0, 8);
        guest.write(VIRTIO_MMIO_QUEUE_READY, 0);
        guest.write(register, value);
        guest.write(VIRTIO_MMIO_QUEUE_READY, 1);
        guest.add_status(DRIVER_OK);
        assert_eq!(guest.running(), [false; 2], "{register:#x} {value:#x}");
        assert_eq!(guest.status(), READY | NEEDS_RESET);
        assert_eq!(
            guest.read(VIRTIO_MMIO_INTERRUPT_STATUS),
            VIRTIO_MMIO_INT_CONFIG
        );
        guest.line.read().expect("the driver is told");
        guest.start();
        assert_eq!((guest.status(), guest.running()), (READY, [true; 2]));
    }
}

#[test]
fn a_host_that_cannot_start_a_queue_starts_none() {
    let mut guest = Guest::new();
    guest.record.lock().unwrap().refuse_queue = Some(1);
    guest.start();
    assert_eq!(
        (guest.status(), guest.running()),
        (READY | NEEDS_RESET, [false; 2])
    );
}

#[test]
fn interrupts_stay_up_until_they_are_acknowledged() {
    let mut guest = Guest::new();
    guest.start();
    let interrupt = guest.record.lock().unwrap().running[0]
        .as_ref()
        .unwrap()
        .interrupt
        .clone();
    assert_eq!(guest.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    interrupt.used_buffers(0);
    interrupt.used_buffers(1);
    interrupt.needs_reset();
    assert_eq!(guest.line.read().unwrap(), 3);
    let both = VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG;
    assert_eq!(guest.read(VIRTIO_MMIO_INTERRUPT_STATUS), both);
    guest.write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_eq!(
        guest.read(VIRTIO_MMIO_INTERRUPT_STATUS),
        VIRTIO_MMIO_INT_CONFIG
    );
    assert_eq!(guest.status(), READY | NEEDS_RESET);
    guest.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(
        (guest.status(), guest.read(VIRTIO_MMIO_INTERRUPT_STATUS)),
        (0, 0)
    );
}

#[test]
fn a_notification_kicks_its_queue() {
    let mut guest = Guest::new();
    guest.start();
    guest.write(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    let record = guest.record.lock().unwrap();
    let kicks = record
        .running
        .each_ref()
        .map(|running| &running.as_ref().unwrap().kick);
    assert_eq!(kicks[1].read().unwrap(), 1);
    guest.window.kicks()[0].write(1).unwrap();
    assert_eq!(kicks[0].read().unwrap(), 1);
}

#[test]
fn configuration_is_read_at_any_width_and_written_by_drivers_only() {
    let mut guest = Guest::new();
    guest.record.lock().unwrap().config = *b"0123456789abcdef";
    for width in 1..=8usize {
        let mut data = vec![0; width];
        guest.window.read(CONFIG + 3, &mut data);
        assert_eq!(data, b"3456789a"[..width]);
    }
    let mut beyond = [0xff; 8];
    guest.window.read(CONFIG + 12, &mut beyond);
    assert_eq!(&beyond, b"cdef\0\0\0\0");
    guest.window.read(MMIO_LEN - 8, &mut beyond);
    assert_eq!(beyond, [0; 8]);
    guest.window.write(CONFIG, b"x");
    assert_eq!(guest.record.lock().unwrap().config[0], b'0');
    guest.add_status(ACKNOWLEDGE | DRIVER);
    guest.window.write(CONFIG, b"xy");
    assert_eq!(guest.record.lock().unwrap().config, *b"xy23456789abcdef");
}

#[test]
fn registers_are_four_aligned_bytes() {
    let mut guest = Guest::new();
    guest.add_status(ACKNOWLEDGE);
    for (offset, width) in [(0, 1), (0, 2), (0, 8), (2, 4), (0x71, 4)] {
        let mut data = vec![0xff; width];
        guest.window.read(offset, &mut data);
        assert!(data.iter().all(|byte| *byte == 0), "{offset:#x} {width}");
    }
    guest.window.write(VIRTIO_MMIO_STATUS.into(), &[0]);
    guest.window.write(VIRTIO_MMIO_STATUS.into(), &[0; 8]);
    assert_eq!(guest.status(), ACKNOWLEDGE);
}

#[test]
fn stopping_is_idempotent() {
    let mut guest = Guest::new();
    guest.window.stop();
    guest.start();
    guest.window.stop();
    guest.window.stop();
    assert_eq!(guest.running(), [false; 2]);
}

/// An access anywhere in the window, more often to a register that means something.
fn access() -> impl Strategy<Value = (bool, u64, Vec<u8>)> {
    let value = prop_oneof![
        any::<u32>(),
        0u32..17,
        Just(DATA as u32),
        Just(READY),
        Just(READY & !DRIVER_OK)
    ];
    let register = (any::<bool>(), 0u64..0x40, value)
        .prop_map(|(write, index, value)| (write, index * 4, value.to_le_bytes().to_vec()));
    let any_access = (any::<bool>(), 0..MMIO_LEN - 8, vec(any::<u8>(), 1..=8)).prop_filter(
        "the recorder takes no configuration writes past its end",
        |access| !access.0 || access.1 + 8 < CONFIG,
    );
    prop_oneof![9 => register, 1 => any_access]
}

proptest! {
    #[test]
    fn no_sequence_of_accesses_panics_or_starts_a_queue_twice(
        accesses in vec(access(), 0..200),
        first in any::<bool>(),
    ) {
        let mut guest = Guest::new();
        if first {
            guest.negotiate(VERSION_1);
            guest.set_up_queue(0, 8);
        }
        for (write, offset, mut data) in accesses {
            if write {
                guest.window.write(offset, &data);
            } else {
                guest.window.read(offset, &mut data);
            }
            let running = guest.running().contains(&true);
            prop_assert!(!running || guest.status() & !NEEDS_RESET == READY);
        }
    }
}
