//! ELF: an uncompressed Linux kernel (vmlinux), or any other program that runs without one.
//!
//! Segments are loaded at their physical addresses. The entry point is entered in 64-bit mode with
//! the zero page, as the Linux boot protocol says; that is what vmlinux expects, skips most early
//! code, and is useful for programs that are no Linux kernel, too. Kernels that announce a PVH entry
//! point are entered there if asked for, or if the ELF entry point is not in loaded memory.
//!
//! Source: System V Application Binary Interface, chapters 4 and 5.

use std::io::Seek;

use muster_devices::memory::GuestRam;
use thiserror::Error;
use vm_memory::{GuestAddress, ReadVolatile};

use super::{CMDLINE_LEN_MAX, KernelEntry, KernelError, LoadedKernel, check_placement};
use crate::boot::Protocol;
use crate::boot::image::Image;
use crate::layout::MMIO_HOLE_START;

const CLASS: usize = 4;
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const DATA: usize = 5;
const DATA_LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;

const FILE_HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
/// More than ten times what kernels have.
const SEGMENTS_MAX: usize = 128;
/// More than ten times what kernels have.
const NOTES_LEN_MAX: u64 = 16 << 10;

/// The owner of notes for Xen, which are of use to other hypervisors too, and two of their types:
/// the guest's name, and the PVH entry point.
const XEN_OWNER: &[u8] = b"Xen\0";
const XEN_GUEST_OS: u32 = 6;
const XEN_PHYS32_ENTRY: u32 = 18;
/// The owner of notes for tools that look into Linux kernels.
const LINUX_OWNER: &[u8] = b"Linux\0";
const NOTE_HEADER_LEN: usize = 12;
const NOTE_ALIGN: usize = 4;

/// What is wrong with an ELF file's headers.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    /// For another processor or byte order.
    #[error("it is not built for x86-64 (ELF machine {machine})")]
    Machine {
        /// The machine number.
        machine: u16,
    },
    /// An object file, a module, a core dump.
    #[error("it is no executable (ELF type {kind}), perhaps a module or an object file")]
    Type {
        /// The type number.
        kind: u16,
    },
    /// Program headers of a strange size, or more than `SEGMENTS_MAX`.
    #[error("{count} program headers of {len} bytes each: not possible in a kernel")]
    ProgramHeaders {
        /// How many.
        count: u16,
        /// Bytes of each.
        len: u16,
    },
    /// A segment's part of the file is larger than its memory, or segments share parts of the file.
    #[error("the sizes of segment {index} contradict each other or other segments")]
    SegmentSize {
        /// The segment's place among the program headers.
        index: usize,
    },
    /// No segment to load.
    #[error("nothing in it is to be loaded")]
    NoSegments,
    /// The notes are not a list of notes.
    #[error("its notes are damaged")]
    Notes,
    /// Execution would begin outside.
    #[error("its entry point {entry:#x} is not in any loaded segment")]
    Entry {
        /// The entry point.
        entry: u64,
    },
}

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    paddr: u64,
    file_len: u64,
    memory_len: u64,
}

/// Loads the ELF file whose first bytes are `head`.
pub(super) fn load<F: ReadVolatile + Seek>(
    ram: &GuestRam,
    image: &mut Image<'_, F>,
    head: &[u8],
    protocol: Protocol,
) -> Result<LoadedKernel, KernelError> {
    check_ident(head, image.len())?;
    let entry = u64_at(head, 24);
    let segments = read_segments(image, head)?;
    let end = check_segments(ram, image.len(), &segments)?;
    let entry = choose_entry(image, entry, &segments, protocol)?;
    for segment in segments.iter().filter(|segment| segment.is_loaded()) {
        let target = GuestAddress(segment.paddr);
        image.copy_to_ram(segment.offset, segment.file_len, ram, target)?;
    }
    Ok(LoadedKernel {
        entry,
        end: GuestAddress(end),
        setup_header: None,
        cmdline_len_max: CMDLINE_LEN_MAX,
        initrd_last: GuestAddress(MMIO_HOLE_START.0 - 1),
    })
}

