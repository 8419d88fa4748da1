//! Guests of a few instructions, assembled with the test itself.
//!
//! Each begins in 64-bit mode at the ELF entry, with a stack, and ends by writing a status to port
//! 0x501 and switching itself off. None uses an instruction that an emulated ring 0 may lack.
#![expect(unsafe_code, reason = "reads the assembled bytes between two symbols")]

use std::arch::global_asm;

/// Makes a function that returns the machine code of a guest.
macro_rules! guest {
    ($(#[$doc:meta])* $name:ident, $($line:literal),+ $(,)?) => {
        global_asm!(
            ".pushsection .rodata",
            concat!(".globl muster_guest_", stringify!($name), "_start"),
            concat!(".globl muster_guest_", stringify!($name), "_end"),
            concat!("muster_guest_", stringify!($name), "_start:"),
            "jmp 8f",
            // `jmp 7b` ends the guest with the status in AL.
            "7: mov edx, 0x501",
            "out dx, al",
            "mov edx, 0x600",
            "mov al, 0x34",
            "out dx, al",
            "6: hlt",
            "jmp 6b",
            "8:",
            $($line,)+
            concat!("muster_guest_", stringify!($name), "_end:"),
            ".popsection",
        );

        $(#[$doc])*
        pub fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("muster_guest_", stringify!($name), "_start")]
                static START: u8;
                #[link_name = concat!("muster_guest_", stringify!($name), "_end")]
                static END: u8;
            }
            let (start, end) = (&raw const START, &raw const END);
            // SAFETY: the two symbols bound one run of bytes in read-only data.
            unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
        }
    };
}

guest!(
    /// Writes a line with one string instruction, ends with status 42.
    hello,
    "lea rsi, [rip + 2f]",
    "mov ecx, 6",
    "mov edx, 0x3f8",
    "rep outsb",
    "mov al, 42",
    "jmp 7b",
    "2: .ascii \"hello\\n\"",
);

guest!(
    /// Reads what is there and what is not. Status 0 if the first virtio window answers with its
    /// magic, a hole in memory with all ones, and a hole in the ports with all ones; else the number
    /// of the first that does not.
    probe,
    "mov ebx, 1",
    "mov eax, [0xc0000000]",
    "cmp eax, 0x74726976",
    "jne 2f",
    "mov ebx, 2",
    "mov eax, [0xd0000000]",
    "cmp eax, -1",
    "jne 2f",
    "mov ebx, 3",
    "mov edx, 0x1234",
    "in al, dx",
    "cmp al, 0xff",
    "jne 2f",
    "xor ebx, ebx",
    "2: mov eax, ebx",
    "jmp 7b",
);

guest!(
    /// Sleeps in HLT until its local APIC's timer wakes it; the status is the number of interrupts
    /// it counted. The interrupt table is built at 0x30000, one entry for vector 0x30.
    sleep,
    "mov edi, 0x30300",
    "lea rax, [rip + 3f]",
    "mov [rdi], ax",
    "mov cx, cs",
    "mov [rdi + 2], cx",
    "mov word ptr [rdi + 4], 0x8e00",
    "shr rax, 16",
    "mov [rdi + 6], ax",
    "mov dword ptr [rdi + 8], 0",
    "mov dword ptr [rdi + 12], 0",
    "sub rsp, 16",
    "mov word ptr [rsp], 0xfff",
    "mov qword ptr [rsp + 2], 0x30000",
    "lidt [rsp]",
    "xor ebx, ebx",
    "mov esi, 0xfee00000",
    "mov dword ptr [rsi + 0xf0], 0x1ff",
    "mov dword ptr [rsi + 0x3e0], 0xb",
    "mov dword ptr [rsi + 0x320], 0x30",
    "mov dword ptr [rsi + 0x380], 1000000",
    "sti",
    "hlt",
    "cli",
    "mov eax, ebx",
    "jmp 7b",
    "3: inc ebx",
    "mov dword ptr [rsi + 0xb0], 0",
    "iretq",
);

guest!(
    /// Starts all other processors with INIT and start-up IPIs. Each counts itself at 0x8ff0 from
    /// real mode and halts. The status is the count once it has reached the number at 0x101000.
    start_others,
    "lea rsi, [rip + 4f]",
    "mov edi, 0x8000",
    "mov ecx, 32",
    "rep movsb",
    "mov dword ptr [0x8ff0], 0",
    "mov esi, 0xfee00000",
    "mov dword ptr [rsi + 0xf0], 0x1ff",
    "mov dword ptr [rsi + 0x300], 0xc4500",
    "mov dword ptr [rsi + 0x300], 0xc4608",
    "3: pause",
    "mov eax, [0x8ff0]",
    "cmp eax, [0x101000]",
    "jb 3b",
    "jmp 7b",
    "4: .code16",
    "xor ax, ax",
    "mov ds, ax",
    "lock inc word ptr [0x8ff0]",
    "5: hlt",
    "jmp 5b",
    ".code64",
    ".skip 32",
);

guest!(
    /// Faults without an interrupt table: a triple fault.
    triple_fault,
    "sub rsp, 16",
    "mov qword ptr [rsp], 0",
    "mov qword ptr [rsp + 8], 0",
    "lidt [rsp]",
    "ud2",
);

guest!(
    /// Asks for a reset through the ACPI reset register.
    reset,
    "mov edx, 0x602",
    "mov al, 1",
    "out dx, al",
    "1: hlt",
    "jmp 1b",
);

guest!(
    /// Never ends. It has no interrupt table and programs no interrupt controller, but takes
    /// interrupts: one that reaches it is a triple fault.
    spin,
    "sub rsp, 16",
    "mov qword ptr [rsp], 0",
    "mov qword ptr [rsp + 8], 0",
    "lidt [rsp]",
    "sti",
    "1: jmp 1b",
);
