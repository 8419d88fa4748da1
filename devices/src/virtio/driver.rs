//! The driver's side of a split ring, for tests.
//!
//! The mock of `virtio-queue` lets the used ring begin within the available ring, so it breaks once
//! that is half full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use virtio_bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE, VRING_USED_F_NO_NOTIFY,
};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{QueueResources, VirtioInterrupt};
use crate::memory::GuestRam;

/// Size of the RAM of [`ram`], in two regions that touch at [`SEAM`].
pub const RAM_LEN: u64 = 2 << 20;
/// Where the two regions touch.
pub const SEAM: u64 = 1 << 20;
/// Where tests may put data: from here to the end of RAM.
pub const DATA: u64 = 0x1_0000;

/// Where the rings are.
pub const DESCRIPTORS: u64 = 0x1000;
pub const AVAILABLE: u64 = 0x2000;
pub const USED: u64 = 0x3000;
const INDIRECT: u64 = 0x4000;

/// A guest's RAM.
pub fn ram() -> GuestRam {
    let ranges = [
        (GuestAddress(0), SEAM as usize),
        (GuestAddress(SEAM), SEAM as usize),
    ];
    GuestRam::from_ranges(&ranges).unwrap()
}

/// A buffer of a chain.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    pub address: u64,
    pub len: u32,
    pub writable: bool,
}

impl Buffer {
    /// A buffer that the device reads.
    pub fn readable(address: u64, len: u32) -> Self {
        Self {
            address,
            len,
            writable: false,
        }
    }

    /// A buffer that the device writes.
    pub fn writable(address: u64, len: u32) -> Self {
        Self {
            address,
            len,
            writable: true,
        }
    }
}

/// A driver of one queue.
pub struct Driver<'ram> {
    ram: &'ram GuestRam,
    size: u16,
    descriptor: u16,
    available: u16,
    used: u16,
}

impl<'ram> Driver<'ram> {
    /// A driver whose queue has `size` entries.
    pub fn new(ram: &'ram GuestRam, size: u16) -> Self {
        Self {
            ram,
            size,
            descriptor: 0,
            available: 0,
            used: 0,
        }
    }

    /// The queue as the device sees it.
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new(self.size).unwrap();
        queue.set_desc_table_address(Some(DESCRIPTORS as u32), None);
        queue.set_avail_ring_address(Some(AVAILABLE as u32), None);
        queue.set_used_ring_address(Some(USED as u32), None);
        queue.set_ready(true);
        assert!(queue.is_valid(self.ram));
        queue
    }

    /// Makes a chain available and returns its head.
    pub fn submit(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.descriptor;
        for (position, buffer) in buffers.iter().enumerate() {
            let next = (self.descriptor + 1) % self.size;
            let last = position + 1 == buffers.len();
            self.write_descriptor(
                DESCRIPTORS,
                self.descriptor,
                descriptor(*buffer, last, next),
            );
            self.descriptor = next;
        }
        self.offer(head);
        head
    }

    /// The same with an indirect table.
    pub fn submit_indirect(&mut self, buffers: &[Buffer]) -> u16 {
        for (position, buffer) in (0..).zip(buffers) {
            let last = usize::from(position) + 1 == buffers.len();
            self.write_descriptor(INDIRECT, position, descriptor(*buffer, last, position + 1));
        }
        let (head, len) = (self.descriptor, 16 * buffers.len() as u32);
        let table = Descriptor::new(INDIRECT, len, VRING_DESC_F_INDIRECT as u16, 0);
        self.write_descriptor(DESCRIPTORS, head, table);
        self.descriptor = (head + 1) % self.size;
        self.offer(head);
        head
    }

    /// Puts a descriptor into a table.
    pub fn write_descriptor(&self, table: u64, index: u16, descriptor: Descriptor) {
        let address = GuestAddress(table + 16 * u64::from(index));
        self.ram
            .write_obj(RawDescriptor::from(descriptor), address)
            .unwrap();
    }

    /// Makes the chain that begins at `head` available.
    pub fn offer(&mut self, head: u16) {
        self.write(
            AVAILABLE + 4 + 2 * u64::from(self.available % self.size),
            head,
        );
        self.available = self.available.wrapping_add(1);
        self.write(AVAILABLE + 2, self.available);
    }

    /// Whether the device wants to be told of the chain that was made available last.
    pub fn wants_kick(&self, event_idx: bool) -> bool {
        fence(Ordering::SeqCst);
        let load = |address| {
            self.ram
                .load::<u16>(GuestAddress(address), Ordering::SeqCst)
                .unwrap()
        };
        if event_idx {
            load(USED + 4 + 8 * u64::from(self.size)) == self.available.wrapping_sub(1)
        } else {
            load(USED) & VRING_USED_F_NO_NOTIFY as u16 == 0
        }
    }

    /// The next chain that the device has used, and the length it reports.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        let index: u16 = self.ram.read_obj(GuestAddress(USED + 2)).unwrap();
        if index == self.used {
            return None;
        }
        let entry = GuestAddress(USED + 4 + 8 * u64::from(self.used % self.size));
        self.used = self.used.wrapping_add(1);
        let [head, len]: [u32; 2] = self.ram.read_obj(entry).unwrap();
        Some((head as u16, len))
    }

    /// Asks for an interrupt once the used ring's entry `index` is filled (event index).
    pub fn set_used_event(&self, index: u16) {
        self.write(AVAILABLE + 4 + 2 * u64::from(self.size), index);
    }

    /// Writes 16 bits of a ring.
    pub fn write(&self, address: u64, value: u16) {
        self.ram
            .store(value, GuestAddress(address), Ordering::SeqCst)
            .unwrap();
    }
}

fn descriptor(buffer: Buffer, last: bool, next: u16) -> Descriptor {
    let write = if buffer.writable {
        VRING_DESC_F_WRITE
    } else {
        0
    };
    let goes_on = if last { 0 } else { VRING_DESC_F_NEXT };
    Descriptor::new(buffer.address, buffer.len, (write | goes_on) as u16, next)
}

/// Counts interrupts.
#[derive(Default)]
pub struct Interrupts {
    pub used_buffers: AtomicU64,
    pub needs_reset: AtomicU64,
}

impl VirtioInterrupt for Interrupts {
    fn used_buffers(&self, _index: u16) {
        self.used_buffers.fetch_add(1, Ordering::SeqCst);
    }

    fn needs_reset(&self) {
        self.needs_reset.fetch_add(1, Ordering::SeqCst);
    }
}

/// All that a device needs to serve `queue`, and the other end of its kick.
pub fn resources(
    queue: Queue,
    ram: &GuestRam,
    interrupts: &Arc<Interrupts>,
    features: u64,
) -> (QueueResources, EventFd) {
    let kick = EventFd::new(0).unwrap();
    let resources = QueueResources {
        queue,
        ram: ram.clone(),
        kick: kick.try_clone().unwrap(),
        interrupt: interrupts.clone(),
        features,
    };
    (resources, kick)
}

/// An eventfd that stands for an interrupt line.
pub fn line() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

/// Waits until `condition` holds. Fails after a time that no healthy machine needs.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "never happened: {what}"
        );
        std::thread::yield_now();
    }
}
