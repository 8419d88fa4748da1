//! The exit-status port, through which a guest says how its VM should end.
#![expect(
    unsafe_code,
    reason = "port I/O: Debian's kernels come without /dev/port"
)]

use std::arch::asm;
use std::io;

/// The port of muster's exit-status device. On a machine without one a write goes nowhere.
const PORT: u16 = 0x501;

/// Writes the status.
pub fn write_status(status: u8) -> io::Result<()> {
    // SAFETY: ioperm takes plain numbers and touches no memory of ours.
    if unsafe { libc::ioperm(PORT.into(), 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: ioperm has given us this port, and the instruction touches neither memory nor stack.
    unsafe {
        asm!("out dx, al", in("dx") PORT, in("al") status, options(nomem, nostack, preserves_flags));
    };
    Ok(())
}
