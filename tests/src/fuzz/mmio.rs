//! The virtio-mmio transport: any register accesses in any order, with a block device's rings
//! behind it.
//!
//! Input: operations, each a byte that chooses it and then its operands.

use std::sync::{Arc, Mutex};

use muster_devices::bus::{Device, lock};
use muster_devices::disk::Disk;
use muster_devices::memory::GuestRam;
use muster_devices::virtio::block::process_queue;
use muster_devices::virtio::mmio::{MMIO_LEN, MmioTransport};
use muster_devices::virtio::{QueueResources, QueueState, StartQueueError, VirtioDevice};
use nix::libc::EFD_NONBLOCK;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_T_IN};
use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::block::{DISK_LEN, header};
use super::input::Input;
use super::memory_disk::MemoryDisk;
use super::ring::{AVAILABLE, DESCRIPTORS, RING_SIZE, RingImage, USED, ram};

const QUEUE_SIZES: [u16; 2] = [RING_SIZE, 8];
const FEATURES: u64 =
    1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
const CONFIG_LEN: usize = 24;

/// Operations. A byte chooses by its remainder, so that each has its share.
const WRITE_REGISTER: u8 = 0;
const READ_ANYWHERE: u8 = 1;
const WRITE_ANYWHERE: u8 = 2;
const WRITE_RAM: u8 = 3;
const SERVE: u8 = 4;
const OPERATIONS: u8 = 5;

/// What the driver has started.
type Running = Arc<Mutex<[Option<QueueResources>; QUEUE_SIZES.len()]>>;

/// A device without threads: its queues are served when the input says so.
struct Threadless {
    running: Running,
    config: [u8; CONFIG_LEN],
}

impl VirtioDevice for Threadless {
    fn device_id(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.config.get(at as usize).copied().unwrap_or(0);
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (offset..).zip(data) {
            if let Some(place) = self.config.get_mut(at as usize) {
                *place = *byte;
            }
        }
    }

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        state: Option<QueueState>,
    ) -> Result<(), StartQueueError> {
        assert!(state.is_none(), "there is nothing to go on from");
        assert!(
            resources.queue.is_valid(&resources.ram),
            "a queue outside of RAM was started"
        );
        assert!(resources.queue.size() <= QUEUE_SIZES[usize::from(index)]);
        assert_eq!(
            resources.features & !(FEATURES | 1 << VIRTIO_F_VERSION_1),
            0
        );
        let before = lock(&self.running)[usize::from(index)].replace(resources);
        assert!(before.is_none(), "queue {index} was started twice");
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let resources = lock(&self.running)[usize::from(index)].take()?;
        Some(QueueState {
            next_avail: resources.queue.next_avail(),
            next_used: resources.queue.next_used(),
        })
    }
}

/// Carries out the operations and checks the device's state after each.
pub fn run(bytes: &[u8]) {
    drive(bytes);
}

/// Gives the number of requests served.
fn drive(bytes: &[u8]) -> u64 {
    let mut input = Input::new(bytes);
    let mut machine = Machine::new();
    while !input.is_empty() {
        machine.operate(&mut input);
        machine.check();
    }
    machine.transport.stop();
    assert!(!machine.has_running_queue(), "a queue runs on");
    machine.served
}

struct Machine {
    transport: MmioTransport,
    ram: GuestRam,
    disk: Arc<dyn Disk>,
    running: Running,
    served: u64,
}

