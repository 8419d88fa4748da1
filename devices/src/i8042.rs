//! The one command of the PC keyboard controller that headless guests use: reset.
//!
//! `reboot=k` makes Linux pulse the processor's reset line through this controller. ACPI says that
//! there is no keyboard, so no guest probes for more.

use crate::bus::{Action, Device};

/// Port of the data register, where the device begins.
pub const I8042_BASE: u64 = 0x60;
/// Length of the port range.
pub const I8042_LEN: u64 = 5;

/// Offset of the status (read) and command (write) register, port 0x64.
const COMMAND: u64 = 4;
/// Command: pulse output line 0, which is wired to the processor's reset.
const PULSE_RESET: u8 = 0xfe;

/// A keyboard controller without a keyboard: its buffers are always empty.
#[derive(Debug, Default)]
pub struct I8042;

impl Device for I8042 {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        match (offset, data) {
            (COMMAND, [PULSE_RESET]) => Action::Reset,
            _ => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pulse_command_resets() {
        for value in 0..=u8::MAX {
            let expected = if value == 0xfe {
                Action::Reset
            } else {
                Action::None
            };
            assert_eq!(I8042.write(COMMAND, &[value]), expected, "{value:#x}");
            assert_eq!(I8042.write(0, &[value]), Action::None, "{value:#x}");
        }
    }

    #[test]
    fn a_driver_that_waits_for_an_empty_buffer_does_not_wait() {
        let mut status = [0xff];
        I8042.read(COMMAND, &mut status);
        assert_eq!(status, [0]);
    }
}
