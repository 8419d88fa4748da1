//! Kernel files: bzImage, ELF, and everything that is neither.
//!
//! Input: a byte that chooses the protocol and whether the file shrinks while it is read, then the
//! file.

use std::io::{self, Cursor, Seek, SeekFrom};

use muster_devices::memory::GuestRam;
use muster_vmm::boot::Protocol;
use muster_vmm::boot::kernel::{KernelEntry, KernelError, LoadedKernel, is_linux, load_kernel};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, ReadVolatile, VolatileMemoryError, VolatileSlice};

use super::input::Input;

pub(super) const MIB: u64 = 1 << 20;
/// The guest's RAM: from address 0 on, without a hole.
pub(super) const RAM_LEN: u64 = 8 * MIB;

const SHRINKS: u8 = 4;

/// Where sound kernels are loaded.
const LOAD_ADDRESS: u64 = 2 * MIB;

/// A file that says that it has `len` bytes, whatever there is to read.
pub(super) struct ShrunkFile<'a> {
    content: Cursor<&'a [u8]>,
    len: u64,
}

impl<'a> ShrunkFile<'a> {
    pub fn new(content: &'a [u8], len: u64) -> Self {
        Self {
            content: Cursor::new(content),
            len,
        }
    }
}

impl Seek for ShrunkFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(distance) => self.len.saturating_add_signed(distance),
            SeekFrom::Current(distance) => self.content.position().saturating_add_signed(distance),
        };
        self.content.set_position(position);
        Ok(position)
    }
}

impl ReadVolatile for ShrunkFile<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buffer: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        self.content.read_volatile(buffer)
    }
}

pub(super) fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), RAM_LEN as usize)]).expect("8 MiB can be mapped")
}

/// Loads the file and checks what came of it.
pub fn run(bytes: &[u8]) {
    load(bytes);
}

/// Gives whether the file is Linux and, if it is a kernel at all, how it was loaded.
fn load(bytes: &[u8]) -> (bool, Option<LoadedKernel>) {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let protocol = [Protocol::Auto, Protocol::Linux64, Protocol::Pvh][usize::from(choice % 3)];
    let content = input.rest();
    let shrinks = choice & SHRINKS != 0;
    let len = if shrinks {
        content.len() as u64 * 2
    } else {
        content.len() as u64
    };
    let mut file = ShrunkFile::new(content, len);

    let linux = is_linux(&mut file);
    assert!(shrinks || linux.is_ok(), "{linux:?}");

    let ram = ram();
    let kernel = load_kernel(&ram, &mut file, protocol);
    match &kernel {
        Err(KernelError::Read(error)) => assert!(shrinks, "read beyond the end: {error}"),
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(kernel) => {
            let (KernelEntry::Linux64(entry) | KernelEntry::Pvh(entry)) = kernel.entry;
            assert!((MIB..RAM_LEN).contains(&entry.0), "{kernel:?}");
            assert!((MIB..=RAM_LEN).contains(&kernel.end.0), "{kernel:?}");
            assert!(entry < kernel.end, "{kernel:?}");
            check_boot_data_untouched(&ram);
        }
    }
    (linux.unwrap_or(false), kernel.ok())
}

/// Boot data goes below 1 MiB.
fn check_boot_data_untouched(ram: &GuestRam) {
    let mut low = vec![0xff; MIB as usize];
    ram.read_slice(&mut low, GuestAddress(0))
        .expect("there is so much RAM");
    assert!(
        low.iter().all(|byte| *byte == 0),
        "the kernel was loaded over boot data"
    );
}

