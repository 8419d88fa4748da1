//! The buffers of one descriptor chain.
//!
//! Problem: a driver may cut a request into descriptors wherever it likes, and a hostile one makes
//! chains that are broken, far too long or point outside RAM.
//!
//! Approach: [`ChainBuffers::collect`] checks the whole chain once and keeps it as two runs of
//! bytes: what the device reads, and what it writes. Requests are then parsed by bytes
//! ([`GuestBytes`]), whatever the descriptors were. Data stays where it is in guest RAM, and the
//! list of slices is reused from chain to chain.
//!
//! Source: VIRTIO 1.2, sections 2.7.4 (message framing) and 2.7.5 (descriptor table).

use std::mem;

use thiserror::Error;
use virtio_queue::DescriptorChain;
use vm_memory::{GuestMemoryBackend, VolatileSlice};

use crate::memory::GuestRam;

/// A chain that breaks the rules for drivers. None of its buffers is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChainError {
    /// It has no descriptors, or goes on with one that does not exist.
    #[error("the descriptor chain leads nowhere")]
    Broken,
    /// More descriptors than the queue can hold.
    #[error("the descriptor chain is longer than the queue")]
    TooLong,
    /// A buffer without bytes.
    #[error("the descriptor chain has an empty buffer")]
    EmptyBuffer,
    /// Buffers to read have to come first.
    #[error("the descriptor chain has a device-readable buffer after a device-writable one")]
    Order,
    /// A buffer is not, or not wholly, in RAM.
    #[error("the descriptor chain has a buffer outside of RAM")]
    OutsideRam,
}

/// The buffers of the chain that is being served.
pub struct ChainBuffers<'ram> {
    ram: &'ram GuestRam,
    max_descriptors: u16,
    /// First those that the device reads, then those that it writes. None is empty.
    slices: Vec<VolatileSlice<'ram>>,
}

impl<'ram> ChainBuffers<'ram> {
    /// Buffers in `ram`, for chains of up to `max_descriptors`.
    pub fn new(ram: &'ram GuestRam, max_descriptors: u16) -> Self {
        Self {
            ram,
            max_descriptors,
            slices: Vec::new(),
        }
    }

    /// The RAM that holds the buffers.
    pub fn ram(&self) -> &'ram GuestRam {
        self.ram
    }

    /// Checks `chain` and gives its bytes: those to read, and those to write.
    pub fn collect(
        &mut self,
        chain: DescriptorChain<&'ram GuestRam>,
    ) -> Result<(GuestBytes<'_, 'ram>, GuestBytes<'_, 'ram>), ChainError> {
        self.slices.clear();
        let mut readable = 0;
        let mut descriptors = 0;
        // The iterator also ends where it cannot follow the chain.
        let mut goes_on = true;
        for descriptor in chain {
            descriptors += 1;
            if descriptors > self.max_descriptors {
                return Err(ChainError::TooLong);
            }
            if descriptor.len() == 0 {
                return Err(ChainError::EmptyBuffer);
            }
            if !descriptor.is_write_only() && readable < self.slices.len() {
                return Err(ChainError::Order);
            }
            // One buffer is more than one slice where it crosses from one RAM region to the next.
            for slice in self
                .ram
                .get_slices(descriptor.addr(), descriptor.len() as usize)
            {
                self.slices.push(slice.map_err(|_| ChainError::OutsideRam)?);
            }
            if !descriptor.is_write_only() {
                readable = self.slices.len();
            }
            goes_on = descriptor.has_next();
        }
        if goes_on {
            return Err(ChainError::Broken);
        }
        let (readable, writable) = self.slices.split_at_mut(readable);
        Ok((GuestBytes(readable), GuestBytes(writable)))
    }
}

/// A run of bytes in guest RAM, in pieces, to be consumed from both ends. A chain's bytes are fewer
/// than 2^32.
pub struct GuestBytes<'a, 'ram>(&'a mut [VolatileSlice<'ram>]);

impl<'ram> GuestBytes<'_, 'ram> {
    /// How many bytes are left.
    pub fn len(&self) -> u32 {
        // The iterator over a chain ends before the sum passes 32 bits.
        self.0.iter().map(|slice| slice.len() as u32).sum()
    }

    /// Whether no byte is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, in order.
    pub fn slices(&self) -> &[VolatileSlice<'ram>] {
        self.0
    }

    /// Takes as many bytes from the front as `out` has room for. `None` if there are not so many.
    pub fn take_front(&mut self, mut out: &mut [u8]) -> Option<()> {
        while !out.is_empty() {
            let first = self.0.first_mut()?;
            let copied = first.copy_to(out);
            out = &mut out[copied..];
            if copied < first.len() {
                *first = first.offset(copied).expect("less than all was copied");
            } else {
                self.0 = &mut mem::take(&mut self.0)[1..];
            }
        }
        Some(())
    }

    /// Takes the last byte, to be written later.
    pub fn take_last(&mut self) -> Option<VolatileSlice<'ram>> {
        let last = self.0.last_mut()?;
        let (rest, byte) = last.split_at(last.len() - 1).expect("no slice is empty");
        if rest.is_empty() {
            let keep = self.0.len() - 1;
            self.0 = &mut mem::take(&mut self.0)[..keep];
        } else {
            *last = rest;
        }
        Some(byte)
    }

    /// Writes the beginning of `data`, as much as there is room for, and says how much that was.
    pub fn write_front(&self, data: &[u8]) -> u32 {
        let mut rest = data;
        for slice in self.0.iter() {
            let (now, later) = rest.split_at(rest.len().min(slice.len()));
            slice.copy_from(now);
            rest = later;
        }
        (data.len() - rest.len()) as u32
    }
}

#[cfg(test)]
mod tests;
