# The part of the guest that runs in ring 0. Where ring 0 is emulated each instruction takes most of
# a microsecond, and some are refused: it is short and computes with integers alone.
#
# Selectors are where 64-bit Linux has them, 0x33 and 0x2b for ring 3 among them: hosts that run
# ring 3 natively without hardware virtualisation know these.

.set CODE0, 0x10
.set DATA0, 0x18
.set DATA3, 0x2b
.set CODE3, 0x33
.set TASK, 0x40                 # the first vCPU's; each takes 16 bytes
.set TASK_BYTES, 0x80
.set STACK0_BYTES, 0x400
.set STACK3_BYTES, 0x4000
.set VCPUS, 64
.set FLAGS3, 0x202              # interrupts on
.set APIC, 0xfee00000
.set SERVICE_HALT, 0x5e71ce0
.set SERVICE_PRINT, 0x5e71ce1
.set SERVICE_POWER_OFF, 0x5e71ce2
.set UD2_BYTES, 2
.set AP_START, 0x1000           # where the others begin, in real mode

# ---- the first vCPU: 64-bit mode, RSI at Linux's zero page ----
.section .text.boot, "ax"
.globl bench_guest_start
bench_guest_start:
    cld
    lea rax, [rip + page_map]
    mov cr3, rax
    mov r8, rsi
    mov eax, 1
    cpuid
    shr ebx, 16
    movzx edx, bl               # how many vCPUs there are
    xor ebx, ebx
    jmp enter_ring_3

# ---- EBX is the vCPU's APIC ID, R8 and EDX are arguments for the compiled code ----
enter_ring_3:
    lgdt [rip + gdt_register]
    lidt [rip + idt_register]
    mov ecx, ebx
    shl ecx, 10                 # STACK0_BYTES
    lea rcx, [rcx + stacks0 + STACK0_BYTES]
    mov eax, ebx
    shl eax, 7                  # TASK_BYTES
    lea rax, [rax + tasks]
    mov [rax + 4], rcx          # the stack for ring 0
    mov word ptr [rax + 0x66], 0x68
    mov rsp, rcx
    shl rax, 16
    mov rcx, 0x0000890000000067
    or rax, rcx
    mov ecx, ebx
    shl ecx, 4
    mov [rcx + gdt + TASK], rax
    add ecx, TASK
    ltr cx
    mov eax, DATA3
    mov ds, eax
    mov es, eax
    mov ecx, ebx
    shl ecx, 14                 # STACK3_BYTES
    lea rcx, [rcx + stacks3 + STACK3_BYTES - 8]
    push DATA3
    push rcx
    push FLAGS3
    push CODE3
    push offset bench_guest_main
    mov edi, ebx
    mov rsi, r8
    xor ebp, ebp
    iretq

# ---- interrupts and services ----
.macro end_of_interrupt
    push rax
    mov eax, APIC
    mov dword ptr [rax + 0xb0], 0
    pop rax
.endm

# The timer, and a wake-up by another vCPU: to end a HLT is all they do.
.globl bench_guest_interrupt
bench_guest_interrupt:
    end_of_interrupt
.globl bench_guest_spurious
bench_guest_spurious:
    iretq

# What ring 3 asks for, by the number in EAX, with UD2: where ring 0 is emulated, the exceptions of ring
# 3 reach it, but INT does not. Interrupts are off from here on.
.globl bench_guest_service
bench_guest_service:
    cmp eax, SERVICE_HALT
    jne 3f
# Halts unless the word at RDI is 0. ESI, if not 0, is what the timer counts down first. Neither a
# wake-up nor the timer can come between the look at the word and HLT.
    add qword ptr [rsp], UD2_BYTES
    test esi, esi
    jz 1f
    mov eax, APIC
    mov [rax + 0x380], esi
1:  cmp dword ptr [rdi], 0
    je 2f
    sti
    hlt
2:  iretq
3:  cmp eax, SERVICE_PRINT
    jne 4f
