//! The power registers of a hardware-reduced ACPI machine.
//!
//! Source: ACPI Specification 6.5, sections 4.8.3.7 (sleep control and status) and 4.8.3.6 (reset).

use crate::bus::{Action, Device};

/// Length of the register block in bytes.
pub const POWER_LEN: u64 = 3;
/// Offset of the sleep control register.
pub const SLEEP_CONTROL: u64 = 0;
/// Offset of the sleep status register.
pub const SLEEP_STATUS: u64 = 1;
/// Offset of the reset register.
pub const RESET: u64 = 2;

/// The value that `\_S5` names: the sleep type of "soft off".
pub const SLEEP_TYPE_S5: u8 = 5;
/// The value that resets the machine when written to the reset register.
pub const RESET_VALUE: u8 = 1;

/// Sleep control: SLP_EN, bit 5.
const SLEEP_ENABLE: u8 = 1 << 5;

/// Sleep control, sleep status and reset registers. They keep no state: S5 is the only sleep state
/// on offer, and the machine does not wake from it.
#[derive(Debug, Default)]
pub struct Power;

impl Device for Power {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        // SLP_TYP is bits 2 to 4 of sleep control.
        match (offset, data) {
            (SLEEP_CONTROL, [value])
                if value & SLEEP_ENABLE != 0 && (value >> 2) & 7 == SLEEP_TYPE_S5 =>
            {
                Action::Shutdown
            }
            (RESET, [RESET_VALUE]) => Action::Reset,
            _ => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s5_with_the_enable_bit_powers_off() {
        for value in 0..=u8::MAX {
            let expected = if value & 0x3c == 0x34 {
                Action::Shutdown
            } else {
                Action::None
            };
            assert_eq!(Power.write(SLEEP_CONTROL, &[value]), expected, "{value:#x}");
        }
    }

    #[test]
    fn only_the_reset_value_resets() {
        for value in 0..=u8::MAX {
            let expected = if value == RESET_VALUE {
                Action::Reset
            } else {
                Action::None
            };
            assert_eq!(Power.write(RESET, &[value]), expected, "{value:#x}");
        }
    }

    #[test]
    fn wide_and_misplaced_writes_do_nothing() {
        assert_eq!(Power.write(SLEEP_STATUS, &[0x34]), Action::None);
        assert_eq!(Power.write(SLEEP_CONTROL, &[0x34, 0]), Action::None);
        assert_eq!(Power.write(SLEEP_STATUS, &[0, RESET_VALUE]), Action::None);
    }
}
