//! Lines on the serial console.

use core::fmt::{self, Write};

use crate::cpu;

/// Collects a few bytes, as each transfer to the port is slow.
struct Serial {
    bytes: [u8; 256],
    len: usize,
}

impl Serial {
    fn flush(&mut self) {
        cpu::write_serial(&self.bytes[..self.len]);
        self.len = 0;
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Writes with what `write` is given.
pub fn with(write: impl FnOnce(&mut dyn Write) -> fmt::Result) {
    let mut serial = Serial {
        bytes: [0; 256],
        len: 0,
    };
    // The port takes everything.
    let _ = write(&mut serial);
    serial.flush();
}

/// Prints.
pub fn print(text: fmt::Arguments<'_>) {
    with(|out| out.write_fmt(text));
}

/// Says why the guest cannot do what it is told, and ends it.
pub fn refuse(why: fmt::Arguments<'_>) -> ! {
    print(format_args!("bench-guest: {why}\n"));
    cpu::power_off(cpu::STATUS_REFUSED)
}