# Prints ECX bytes at RSI.
    add qword ptr [rsp], UD2_BYTES
    mov edx, 0x3f8
    rep outsb
    iretq
4:  cmp eax, SERVICE_POWER_OFF
    jne 6f
# Powers off with the status in DIL.
    mov edx, 0x501
    mov eax, edi
    out dx, al
    mov edx, 0x600
    mov eax, 0x34
    out dx, al
5:  hlt
    jmp 5b
# No service.
6:  push 0
    push 6
    jmp bench_guest_fault

# An exception: on in ring 3, with its number, its error code and where it was. Those without an
# error code push a 0 instead.
.altmacro
.macro exception number
    .balign 16
    .if \number != 8 && \number != 10 && \number != 11 && \number != 12 && \number != 13 && \number != 14 && \number != 17 && \number != 21
    push 0
    .endif
    push \number
    jmp bench_guest_fault
.endm
.balign 16
.globl bench_guest_exceptions
bench_guest_exceptions:
.set n, 0
.rept 32
    exception %n
    .set n, n + 1
.endr
bench_guest_fault:
    pop rdi
    pop rsi
    mov rdx, [rsp]
    mov rcx, cr2
    lea rax, [rip + bench_guest_fault_report]
    mov [rsp], rax
    mov qword ptr [rsp + 8], CODE3
    mov qword ptr [rsp + 16], FLAGS3
    lea rax, [rip + fault_stack_end - 8]
    mov [rsp + 24], rax
    mov qword ptr [rsp + 32], DATA3
    iretq

# ---- tables ----
.section .data.tables, "aw"
.balign 4096
page_map:
    .quad pointers + 7
    .skip 4088
pointers:
    .quad directories + 7, directories + 0x1007, directories + 0x2007, directories + 0x3007
    .skip 4064
directories:                    # the first 4 GiB as they are, for ring 3 too
.set page, 0
.rept 2048
    .quad page + 0x87
    .set page, page + 0x200000
.endr
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # 0x08: 32-bit code
    .quad 0x00af9b000000ffff    # 0x10: code
    .quad 0x00cf93000000ffff    # 0x18: data
    .quad 0
    .quad 0x00cff3000000ffff    # 0x28: data of ring 3
    .quad 0x00affb000000ffff    # 0x30: code of ring 3
    .quad 0
    .skip 16 * VCPUS            # 0x40: tasks
gdt_end:
.balign 16
gdt_register:
    .word gdt_end - gdt - 1
    .quad gdt
.balign 16
idt_register:
    .word 16 * 256 - 1
    .quad bench_guest_idt

.section .bss.tables, "aw", @nobits
.balign 4096
.globl bench_guest_idt
bench_guest_idt: .skip 4096     # the first vCPU writes it, in ring 3
tasks: .skip TASK_BYTES * VCPUS
stacks0: .skip STACK0_BYTES * VCPUS
stacks3: .skip STACK3_BYTES * VCPUS
.skip 4096
fault_stack_end:

# ---- the other vCPUs: copied to AP_START, entered there in real mode ----
.section .text.others, "ax"
.globl bench_guest_others
.globl bench_guest_others_end
.code16
bench_guest_others:
    cli
    xor ax, ax
    mov ds, ax
    .byte 0x0f, 0x01, 0x16      # lgdt
    .word AP_START + others_gdt_register - bench_guest_others
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea            # a far jump
    .long AP_START + others_32 - bench_guest_others
    .word 0x08
others_gdt_register:
    .word gdt_end - gdt - 1
    .long gdt
.code32
others_32:
    mov ax, DATA0
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 0x620              # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset page_map
    mov cr3, eax
    mov ecx, 0xc0000080         # EFER: long mode
    mov eax, 0x100
    xor edx, edx
    wrmsr
    mov eax, 0x80000033         # PE, MP, ET, NE, PG
    mov cr0, eax
    .byte 0xea
    .long others_64
    .word CODE0
bench_guest_others_end:
.code64
others_64:
    mov eax, APIC
    mov ebx, [rax + 0x20]
    shr ebx, 24
    jmp enter_ring_3