impl Segment {
    fn parse(header: &[u8]) -> Self {
        Self {
            kind: u32_at(header, 0),
            offset: u64_at(header, 8),
            paddr: u64_at(header, 24),
            file_len: u64_at(header, 32),
            memory_len: u64_at(header, 40),
        }
    }

    fn is_loaded(&self) -> bool {
        self.kind == SEGMENT_LOAD && self.memory_len > 0
    }

    /// Whether `address` is a byte that comes from the file.
    fn has_code_at(&self, address: u64) -> bool {
        self.is_loaded()
            && address
                .checked_sub(self.paddr)
                .is_some_and(|at| at < self.file_len)
    }

    /// Checks that the file has all of the segment.
    fn check_in_file(&self, file_len: u64) -> Result<(), KernelError> {
        match self.offset.checked_add(self.file_len) {
            Some(end) if end <= file_len => Ok(()),
            end => Err(KernelError::Truncated {
                needed: end.unwrap_or(u64::MAX),
                len: file_len,
            }),
        }
    }
}

/// Checks that this is a 64-bit x86 program with a complete file header.
fn check_ident(head: &[u8], file_len: u64) -> Result<(), KernelError> {
    if head.len() < FILE_HEADER_LEN {
        return Err(KernelError::Truncated {
            needed: FILE_HEADER_LEN as u64,
            len: file_len,
        });
    }
    let (kind, machine) = (u16_at(head, 16), u16_at(head, 18));
    if head[CLASS] == CLASS_32 && machine == MACHINE_386 {
        return Err(KernelError::ThirtyTwoBit);
    }
    if (head[CLASS], head[DATA], machine) != (CLASS_64, DATA_LITTLE_ENDIAN, MACHINE_X86_64) {
        return Err(ElfError::Machine { machine }.into());
    }
    if !matches!(kind, TYPE_EXECUTABLE | TYPE_SHARED) {
        return Err(ElfError::Type { kind }.into());
    }
    Ok(())
}

fn read_segments<F: ReadVolatile + Seek>(
    image: &mut Image<'_, F>,
    head: &[u8],
) -> Result<Vec<Segment>, KernelError> {
    let offset = u64_at(head, 32);
    let (len, count) = (u16_at(head, 54), u16_at(head, 56));
    if usize::from(len) != PROGRAM_HEADER_LEN || usize::from(count) > SEGMENTS_MAX {
        return Err(ElfError::ProgramHeaders { count, len }.into());
    }
    let mut headers = vec![0; usize::from(count) * PROGRAM_HEADER_LEN];
    let needed = offset.saturating_add(headers.len() as u64);
    if needed > image.len() {
        return Err(KernelError::Truncated {
            needed,
            len: image.len(),
        });
    }
    image.read_at(offset, &mut headers)?;
    Ok(headers
        .chunks_exact(PROGRAM_HEADER_LEN)
        .map(Segment::parse)
        .collect())
}

/// Checks every segment that is to be loaded, and returns where the last one ends.
fn check_segments(ram: &GuestRam, file_len: u64, segments: &[Segment]) -> Result<u64, KernelError> {
    let mut end = None;
    // Segments of an honest file do not share bytes, so that all together are no longer than the
    // file. This bounds the copying by the file's length.
    let mut unclaimed = file_len;
    for (index, segment) in segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| segment.is_loaded())
    {
        segment.check_in_file(file_len)?;
        if segment.file_len > segment.memory_len {
            return Err(ElfError::SegmentSize { index }.into());
        }
        unclaimed = unclaimed
            .checked_sub(segment.file_len)
            .ok_or(ElfError::SegmentSize { index })?;
        end = end.max(Some(check_placement(
            ram,
            segment.paddr,
            segment.memory_len,
        )?));
    }
    Ok(end.ok_or(ElfError::NoSegments)?)
}