/// Small kernels of every format, and files of other kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let files = [
        bzimage(LOAD_ADDRESS),
        elf(LOAD_ADDRESS, None),
        elf(LOAD_ADDRESS, Some(LOAD_ADDRESS + 8)),
        // These would be loaded over boot data.
        bzimage(0x1_0000),
        elf(0x1_0000, None),
        b"\x1f\x8b\x08\x00gzip".to_vec(),
        b"#!/bin/sh\n".to_vec(),
    ];
    let choices = [0, 1, 2, SHRINKS];
    files
        .iter()
        .flat_map(|file| choices.map(|choice| [&[choice], &file[..]].concat()))
        .collect()
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Two sectors of setup, then a kernel of 1 KiB. Offsets: the Linux/x86 boot protocol.
fn bzimage(address: u64) -> Vec<u8> {
    let mut file = vec![0x90; 2048];
    file[..1024].fill(0);
    put(&mut file, 0x1f1, &[1]);
    put(&mut file, 0x1f4, &64_u32.to_le_bytes());
    put(&mut file, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut file, 0x202, b"HdrS\x0f\x02");
    put(&mut file, 0x211, &[1]);
    put(&mut file, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut file, 0x236, &1_u16.to_le_bytes());
    put(&mut file, 0x238, &2047_u32.to_le_bytes());
    put(&mut file, 0x258, &address.to_le_bytes());
    put(&mut file, 0x260, &0x10_0000_u32.to_le_bytes());
    file
}

/// A program with one segment, and notes that say Linux and, if given, a PVH entry point. With one,
/// its ELF entry point is nowhere.
fn elf(address: u64, pvh_entry: Option<u64>) -> Vec<u8> {
    let mut notes = note(b"Linux\0", 0, &[6, 1]);
    if let Some(entry) = pvh_entry {
        notes.extend(note(b"Xen\0", 18, &entry.to_le_bytes()));
    }
    let code = [0x90; 64];
    let headers_len = 64 + 2 * 56;
    let mut file = vec![0; headers_len];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1]);
    let entry = if pvh_entry.is_some() { 0 } else { address };
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 32, &64_u64.to_le_bytes());
    put(&mut file, 54, &[56, 0, 2, 0]);
    let segments: [(u32, u64, &[u8], u64); 2] = [(1, address, &code, 0x1000), (4, 0, &notes, 0)];
    let mut offset = headers_len as u64;
    for (index, (kind, address, bytes, memory_len)) in segments.into_iter().enumerate() {
        let at = 64 + index * 56;
        put(&mut file, at, &kind.to_le_bytes());
        for (field, value) in [
            (8, offset),
            (24, address),
            (32, bytes.len() as u64),
            (40, memory_len),
        ] {
            put(&mut file, at + field, &value.to_le_bytes());
        }
        offset += bytes.len() as u64;
    }
    [&file[..], &code, &notes].concat()
}

fn note(owner: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for number in [owner.len() as u32, value.len() as u32, kind] {
        note.extend(number.to_le_bytes());
    }
    for part in [owner, value] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_kernels_that_are_loaded() {
        let entry = |protocol: u8, file: Vec<u8>| {
            let (is_linux, kernel) = load(&[&[protocol], &file[..]].concat());
            assert!(is_linux);
            kernel.map(|kernel| kernel.entry)
        };
        let linux = |at| Some(KernelEntry::Linux64(GuestAddress(at)));
        let pvh = Some(KernelEntry::Pvh(GuestAddress(LOAD_ADDRESS + 8)));
        assert_eq!(entry(0, bzimage(LOAD_ADDRESS)), linux(LOAD_ADDRESS + 0x200));
        assert_eq!(entry(1, elf(LOAD_ADDRESS, None)), linux(LOAD_ADDRESS));
        assert_eq!(entry(0, elf(LOAD_ADDRESS, Some(LOAD_ADDRESS + 8))), pvh);
        assert_eq!(entry(2, elf(LOAD_ADDRESS, Some(LOAD_ADDRESS + 8))), pvh);
        assert_eq!(entry(0, bzimage(0x1_0000)), None);
        assert_eq!(entry(0, elf(0x1_0000, None)), None);
    }
}
