//! Serving a queue: taking chains, having them carried out, returning them. No thread in here.

use virtio_queue::{Error as RingError, Queue, QueueOwnedT, QueueT};

use super::chain::{ChainBuffers, GuestBytes};
use crate::memory::GuestRam;

/// What a device does with the chains of one queue.
pub trait ChainService: Send {
    /// Carries out one request and returns how many bytes it wrote, counted from the first writable
    /// byte to the first that was left out. The driver trusts no byte after those.
    fn serve<'ram>(
        &mut self,
        readable: GuestBytes<'_, 'ram>,
        writable: GuestBytes<'_, 'ram>,
    ) -> u32;
}

/// A queue with what serves it.
pub struct QueueServer<'ram, S> {
    /// The queue, for its notifications.
    pub queue: &'ram mut Queue,
    buffers: ChainBuffers<'ram>,
    service: S,
    /// Chains that broke the rules. They go back to the driver as they came.
    malformed: u64,
}

impl<'ram, S: ChainService> QueueServer<'ram, S> {
    /// Joins a queue in `ram` and a service.
    pub fn new(queue: &'ram mut Queue, ram: &'ram GuestRam, service: S) -> Self {
        let buffers = ChainBuffers::new(ram, queue.max_size());
        Self {
            queue,
            buffers,
            service,
            malformed: 0,
        }
    }

    /// The RAM that the queue is in.
    pub fn ram(&self) -> &'ram GuestRam {
        self.buffers.ram()
    }

    /// Serves the next available chain and puts it into the used ring. `false` if there is none; an
    /// error if the rings make no sense, after which nothing in them can be trusted.
    pub fn serve_next(&mut self) -> Result<bool, RingError> {
        let ram = self.ram();
        let Some(chain) = self.queue.iter(ram)?.next() else {
            return Ok(false);
        };
        let head = chain.head_index();
        let written = match self.buffers.collect(chain) {
            Ok((readable, writable)) => self.service.serve(readable, writable),
            Err(error) => {
                if self.malformed == 0 {
                    tracing::warn!(%error, "the guest's driver is faulty; further such chains are only counted");
                }
                self.malformed += 1;
                0
            }
        };
        self.queue.add_used(ram, head, written)?;
        Ok(true)
    }

    /// How many chains broke the rules.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}
