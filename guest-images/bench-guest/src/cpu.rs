//! Single instructions, and the services of ring 0 in `boot.s`.
#![expect(unsafe_code, reason = "inline assembly")]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::AtomicU32;

/// The exit status after a command line that was refused.
pub const STATUS_REFUSED: u8 = 2;
/// The exit status after a defect of this program.
pub const STATUS_DEFECT: u8 = 3;

// The services' numbers, as in `boot.s`.
const SERVICE_HALT: u64 = 0x5e7_1ce0;
const SERVICE_PRINT: u64 = 0x5e7_1ce1;
const SERVICE_POWER_OFF: u64 = 0x5e7_1ce2;

/// The time stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has it, and CR4 permits it to ring 3.
    unsafe { _rdtsc() }
}

/// Computes for so many rounds, about a cycle each: a fixed amount of work, which takes longer if the
/// vCPU loses its CPU meanwhile.
#[inline(never)]
pub fn compute(loops: u64) {
    if loops == 0 {
        return;
    }
    // SAFETY: it counts a register down.
    unsafe {
        asm!(
            ".balign 32",
            "2: dec {n}",
            "jnz 2b",
            n = inout(reg) loops => _,
            options(nomem, nostack),
        );
    }
}

/// Halts until an interrupt, unless `asleep` is 0. The timer is set to `timer` first, if that is not 0.
/// Nothing that happens to `asleep` or the timer after the call is missed. It may return early.
pub fn halt(asleep: &AtomicU32, timer: u32) {
    // SAFETY: the service reads `asleep`, writes the timer's register, and clobbers what is named.
    unsafe {
        asm!(
            "ud2",
            in("rdi") asleep.as_ptr(),
            in("rsi") u64::from(timer),
            inout("rax") SERVICE_HALT => _,
            options(nostack),
        );
    }
}

/// Writes bytes to the serial port.
pub fn write_serial(bytes: &[u8]) {
    // SAFETY: the service reads these bytes, and clobbers what is named.
    unsafe {
        asm!(
            "ud2",
            in("rax") SERVICE_PRINT,
            inout("rsi") bytes.as_ptr() => _,
            inout("rcx") bytes.len() => _,
            out("rdx") _,
            options(nostack),
        );
    }
}

/// Ends the guest.
pub fn power_off(status: u8) -> ! {
    // SAFETY: the service does not come back.
    unsafe {
        asm!(
            "ud2",
            in("rax") SERVICE_POWER_OFF,
            in("rdi") u64::from(status),
            options(noreturn),
        );
    }
}
