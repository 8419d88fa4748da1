//! The virtio-mmio transport, version 2 ("modern").
//!
//! A driver sees a window of registers: features, queues and status of the device, then its
//! configuration space. The transport keeps what the driver has written (`DriverState`) and tells
//! the device only to start and stop queues.
//!
//! What the driver may do depends on how far it has come. Everything out of turn is ignored, so a
//! running queue never changes under its worker:
//!
//! ```text
//! status        ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK
//! may write                    features  queues         stop a queue, configuration
//! ```
//!
//! Source: VIRTIO 1.2, sections 2.1 (status), 3.1 (initialization) and 4.2 (MMIO).

use std::io;
use std::sync::Arc;

use thiserror::Error;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE as ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER as DRIVER,
    VIRTIO_CONFIG_S_DRIVER_OK as DRIVER_OK, VIRTIO_CONFIG_S_FAILED as FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK as FEATURES_OK, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Error as RingError, Queue, QueueState as RingSetup, QueueT};
use vmm_sys_util::eventfd::EventFd;

use self::interrupt::MmioInterrupt;
use super::{QueueResources, StartQueueError, VirtioDevice};
use crate::bus::{Action, Device};
use crate::memory::GuestRam;

mod interrupt;

/// Length of the register window, configuration space included.
pub const MMIO_LEN: u64 = 0x200;
/// Offset of configuration space, which fills the rest of the window.
pub const CONFIG: u64 = VIRTIO_MMIO_CONFIG as u64;
/// Offset of the register that takes the index of a queue with new buffers. A VMM connects writes
/// here to [`MmioTransport::kicks`] without an exit to user space.
pub const QUEUE_NOTIFY: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"MSTR");
const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;

/// A virtio device in a window of registers.
pub struct MmioTransport {
    // Fixed.
    device: Box<dyn VirtioDevice>,
    ram: GuestRam,
    features: u64,
    kicks: Vec<EventFd>,
    interrupt: Arc<MmioInterrupt>,
    // As the driver left it.
    driver: DriverState,
}

/// All that the driver has written, and a reset forgets.
#[derive(Debug, Default)]
struct DriverState {
    status: u32,
    /// Which half of the device's features is read.
    device_features_half: u32,
    /// Which half of the driver's features is written.
    driver_features_half: u32,
    /// The features that the driver accepts.
    features: u64,
    /// The queue that the queue registers are about.
    selected: u32,
    queues: Vec<RingSetup>,
}

/// Queues could not be started.
#[derive(Debug, Error)]
enum ActivateError {
    #[error("the driver has set up queue {index} wrongly")]
    Setup { index: u16, source: RingError },
    #[error("the driver has put queue {index} outside of RAM")]
    OutsideRam { index: u16 },
    #[error(transparent)]
    Start(#[from] StartQueueError),
}

impl MmioTransport {
    /// A window for `device`, which raises `line` for an interrupt.
    pub fn new(device: Box<dyn VirtioDevice>, ram: GuestRam, line: EventFd) -> io::Result<Self> {
        let kick = |_: &u16| EventFd::new(0);
        let kicks = device
            .queue_sizes()
            .iter()
            .map(kick)
            .collect::<io::Result<_>>()?;
        let features = device.features() | VERSION_1;
        let driver = DriverState::new(device.queue_sizes());
        Ok(Self {
            device,
            ram,
            features,
            kicks,
            interrupt: MmioInterrupt::new(line),
            driver,
        })
    }

    /// One eventfd per queue: writing it has the same effect as writing the queue's index to the
    /// register at [`QUEUE_NOTIFY`].
    pub fn kicks(&self) -> &[EventFd] {
        &self.kicks
    }

    /// Stops all queues: afterwards no thread of the device touches RAM. Waits for requests in
    /// flight. Idempotent.
    pub fn stop(&mut self) {
        for index in 0..self.kicks.len() as u16 {
            self.device.stop_queue(index);
        }
    }

    /// Back to power-on. The register has to read 0 at once, so this waits for requests in flight.
    fn reset(&mut self) {
        self.stop();
        self.interrupt.reset();
        self.driver = DriverState::new(self.device.queue_sizes());
    }

    fn read_register(&self, offset: u32) -> u32 {
        let driver = &self.driver;
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device.device_id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.features, driver.device_features_half),
            VIRTIO_MMIO_QUEUE_NUM_MAX => driver.queue().map_or(0, |queue| queue.max_size.into()),
            VIRTIO_MMIO_QUEUE_READY => driver.queue().is_some_and(|queue| queue.ready).into(),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            VIRTIO_MMIO_STATUS => driver.status | self.interrupt.needs_reset_bit(),
            // There are no shared memory regions: lengths and addresses of all ones say so.
            VIRTIO_MMIO_SHM_LEN_LOW..=VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // Configuration space changes for no device, so its generation stays at 0. Registers
            // that are written only, or do not exist, read as 0 too.
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u32, value: u32) {
        match offset {
            VIRTIO_MMIO_STATUS => self.write_status(value),
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt.acknowledge(value),
            VIRTIO_MMIO_QUEUE_READY if value == 0 => self.stop_selected(),
            _ => self.driver.write(offset, value),
        }
    }

