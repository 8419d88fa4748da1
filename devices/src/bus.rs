//! Address spaces, and the devices in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// What the VMM must do after a device register was written.
///
/// A device never holds a handle to the VM: it asks by returning one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Nothing; the guest goes on.
    #[default]
    None,
    /// The guest switched itself off.
    Shutdown,
    /// The guest asked for a reset of the whole machine.
    Reset,
}

/// A device's registers, in port or memory address space.
///
/// The bus calls these from the vCPU thread that made the access, holding the device's lock. The
/// bus guarantees that the whole access lies within the registered range; `data` is 1 to 8 bytes.
/// A device must accept every offset and length in that range and may not panic for any. It may wait
/// for the host (output that goes to a full pipe, a request in flight at a reset), never for the guest.
pub trait Device: Send {
    /// Fills `data` with what the guest reads at `offset` from the start of the device's range.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes what the guest wrote at `offset` from the start of the device's range.
    fn write(&mut self, offset: u64, data: &[u8]) -> Action;
}

/// A device that the bus and others (an input source, say) share.
pub type Shared<D> = Arc<Mutex<D>>;

/// Locks a device, also after a panic of another holder: a device's registers are valid at every
/// point, so the remaining threads may go on to shut down in order.
pub fn lock<D: ?Sized>(device: &Mutex<D>) -> MutexGuard<'_, D> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A range could not be added to a bus. Always a mistake in the machine's layout, never the guest's.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("address range {base:#x}+{len:#x} is empty, wraps around or overlaps another device")]
pub struct BusError {
    base: u64,
    len: u64,
}

struct Slot {
    base: u64,
    len: u64,
    device: Arc<Mutex<dyn Device>>,
}

/// One address space (ports, or memory-mapped registers), built once and then read by all vCPUs.
#[derive(Default)]
pub struct Bus {
    /// Sorted by base, not overlapping.
    slots: Vec<Slot>,
}

impl Bus {
    /// An empty address space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Places `device` at `base .. base + len`.
    pub fn insert(
        &mut self,
        base: u64,
        len: u64,
        device: Arc<Mutex<dyn Device>>,
    ) -> Result<(), BusError> {
        let error = BusError { base, len };
        let end = base
            .checked_add(len)
            .filter(|end| *end > base)
            .ok_or(error)?;
        let at = self.slots.partition_point(|slot| slot.base < base);
        let clear_below = at == 0 || self.slots[at - 1].base + self.slots[at - 1].len <= base;
        let clear_above = self.slots.get(at).is_none_or(|slot| end <= slot.base);
        if !(clear_below && clear_above) {
            return Err(BusError { base, len });
        }
        self.slots.insert(at, Slot { base, len, device });
        Ok(())
    }

    /// The device that holds all of `address .. address + len`, and the offset within it.
    fn find(&self, address: u64, len: usize) -> Option<(&Slot, u64)> {
        let at = self.slots.partition_point(|slot| slot.base <= address);
        let slot = &self.slots[at.checked_sub(1)?];
        let offset = address - slot.base;
        let end = offset.checked_add(len as u64)?;
        (end <= slot.len).then_some((slot, offset))
    }

    /// A guest's read. Where no device answers, the data is all ones, as on a real bus.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match self.find(address, data.len()) {
            Some((slot, offset)) => lock(&slot.device).read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// A guest's write. Where no device answers, it is dropped, as on a real bus.
    pub fn write(&self, address: u64, data: &[u8]) -> Action {
        match self.find(address, data.len()) {
            Some((slot, offset)) => lock(&slot.device).write(offset, data),
            None => Action::None,
        }
    }
}

#[cfg(test)]
mod tests;
