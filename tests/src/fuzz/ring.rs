//! Guest RAM with a virtqueue in it, and the driver's side of it for seeds.

use muster_devices::memory::GuestRam;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

/// Descriptors in a ring: few, so that an input can describe all of them.
pub(super) const RING_SIZE: u16 = 16;
/// Where the rings are. An input's bytes go to RAM from address 0 on.
pub(super) const DESCRIPTORS: u64 = 0;
pub(super) const AVAILABLE: u64 = 0x100;
pub(super) const USED: u64 = 0xe000;
/// The first byte behind the descriptors and the available ring.
const BUFFERS: u64 = 0x130;

/// Two regions side by side, a hole, and one more: buffers can cross from region to region, end in
/// the hole, or lie beyond everything.
const REGIONS: [(GuestAddress, usize); 3] = [
    (GuestAddress(0), 0x8000),
    (GuestAddress(0x8000), 0x8000),
    (GuestAddress(0x1_8000), 0x1000),
];

/// RAM that begins with `content`, as far as there is room.
pub(super) fn ram(content: &[u8]) -> GuestRam {
    let ram = GuestRam::from_ranges(&REGIONS).expect("64 KiB can be mapped");
    let len = content.len().min(USED as usize);
    ram.write_slice(&content[..len], GuestAddress(0))
        .expect("the two first regions have room");
    ram
}

/// The beginning of RAM as a driver would leave it.
pub(super) struct RingImage {
    bytes: Vec<u8>,
    descriptors: u16,
    /// Heads of chains, for the available ring.
    heads: Vec<u16>,
}

impl RingImage {
    pub fn new() -> Self {
        Self {
            bytes: vec![0; BUFFERS as usize],
            descriptors: 0,
            heads: Vec::new(),
        }
    }

    /// Adds a chain: buffers with this content to read, then buffers of these lengths to write.
    pub fn chain(mut self, readable: &[&[u8]], writable: &[u32]) -> Self {
        let count = (readable.len() + writable.len()) as u16;
        let first = self.descriptors;
        self.descriptors += count;
        let table = self.table(readable, writable, first);
        let at = usize::from(first) * 16;
        self.bytes[at..at + table.len()].copy_from_slice(&table);
        self.heads.push(first);
        self
    }

    /// Adds the same with its descriptors in a table of its own.
    pub fn indirect_chain(mut self, readable: &[&[u8]], writable: &[u32]) -> Self {
        let table = self.table(readable, writable, 0);
        let address = self.push(&table);
        let entry = descriptor(address, table.len() as u32, VRING_DESC_F_INDIRECT, 0);
        let at = usize::from(self.descriptors) * 16;
        self.bytes[at..at + 16].copy_from_slice(&entry);
        self.heads.push(self.descriptors);
        self.descriptors += 1;
        self
    }

    /// The bytes of RAM, with the chains made available.
    pub fn finish(mut self) -> Vec<u8> {
        let ring = [0, self.heads.len() as u16]
            .into_iter()
            .chain(self.heads.iter().copied());
        let ring: Vec<u8> = ring.flat_map(u16::to_le_bytes).collect();
        self.bytes[AVAILABLE as usize..][..ring.len()].copy_from_slice(&ring);
        self.bytes
    }

    /// Descriptors for the buffers, linked from index `first` on.
    fn table(&mut self, readable: &[&[u8]], writable: &[u32], first: u16) -> Vec<u8> {
        let mut buffers = Vec::new();
        for content in readable {
            buffers.push((self.push(content), content.len() as u32, 0));
        }
        for (index, len) in (0..).zip(writable) {
            buffers.push((0x4000 + 0x1000 * index, *len, VRING_DESC_F_WRITE));
        }
        let last = buffers.len() - 1;
        let link = |(index, (address, len, flags)): (usize, (u64, u32, u32))| {
            let next = first + index as u16 + 1;
            if index == last {
                descriptor(address, len, flags, 0)
            } else {
                descriptor(address, len, flags | VRING_DESC_F_NEXT, next)
            }
        };
        buffers.into_iter().enumerate().flat_map(link).collect()
    }

    /// Puts bytes behind all others and tells their address.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        let address = self.bytes.len() as u64;
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        address
    }
}

fn descriptor(address: u64, len: u32, flags: u32, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&(flags as u16).to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}
