//! The local APIC, through its registers in memory: ring 3 may use them.
//!
//! KVM's timer counts nanoseconds at a divisor of 1, unless the VMM chooses otherwise; muster does
//! not.
//!
//! Source: Intel SDM volume 3, chapter 12.
#![expect(unsafe_code, reason = "device registers")]

/// The timer's interrupt.
pub const VECTOR_TIMER: u32 = 0x30;
/// The interrupt that wakes another vCPU.
pub const VECTOR_WAKE: u32 = 0x31;
/// The interrupt that was none.
pub const VECTOR_SPURIOUS: u32 = 0xff;
/// The longest that the timer counts in one go: half of what fits.
pub const TIMER_NS_MAX: u64 = 1 << 31;

const BASE: usize = 0xfee0_0000;
const SPURIOUS: usize = 0xf0;
const COMMAND: usize = 0x300;
const COMMAND_TARGET: usize = 0x310;
const TIMER: usize = 0x320;
const TIMER_DIVISOR: usize = 0x3e0;

const ENABLE: u32 = 1 << 8;
const DIVISOR_1: u32 = 0xb;
const TO_ALL_OTHERS: u32 = 0xc_0000;
const ASSERT: u32 = 1 << 14;
const INIT: u32 = 0x500;
const START_UP: u32 = 0x600;

fn write(register: usize, value: u32) {
    // SAFETY: the registers are mapped, and none that is written here touches memory.
    unsafe { ((BASE + register) as *mut u32).write_volatile(value) };
}

/// Switches on this vCPU's own, with its timer as a one-shot.
pub fn enable() {
    write(SPURIOUS, ENABLE | VECTOR_SPURIOUS);
    write(TIMER_DIVISOR, DIVISOR_1);
    write(TIMER, VECTOR_TIMER);
}

/// Starts all other vCPUs at page `page`.
pub fn start_others(page: u32) {
    write(COMMAND, TO_ALL_OTHERS | ASSERT | INIT);
    write(COMMAND, TO_ALL_OTHERS | ASSERT | START_UP | page);
}

/// Interrupts another vCPU.
pub fn wake(vcpu: u32) {
    write(COMMAND_TARGET, vcpu << 24);
    write(COMMAND, ASSERT | VECTOR_WAKE);
}
