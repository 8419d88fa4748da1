//! The 16550 serial port that is the guest's console.
//!
//! vm-superio models the UART's registers. This wrapper adds what a console needs around them: a
//! bounded backlog, so that input arriving faster than the guest reads it is neither lost nor
//! buffered without limit.

use std::collections::VecDeque;
use std::io::{self, Write};

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::{Action, Device};

/// Length of the register block.
pub const SERIAL_LEN: u64 = 8;

/// Bytes of input kept while the guest is not reading.
const BACKLOG_MAX: usize = 4096;

/// The interrupt line, as vm-superio wants it.
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// COM1, with its input backlog.
pub struct SerialPort {
    uart: Serial<Line, NoEvents, Box<dyn Write + Send>>,
    /// Input that did not fit the UART's FIFO.
    backlog: VecDeque<u8>,
    /// Signalled when a full backlog has room again.
    room: EventFd,
    /// The source has more than there was room for.
    starved: bool,
}

impl SerialPort {
    /// A port that raises `line` and writes what the guest sends to `output`. After
    /// [`push_input`](Self::push_input) has not taken everything, `room` becomes readable once there
    /// is room.
    pub fn new(line: EventFd, output: Box<dyn Write + Send>, room: EventFd) -> Self {
        Self {
            uart: Serial::new(Line(line), output),
            backlog: VecDeque::new(),
            room,
            starved: false,
        }
    }

    /// Queues `input` for the guest, as far as there is room, and returns how many bytes were taken.
    pub fn push_input(&mut self, input: &[u8]) -> usize {
        let taken = input.len().min(BACKLOG_MAX - self.backlog.len());
        self.starved = taken < input.len();
        self.backlog.extend(&input[..taken]);
        self.refill();
        taken
    }

    /// Moves backlog into the UART's FIFO as far as it goes.
    fn refill(&mut self) {
        let count = self.uart.fifo_capacity().min(self.backlog.len());
        if count == 0 {
            return;
        }
        let bytes: Vec<u8> = self.backlog.iter().take(count).copied().collect();
        // In loopback mode the UART takes nothing from outside: the bytes wait.
        match self.uart.enqueue_raw_bytes(&bytes) {
            Ok(taken) => drop(self.backlog.drain(..taken)),
            Err(error) => tracing::warn!(?error, "console input was not delivered"),
        }
        if self.starved && self.backlog.len() < BACKLOG_MAX {
            self.starved = false;
            if let Err(error) = self.room.write(1) {
                tracing::warn!(%error, "console input stalled");
            }
        }
    }
}

impl Device for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        // The registers are a byte wide; a wider access reads ones in the rest.
        data.fill(0xff);
        data[0] = self.uart.read(offset as u8);
        if !self.backlog.is_empty() {
            self.refill();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        // Where output goes is the host's matter: a closed pipe or full disk must not stop the guest.
        if let Err(error) = self.uart.write(offset as u8, data[0]) {
            tracing::debug!(?error, "console output was lost");
        }
        Action::None
    }
}

#[cfg(test)]
mod tests;