    /// The driver's way through initialization, one or more steps at a time, and never back but to
    /// the beginning.
    fn write_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        if value & FAILED != 0 {
            self.stop();
            self.driver.status |= FAILED;
            return;
        }
        let mut before = 0;
        for step in [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK] {
            let status = self.driver.status;
            if value & step != 0 && status & step == 0 {
                let allowed = status == before && (step != FEATURES_OK || self.features_agree());
                if !allowed {
                    return;
                }
                self.driver.status |= step;
                if step == DRIVER_OK {
                    self.activate();
                }
            }
            before |= step;
        }
    }

    fn features_agree(&self) -> bool {
        let accepted = self.driver.features;
        accepted & !self.features == 0 && accepted & VERSION_1 != 0
    }

    /// Starts the queues that are ready; all of them, or none.
    fn activate(&mut self) {
        if let Err(error) = self.start_queues() {
            self.stop();
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                device = self.device.device_id(),
                error,
                "a virtio device cannot start"
            );
            super::VirtioInterrupt::needs_reset(&*self.interrupt);
        }
    }

    fn start_queues(&mut self) -> Result<(), ActivateError> {
        let event_idx = self.driver.features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        for (index, (setup, kick)) in (0..).zip(self.driver.queues.iter().zip(&self.kicks)) {
            if !setup.ready {
                continue;
            }
            let setup = RingSetup {
                event_idx_enabled: event_idx,
                ..*setup
            };
            let queue =
                Queue::try_from(setup).map_err(|source| ActivateError::Setup { index, source })?;
            if !queue.is_valid(&self.ram) {
                return Err(ActivateError::OutsideRam { index });
            }
            let resources = QueueResources {
                queue,
                ram: self.ram.clone(),
                kick: kick
                    .try_clone()
                    .map_err(|source| StartQueueError { index, source })?,
                interrupt: self.interrupt.clone(),
                features: self.driver.features,
            };
            self.device.start_queue(index, resources, None)?;
        }
        Ok(())
    }

    /// The way of a notification that the VMM has not connected to the kick itself.
    fn notify(&self, index: u32) {
        if let Some(kick) = self.kicks.get(index as usize) {
            kick.write(1).expect("an eventfd can be written");
        }
    }

    fn stop_selected(&mut self) {
        let index = self.driver.selected;
        if let Some(queue) = self.driver.queues.get_mut(index as usize) {
            queue.ready = false;
            self.device.stop_queue(index as u16);
        }
    }
}

impl DriverState {
    fn new(queue_sizes: &[u16]) -> Self {
        let setup = |&max_size: &u16| RingSetup {
            max_size,
            size: max_size,
            ..Default::default()
        };
        Self {
            queues: queue_sizes.iter().map(setup).collect(),
            ..Default::default()
        }
    }

    /// The selected queue, if there is one of that index.
    fn queue(&self) -> Option<&RingSetup> {
        self.queues.get(self.selected as usize)
    }

    /// Takes a write to a register that has no effect outside of this state.
    fn write(&mut self, offset: u32, value: u32) {
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_half = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_half = value,
            VIRTIO_MMIO_QUEUE_SEL => self.selected = value,
            VIRTIO_MMIO_DRIVER_FEATURES if self.status == ACKNOWLEDGE | DRIVER => {
                set_half(&mut self.features, self.driver_features_half, value);
            }
            _ if self.status == ACKNOWLEDGE | DRIVER | FEATURES_OK => {
                self.write_queue(offset, value);
            }
            _ => {}
        }
    }

    /// Sets up the selected queue. Once it is ready, it stays as it is.
    fn write_queue(&mut self, offset: u32, value: u32) {
        let Some(queue) = self.queues.get_mut(self.selected as usize) else {
            return;
        };
        if queue.ready {
            return;
        }
        match offset {
            // No queue has size 0: what does not fit is refused when the queue is started.
            VIRTIO_MMIO_QUEUE_NUM => queue.size = u16::try_from(value).unwrap_or(0),
            VIRTIO_MMIO_QUEUE_READY => queue.ready = value == 1,
            VIRTIO_MMIO_QUEUE_DESC_LOW => set_half(&mut queue.desc_table, 0, value),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => set_half(&mut queue.desc_table, 1, value),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_half(&mut queue.avail_ring, 0, value),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_half(&mut queue.avail_ring, 1, value),
            VIRTIO_MMIO_QUEUE_USED_LOW => set_half(&mut queue.used_ring, 0, value),
            VIRTIO_MMIO_QUEUE_USED_HIGH => set_half(&mut queue.used_ring, 1, value),
            _ => {}
        }
    }
}

/// The low (0) or high (1) half of `value`; other halves are empty.
fn half(value: u64, which: u32) -> u32 {
    match which {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_half(value: &mut u64, which: u32, half: u32) {
    match which {
        0 => *value = *value & !0xffff_ffff | u64::from(half),
        1 => *value = *value & 0xffff_ffff | u64::from(half) << 32,
        _ => {}
    }
}

impl Device for MmioTransport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(CONFIG) {
            return self.device.read_config(offset, data);
        }
        data.fill(0);
        if let (Ok(data), true) = (<&mut [u8; 4]>::try_from(data), offset.is_multiple_of(4)) {
            *data = self.read_register(offset as u32).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        if let Some(offset) = offset.checked_sub(CONFIG) {
            if self.driver.status & DRIVER != 0 {
                self.device.write_config(offset, data);
            }
        } else if let (Ok(data), true) = (data.try_into(), offset.is_multiple_of(4)) {
            self.write_register(offset as u32, u32::from_le_bytes(data));
        }
        Action::None
    }
}

#[cfg(test)]
mod tests;
