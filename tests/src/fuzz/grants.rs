//! Which bytes of RAM the driver lets the device write.
//!
//! A device may write buffers that the driver has marked so, and the used ring. Whatever it writes
//! beyond is a hole through which a driver reaches memory that its kernel thinks is safe.

use std::ops::Range;

use muster_devices::memory::GuestRam;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::ring::{AVAILABLE, DESCRIPTORS, RING_SIZE, USED};

const DESCRIPTOR_LEN: usize = 16;
const TABLE: Range<u64> = DESCRIPTORS..DESCRIPTORS + RING_SIZE as u64 * DESCRIPTOR_LEN as u64;
/// With the index of the event, and so on with the used ring.
const AVAILABLE_RING: Range<u64> = AVAILABLE..AVAILABLE + 6 + RING_SIZE as u64 * 2;
const USED_RING: Range<u64> = USED..USED + 6 + RING_SIZE as u64 * 8;

/// RAM as it was before the device had its turn, and what it may change.
pub(super) struct Grants {
    before: Vec<(u64, Vec<u8>)>,
    /// `None` if the driver lets the device write what says what the device may write.
    writable: Option<Vec<Range<u64>>>,
}

impl Grants {
    /// Looks at all descriptors, also those of no chain.
    pub fn read(ram: &GuestRam) -> Self {
        let mut writable = vec![USED_RING];
        let mut rules = vec![AVAILABLE_RING, TABLE];
        for top in descriptors(ram, TABLE) {
            writable.extend(top.writable());
            // There are no tables in tables.
            if top.flags & VRING_DESC_F_INDIRECT != 0 {
                rules.push(top.range.clone());
                let table = descriptors(ram, top.range);
                writable.extend(table.filter_map(|descriptor| descriptor.writable()));
            }
        }
        let is_rule = |range: &Range<u64>| rules.iter().any(|rule| overlap(rule, range));
        let fixed = !writable.iter().any(is_rule);
        writable.sort_by_key(|range| range.start);
        Self {
            before: content(ram),
            writable: fixed.then_some(writable),
        }
    }

    /// Checks that nothing else has changed since.
    pub fn check(&self, ram: &GuestRam) {
        let Some(writable) = &self.writable else {
            return;
        };
        for ((base, before), (_, mut after)) in self.before.iter().zip(content(ram)) {
            // Undo what was granted. The ranges are sorted, so every byte has its turn once.
            let mut done = 0;
            for range in writable {
                let index =
                    |address: u64| (address.saturating_sub(*base) as usize).min(before.len());
                let (start, end) = (index(range.start).max(done), index(range.end));
                if start < end {
                    after[start..end].copy_from_slice(&before[start..end]);
                    done = end;
                }
            }
            let pairs = before.iter().zip(&after);
            let same = || pairs.take_while(|(before, after)| before == after).count();
            assert!(
                *before == after,
                "byte {} after {base:#x}: nobody granted it",
                same()
            );
        }
    }
}

struct Descriptor {
    range: Range<u64>,
    flags: u32,
}

impl Descriptor {
    fn writable(&self) -> Option<Range<u64>> {
        (self.flags & VRING_DESC_F_WRITE != 0).then(|| self.range.clone())
    }
}

/// The descriptors of a table, up to where RAM ends.
fn descriptors(ram: &GuestRam, table: Range<u64>) -> impl Iterator<Item = Descriptor> {
    let descriptor = |at| {
        let number: u128 = ram.read_obj(GuestAddress(at)).ok()?;
        let (address, len) = (number as u64, u64::from((number >> 64) as u32));
        Some(Descriptor {
            range: address..address.saturating_add(len),
            flags: u32::from((number >> 96) as u16),
        })
    };
    table.step_by(DESCRIPTOR_LEN).map_while(descriptor)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Every region's address and bytes.
fn content(ram: &GuestRam) -> Vec<(u64, Vec<u8>)> {
    let region = |region: &_| {
        let base = GuestMemoryRegion::start_addr(region);
        let mut bytes = vec![0; GuestMemoryRegion::len(region) as usize];
        ram.read_slice(&mut bytes, base)
            .expect("the region is in RAM");
        (base.0, bytes)
    };
    ram.iter().map(region).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ring::{RingImage, ram};
    use super::*;

    /// Changes one byte of RAM after a chain with a writable buffer of 8 bytes at 0x4000.
    fn change(address: u64) -> std::thread::Result<()> {
        let ram = ram(&RingImage::new().indirect_chain(&[b"header"], &[8]).finish());
        let grants = Grants::read(&ram);
        ram.write_obj(0x77_u8, GuestAddress(address)).unwrap();
        std::panic::catch_unwind(|| grants.check(&ram))
    }

    #[test]
    fn only_granted_bytes_may_change() {
        for granted in [0x4000, 0x4007, USED, USED + 6 + 16 * 8 - 1] {
            assert!(change(granted).is_ok(), "{granted:#x}");
        }
        for foreign in [
            0x3fff,
            0x4008,
            DESCRIPTORS + 2,
            AVAILABLE + 2,
            USED - 1,
            0x1_8000,
        ] {
            assert!(change(foreign).is_err(), "{foreign:#x}");
        }
    }

    #[test]
    fn a_driver_that_grants_its_rules_is_on_its_own() {
        let mut image = RingImage::new().chain(&[], &[8]).finish();
        // The buffer is the descriptor table itself.
        image[..8].fill(0);
        let ram = ram(&image);
        let grants = Grants::read(&ram);
        ram.write_obj(0x77_u8, GuestAddress(0x5000)).unwrap();
        grants.check(&ram);
    }
}