impl Machine {
    fn new() -> Self {
        let ram = ram(&[]);
        let running = Running::default();
        let device = Threadless {
            running: running.clone(),
            config: [7; CONFIG_LEN],
        };
        // Nobody takes the interrupts, and nothing may wait for that.
        let line = EventFd::new(EFD_NONBLOCK).expect("the host has eventfds");
        let transport = MmioTransport::new(Box::new(device), ram.clone(), line);
        Self {
            transport: transport.expect("the host has eventfds"),
            ram,
            disk: Arc::new(MemoryDisk::new(DISK_LEN, false)),
            running,
            served: 0,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        match input.u8() % OPERATIONS {
            WRITE_REGISTER => {
                let offset = u64::from(input.u8()) * 4 % MMIO_LEN;
                self.transport.write(offset, &input.u32().to_le_bytes());
            }
            READ_ANYWHERE => {
                let (offset, len) = access(input);
                self.transport.read(offset, &mut vec![0xee; len]);
            }
            WRITE_ANYWHERE => {
                let (offset, len) = access(input);
                let mut data = vec![0; len];
                let piece = input.piece(len);
                data[..piece.len()].copy_from_slice(piece);
                self.transport.write(offset, &data);
            }
            WRITE_RAM => {
                let address = input.u16();
                let len = usize::from(input.u16());
                // What does not fit is cut off.
                let _ = self
                    .ram
                    .write(input.piece(len), GuestAddress(address.into()));
            }
            _ => self.serve(),
        }
    }

    /// What the workers of the queues would do.
    fn serve(&mut self) {
        for (index, resources) in (0..).zip(lock(&self.running).iter_mut()) {
            let Some(resources) = resources else {
                continue;
            };
            let features = resources.features;
            match process_queue(&mut resources.queue, &resources.ram, &self.disk, features) {
                Ok(0) => {}
                Ok(used) => {
                    self.served += u64::from(used);
                    resources.interrupt.used_buffers(index);
                }
                Err(_) => resources.interrupt.needs_reset(),
            }
        }
    }

    fn has_running_queue(&self) -> bool {
        lock(&self.running).iter().any(Option::is_some)
    }

    fn register(&mut self, offset: u32) -> u32 {
        let mut value = [0; 4];
        self.transport.read(offset.into(), &mut value);
        u32::from_le_bytes(value)
    }

    /// What holds after every operation.
    fn check(&mut self) {
        assert_eq!(
            self.register(VIRTIO_MMIO_MAGIC_VALUE),
            u32::from_le_bytes(*b"virt")
        );
        let status = self.register(VIRTIO_MMIO_STATUS);
        if self.has_running_queue() {
            assert_ne!(
                status & VIRTIO_CONFIG_S_DRIVER_OK,
                0,
                "a queue runs at status {status:#x}"
            );
        }
    }
}

/// An access as the bus lets it pass: 1 to 8 bytes inside of the window.
fn access(input: &mut Input<'_>) -> (u64, usize) {
    let len = input.u8() % 8 + 1;
    let offset = u64::from(input.u16()) % (MMIO_LEN - u64::from(len) + 1);
    (offset, len.into())
}

/// A driver at work: it sets the device up, has a request served, stops and begins again.
pub fn seeds() -> Vec<Vec<u8>> {
    let image = RingImage::new()
        .chain(&[&header(VIRTIO_BLK_T_IN, 0)], &[512, 1])
        .finish();
    let mut ram = vec![WRITE_RAM, 0, 0];
    ram.extend((image.len() as u16).to_le_bytes());
    ram.extend(image);
    let setup = |features: u64| {
        [
            (VIRTIO_MMIO_STATUS, 0),
            (VIRTIO_MMIO_STATUS, 1),
            (VIRTIO_MMIO_STATUS, 3),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0),
            (VIRTIO_MMIO_DRIVER_FEATURES, features as u32),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
            (VIRTIO_MMIO_DRIVER_FEATURES, 1),
            (VIRTIO_MMIO_STATUS, 11),
            (VIRTIO_MMIO_QUEUE_SEL, 0),
            (VIRTIO_MMIO_QUEUE_NUM, RING_SIZE.into()),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS as u32),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE as u32),
            (VIRTIO_MMIO_QUEUE_USED_LOW, USED as u32),
            (VIRTIO_MMIO_QUEUE_READY, 1),
            (VIRTIO_MMIO_STATUS, 15),
            (VIRTIO_MMIO_QUEUE_NOTIFY, 0),
        ]
        .map(|(register, value)| write(register, value))
        .concat()
    };
    let stop = write(VIRTIO_MMIO_QUEUE_READY, 0);
    let acknowledge = write(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    let read_config = vec![READ_ANYWHERE, 7, 0, 1];
    let write_config = vec![WRITE_ANYWHERE, 3, 8, 1, 1, 2, 3, 4];
    vec![
        [&ram[..], &setup(FEATURES), &[SERVE], &acknowledge, &stop].concat(),
        [
            &ram[..],
            &setup(0),
            &[SERVE, SERVE],
            &setup(FEATURES),
            &[SERVE],
        ]
        .concat(),
        [&setup(0)[..], &read_config, &write_config, &ram, &[SERVE]].concat(),
        setup(u64::MAX),
    ]
}

fn write(register: u32, value: u32) -> Vec<u8> {
    let mut operation = vec![WRITE_REGISTER, (register / 4) as u8];
    operation.extend(value.to_le_bytes());
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_drivers_that_get_their_requests_served() {
        let served: Vec<u64> = seeds().iter().map(|seed| drive(seed)).collect();
        // The second begins anew after a reset; the last accepts features that are not on offer.
        assert_eq!(served, [1, 2, 1, 0]);
    }
}
