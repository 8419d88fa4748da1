//! From the first instruction in ring 3 to running workers.
#![expect(
    unsafe_code,
    reason = "fills the processor's tables and reads what the loader left"
)]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::console::{print, refuse};
use crate::{apic, cpu, run};

global_asm!(include_str!("boot.s"));

/// Where the others begin: as in `boot.s`.
const AP_START: usize = 0x1000;
/// How long the others may take to arrive, in cycles: some seconds on any processor.
const START_CYCLES: u64 = 20_000_000_000;

/// The invalid opcode exception, which asks for the services of ring 0.
const VECTOR_SERVICE: usize = 6;

unsafe extern "C" {
    static bench_guest_idt: [AtomicU64; 512];
    fn bench_guest_exceptions();
    fn bench_guest_interrupt();
    fn bench_guest_spurious();
    fn bench_guest_service();
    fn bench_guest_others();
    fn bench_guest_others_end();
}

/// vCPUs that wait for the workload to begin, the first aside.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

/// Ring 3 begins here on each vCPU. `boot_params` and `cpus` are the first vCPU's alone.
#[unsafe(no_mangle)]
extern "C" fn bench_guest_main(vcpu: u32, boot_params: u64, cpus: u32) -> ! {
    if vcpu != 0 {
        apic::enable();
        ARRIVED.fetch_add(1, Ordering::SeqCst);
        run::follow(vcpu)
    }
    write_idt();
    apic::enable();
    run::prepare(boot_params, cpus);
    start_others(cpus - 1);
    run::lead()
}

/// Writes a gate into the interrupt table: into ring 0, interrupts off.
fn gate(vector: usize, handler: u64) {
    const CODE0: u64 = 0x10;
    const INTERRUPT_GATE: u64 = 0x8e;
    let low =
        handler & 0xffff | CODE0 << 16 | INTERRUPT_GATE << 40 | (handler >> 16 & 0xffff) << 48;
    // SAFETY: the table is there for as long as the guest runs, and made of atomic words.
    let table = unsafe { &bench_guest_idt };
    table[2 * vector + 1].store(handler >> 32, Ordering::Relaxed);
    table[2 * vector].store(low, Ordering::Relaxed);
}

fn write_idt() {
    /// From one exception's handler to the next.
    const EXCEPTION_BYTES: u64 = 16;
    let address = |handler: unsafe extern "C" fn()| handler as *const () as u64;
    for vector in 0..32 {
        let handler = address(bench_guest_exceptions) + EXCEPTION_BYTES * vector as u64;
        gate(vector, handler);
    }
    gate(apic::VECTOR_TIMER as usize, address(bench_guest_interrupt));
    gate(apic::VECTOR_WAKE as usize, address(bench_guest_interrupt));
    gate(
        apic::VECTOR_SPURIOUS as usize,
        address(bench_guest_spurious),
    );
    gate(VECTOR_SERVICE, address(bench_guest_service));
}

fn start_others(count: u32) {
    if count == 0 {
        return;
    }
    let start = bench_guest_others as *const () as *const u8;
    let len = bench_guest_others_end as *const () as usize - start as usize;
    // SAFETY: the code is `len` bytes of the image; the page at AP_START is RAM that nothing else
    // uses, and no processor runs it yet.
    unsafe { core::ptr::copy_nonoverlapping(start, AP_START as *mut u8, len) };
    apic::start_others((AP_START >> 12) as u32);
    let begin = cpu::tsc();
    while ARRIVED.load(Ordering::SeqCst) < count {
        if cpu::tsc() - begin > START_CYCLES {
            let here = ARRIVED.load(Ordering::SeqCst) + 1;
            refuse(format_args!(
                "{here} of {} vCPUs have started; no others come",
                count + 1
            ));
        }
        core::hint::spin_loop();
    }
}

/// What an exception ends in: a defect of this program.
#[unsafe(no_mangle)]
extern "C" fn bench_guest_fault_report(vector: u64, code: u64, at: u64, address: u64) -> ! {
    print(format_args!(
        "bench-guest: exception {vector}, error code {code:#x}, at {at:#x}, address {address:#x}\n"
    ));
    cpu::power_off(cpu::STATUS_DEFECT)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print(format_args!("bench-guest: {info}\n"));
    cpu::power_off(cpu::STATUS_DEFECT)
}
