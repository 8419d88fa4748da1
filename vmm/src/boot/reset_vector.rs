//! What a guest finds where a PC's firmware begins: a jump there resets the machine.
//!
//! Linux resets a hardware-reduced ACPI machine through EFI, and where there is none, it goes back
//! to real mode and jumps to the firmware. It does so although the ACPI tables have a reset
//! register, so that register is written here.

use muster_devices::memory::GuestRam;
use muster_devices::power::{RESET, RESET_VALUE};
use vm_memory::{Bytes, GuestMemoryError};

use crate::layout::{POWER_PORT, RESET_VECTOR};

/// Writes the code. It has to fit the last 16 bytes below 1 MiB.
pub(super) fn write(ram: &GuestRam) -> Result<(), GuestMemoryError> {
    ram.write_slice(&code(), RESET_VECTOR)
}

/// 16-bit code that writes the reset register, and halts should it ever go on.
fn code() -> [u8; 9] {
    let [port_low, port_high] = (POWER_PORT + RESET as u16).to_le_bytes();
    [
        0xba,
        port_low,
        port_high, // mov dx, port
        0xb0,
        RESET_VALUE, // mov al, value
        0xee,        // out dx, al
        0xf4,        // halt: hlt
        0xeb,
        0xfd, // jmp halt
    ]
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;
    use crate::boot::kernel::tests::ram;

    #[test]
    fn it_writes_the_reset_register() {
        let ram = ram(2);
        write(&ram).unwrap();
        let mut code = [0; 16];
        ram.read_slice(&mut code, GuestAddress(0xf_fff0)).unwrap();
        assert_eq!(
            code[..9],
            [0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd]
        );
    }
}
