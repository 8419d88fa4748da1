//! The registers that the first vCPU starts with, and the tables in RAM that they point to.
//!
//! No system call happens here: whoever owns the vCPU applies the result.
//!
//! 64-bit mode is entered with an identity map of the first 4 GiB and with SSE enabled, which is
//! more than Linux asks for: a program of compiled code can start without a line of assembly, as it
//! also finds a stack, and reaches every device register.
//!
//! Source: Intel SDM volume 3, chapters 2 to 4; boot.rst in Linux; pvh.pandoc in Xen.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use muster_devices::memory::GuestRam;
use vm_memory::{Bytes, GuestMemoryError};

use super::{BootError, Entry};
use crate::layout::{
    BOOT_STACK_END, GDT, HUGE_PAGE_SIZE, IDENTITY_MAP_GIB, PAGE_DIRECTORIES,
    PAGE_DIRECTORY_POINTERS, PAGE_SIZE, PML4,
};

// Segment selectors: byte offsets in the descriptor table. 0x10 and 0x18 are Linux's.
const CODE32: u16 = 0x08;
const CODE64: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

// Segment types.
const TYPE_CODE: u8 = 0xb;
const TYPE_DATA: u8 = 0x3;
const TYPE_TASK_BUSY: u8 = 0xb;

const CR0_PE: u64 = 1 << 0;
const CR0_MP: u64 = 1 << 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// The bit of RFLAGS that is always set.
const RFLAGS_RESERVED: u64 = 1 << 1;

const PAGE_PRESENT: u64 = 1 << 0;
const PAGE_WRITABLE: u64 = 1 << 1;
const PAGE_HUGE: u64 = 1 << 7;
const PAGE_TABLE_ENTRIES: u64 = 512;

/// Writes what the registers point to, sets `sregs` (of a new vCPU) for `entry`, and returns the
/// general registers.
pub fn set_entry(
    ram: &GuestRam,
    entry: &Entry,
    sregs: &mut kvm_sregs,
) -> Result<kvm_regs, BootError> {
    write_tables(ram)?;
    *sregs = system(entry, *sregs);
    Ok(general(entry))
}

/// The general registers at `entry`.
fn general(entry: &Entry) -> kvm_regs {
    let regs = kvm_regs {
        rflags: RFLAGS_RESERVED,
        ..Default::default()
    };
    match *entry {
        Entry::Linux64 { rip, zero_page } => kvm_regs {
            rip: rip.0,
            rsi: zero_page.0,
            // As after a call: a return address below a 16-byte boundary. It is zero.
            rsp: BOOT_STACK_END.0 - 8,
            ..regs
        },
        Entry::Pvh { rip, start_info } => kvm_regs {
            rip: rip.0,
            rbx: start_info.0,
            ..regs
        },
    }
}

/// The system registers at `entry`. What is not about the processor's mode (the APIC base, say)
/// stays as in `reset`, the state of a new vCPU.
fn system(entry: &Entry, reset: kvm_sregs) -> kvm_sregs {
    let data = segment(DATA);
    let tables = kvm_sregs {
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: segment(TASK),
        gdt: kvm_dtable {
            base: GDT.0,
            limit: (size_of::<u64>() * descriptors().len() - 1) as u16,
            ..Default::default()
        },
        idt: kvm_dtable::default(),
        ..reset
    };
    match entry {
        Entry::Linux64 { .. } => kvm_sregs {
            cs: segment(CODE64),
            cr0: CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG,
            cr3: PML4.0,
            cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
            efer: EFER_LME | EFER_LMA,
            ..tables
        },
        Entry::Pvh { .. } => kvm_sregs {
            cs: segment(CODE32),
            cr0: CR0_PE | CR0_ET,
            cr3: 0,
            cr4: 0,
            efer: 0,
            ..tables
        },
    }
}

/// Writes the descriptor table and the identity map.
fn write_tables(ram: &GuestRam) -> Result<(), GuestMemoryError> {
    write_table(ram, GDT.0, descriptors())?;

    let pointer = PAGE_PRESENT | PAGE_WRITABLE;
    write_table(ram, PML4.0, [PAGE_DIRECTORY_POINTERS.0 | pointer])?;
    let directory = |gib| PAGE_DIRECTORIES.0 + gib * PAGE_SIZE;
    write_table(
        ram,
        PAGE_DIRECTORY_POINTERS.0,
        (0..IDENTITY_MAP_GIB).map(|gib| directory(gib) | pointer),
    )?;
    // The directories are contiguous, so all their entries are one array.
    let pages = IDENTITY_MAP_GIB * PAGE_TABLE_ENTRIES;
    write_table(
        ram,
        PAGE_DIRECTORIES.0,
        (0..pages).map(|page| (page * HUGE_PAGE_SIZE) | pointer | PAGE_HUGE),
    )
}

fn write_table(
    ram: &GuestRam,
    address: u64,
    entries: impl IntoIterator<Item = u64>,
) -> Result<(), GuestMemoryError> {
    let bytes: Vec<u8> = entries.into_iter().flat_map(u64::to_le_bytes).collect();
    ram.write_slice(&bytes, vm_memory::GuestAddress(address))
}

/// The descriptor table: what the selectors above stand for, in the processor's format.
fn descriptors() -> [u64; 6] {
    [
        0,
        descriptor(&segment(CODE32)),
        descriptor(&segment(CODE64)),
        descriptor(&segment(DATA)),
        descriptor(&segment(TASK)),
        // The upper half of the task's descriptor in 64-bit mode: its base is below 4 GiB.
        0,
    ]
}

/// A flat segment, or the empty task that the processor insists on.
fn segment(selector: u16) -> kvm_segment {
    let flat = kvm_segment {
        selector,
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    match selector {
        CODE32 => kvm_segment {
            type_: TYPE_CODE,
            db: 1,
            ..flat
        },
        CODE64 => kvm_segment {
            type_: TYPE_CODE,
            l: 1,
            ..flat
        },
        DATA => kvm_segment {
            type_: TYPE_DATA,
            db: 1,
            ..flat
        },
        TASK => kvm_segment {
            type_: TYPE_TASK_BUSY,
            limit: 0x67,
            s: 0,
            g: 0,
            ..flat
        },
        _ => unreachable!("selectors are the constants of this module"),
    }
}

/// Encodes a segment with base 0 as a descriptor.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 {
        segment.limit >> 12
    } else {
        segment.limit
    });
    (limit & 0xffff)
        | (limit >> 16 & 0xf) << 48
        | u64::from(segment.type_) << 40
        | u64::from(segment.s) << 44
        | u64::from(segment.dpl) << 45
        | u64::from(segment.present) << 47
        | u64::from(segment.l) << 53
        | u64::from(segment.db) << 54
        | u64::from(segment.g) << 55
}

#[cfg(test)]
mod tests;