fn choose_entry<F: ReadVolatile + Seek>(
    image: &mut Image<'_, F>,
    entry: u64,
    segments: &[Segment],
    protocol: Protocol,
) -> Result<KernelEntry, KernelError> {
    let loaded = |address| segments.iter().any(|segment| segment.has_code_at(address));
    if protocol != Protocol::Pvh && loaded(entry) {
        return Ok(KernelEntry::Linux64(GuestAddress(entry)));
    }
    if protocol == Protocol::Linux64 {
        return Err(ElfError::Entry { entry }.into());
    }
    match find_pvh_entry(image, segments)? {
        Some(pvh) if loaded(pvh) => Ok(KernelEntry::Pvh(GuestAddress(pvh))),
        Some(pvh) => Err(ElfError::Entry { entry: pvh }.into()),
        None if protocol == Protocol::Pvh => Err(KernelError::NoPvhEntry),
        None => Err(ElfError::Entry { entry }.into()),
    }
}

/// The PVH entry point that the file's notes announce.
fn find_pvh_entry<F: ReadVolatile + Seek>(
    image: &mut Image<'_, F>,
    segments: &[Segment],
) -> Result<Option<u64>, KernelError> {
    find_note(image, segments, |note| {
        if note.owner != XEN_OWNER || note.kind != XEN_PHYS32_ENTRY {
            return None;
        }
        // Four or eight bytes by the kernel's taste.
        match note.value.len() {
            4 => Some(u64::from(u32_at(note.value, 0))),
            8 => Some(u64_at(note.value, 0)),
            _ => None,
        }
    })
}

/// Whether the notes say that this is Linux: its own, or those for Xen.
pub(super) fn is_linux<F: ReadVolatile + Seek>(
    image: &mut Image<'_, F>,
    head: &[u8],
) -> Result<bool, KernelError> {
    check_ident(head, image.len())?;
    let segments = read_segments(image, head)?;
    let found = find_note(image, &segments, |note| {
        let guest_os = note.owner == XEN_OWNER && note.kind == XEN_GUEST_OS;
        (note.owner == LINUX_OWNER || guest_os && note.value == b"linux\0").then_some(())
    })?;
    Ok(found.is_some())
}

/// What `wanted` makes of the first note that it accepts.
fn find_note<F: ReadVolatile + Seek, T>(
    image: &mut Image<'_, F>,
    segments: &[Segment],
    wanted: impl Fn(&Note<'_>) -> Option<T>,
) -> Result<Option<T>, KernelError> {
    for segment in segments
        .iter()
        .filter(|segment| segment.kind == SEGMENT_NOTE)
    {
        segment.check_in_file(image.len())?;
        if segment.file_len > NOTES_LEN_MAX {
            return Err(ElfError::Notes.into());
        }
        let mut bytes = vec![0; segment.file_len as usize];
        image.read_at(segment.offset, &mut bytes)?;
        let mut rest = bytes.as_slice();
        while rest.len() >= NOTE_HEADER_LEN {
            let (note, next) = Note::split_from(rest).ok_or(ElfError::Notes)?;
            if let Some(found) = wanted(&note) {
                return Ok(Some(found));
            }
            rest = next;
        }
    }
    Ok(None)
}

/// One of a file's notes.
struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    value: &'a [u8],
}

impl<'a> Note<'a> {
    /// Splits the first note off `notes`: a header, an owner and a value, the latter two padded
    /// (but perhaps not at the very end).
    fn split_from(notes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = notes.split_at_checked(NOTE_HEADER_LEN)?;
        let owner_len = u32_at(header, 0) as usize;
        let value_len = u32_at(header, 4) as usize;
        let value_at = owner_len.next_multiple_of(NOTE_ALIGN);
        let note = Self {
            owner: rest.get(..owner_len)?,
            kind: u32_at(header, 8),
            value: rest.get(value_at..).unwrap_or_default().get(..value_len)?,
        };
        let next = (value_at + value_len).next_multiple_of(NOTE_ALIGN);
        Some((note, rest.get(next..).unwrap_or_default()))
    }
}

/// Reads a field at a fixed place of a header whose length the caller has checked.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header[at..at + N]
        .try_into()
        .expect("the range has N bytes")
}

fn u16_at(header: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(header, at))
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(header, at))
}

fn u64_at(header: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(header, at))
}
