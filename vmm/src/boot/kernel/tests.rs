//! Kernels are made here byte by byte: small ones of both formats, then every way to spoil them.

use std::io::Cursor;

use proptest::prelude::*;
use vm_memory::{ByteValued, Bytes};

use super::*;
use crate::memory::{MemorySpec, allocate};

const MIB: u64 = 1 << 20;

pub(in crate::boot) fn ram(mib: u64) -> GuestRam {
    allocate(MemorySpec { size: mib * MIB }).unwrap()
}

fn load(kernel: &[u8], protocol: Protocol) -> Result<LoadedKernel, KernelError> {
    load_kernel(&ram(16), &mut Cursor::new(kernel), protocol)
}

fn message(kernel: &[u8]) -> String {
    let error = load(kernel, Protocol::Auto).unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 + 1).collect()
}

/// A bzImage that loads at 2 MiB: two sectors of setup, then `code`.
pub(in crate::boot) fn bzimage(code: &[u8]) -> Vec<u8> {
    let header = setup_header {
        setup_sects: 1,
        boot_flag: 0xaa55,
        // A jump over the header to its end.
        jump: 0x6aeb,
        header: 0x5372_6448,
        version: 0x020f,
        loadflags: 1,
        xloadflags: 1,
        syssize: code.len().div_ceil(16) as u32,
        cmdline_size: 2047,
        initrd_addr_max: 0x7fff_ffff,
        pref_address: 2 * MIB,
        init_size: 4 * MIB as u32,
        ..Default::default()
    };
    let mut image = vec![0; 1024];
    let bytes = header.as_slice();
    image[0x1f1..0x1f1 + bytes.len()].copy_from_slice(bytes);
    image.extend(code);
    image.resize(image.len().next_multiple_of(16), 0);
    image
}

/// Changes the setup header of a bzImage.
fn with_header(mut image: Vec<u8>, change: impl FnOnce(&mut setup_header)) -> Vec<u8> {
    let place = 0x1f1..0x1f1 + size_of::<setup_header>();
    let mut header = setup_header::default();
    header.as_mut_slice().copy_from_slice(&image[place.clone()]);
    change(&mut header);
    image[place].copy_from_slice(header.as_slice());
    image
}

/// What an ELF file is made of.
#[derive(Debug, Clone)]
pub(in crate::boot) struct TestElf {
    pub(in crate::boot) entry: u64,
    /// Physical address, bytes in the file, bytes in memory.
    pub(in crate::boot) segments: Vec<(u64, Vec<u8>, u64)>,
    pub(in crate::boot) notes: Vec<u8>,
}

impl TestElf {
    /// Code at 2 MiB with 64 KiB of zeroes behind it, data at 3 MiB.
    pub(in crate::boot) fn new() -> Self {
        Self {
            entry: 2 * MIB + 0x10,
            segments: vec![
                (2 * MIB, pattern(0x3000), 0x1_3000),
                (3 * MIB, pattern(0x123), 0x123),
            ],
            notes: Vec::new(),
        }
    }

    pub(in crate::boot) fn with_note(mut self, owner: &[u8], kind: u32, value: &[u8]) -> Self {
        for number in [owner.len() as u32, value.len() as u32, kind] {
            self.notes.extend(number.to_le_bytes());
        }
        for part in [owner, value] {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    pub(in crate::boot) fn bytes(&self) -> Vec<u8> {
        let count = self.segments.len() + 1;
        let mut file = vec![0; 64 + 56 * count];
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
        put(&mut file, 24, self.entry);
        put(&mut file, 32, 64);
        file[54..58].copy_from_slice(&[56, 0, count as u8, 0]);
        for (index, (paddr, bytes, memory_len)) in self.segments.iter().enumerate() {
            let lens = [bytes.len() as u64, *memory_len];
            Self::push_segment(&mut file, index, 1, *paddr, bytes, lens);
        }
        let lens = [self.notes.len() as u64; 2];
        Self::push_segment(&mut file, count - 1, 4, 0, &self.notes, lens);
        file
    }

    fn push_segment(
        file: &mut Vec<u8>,
        index: usize,
        kind: u8,
        paddr: u64,
        bytes: &[u8],
        lens: [u64; 2],
    ) {
        let header = 64 + 56 * index;
        file[header] = kind;
        let offset = file.len() as u64;
        put(file, header + 8, offset);
        // Kernels run at other addresses than where they are loaded.
        put(file, header + 16, 0xffff_ffff_8000_0000 + paddr);
        put(file, header + 24, paddr);
        put(file, header + 32, lens[0]);
        put(file, header + 40, lens[1]);
        file.extend(bytes);
    }
}

fn put(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn read(ram: &GuestRam, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

#[test]
fn a_bzimage_is_loaded_at_its_preferred_address() {
    let code = pattern(0x5000);
    let ram = ram(16);
    let kernel = load_kernel(&ram, &mut Cursor::new(bzimage(&code)), Protocol::Auto).unwrap();
    assert_eq!(
        kernel.entry,
        KernelEntry::Linux64(GuestAddress(2 * MIB + 0x200))
    );
    // What it needs to unpack itself is more than its own length.
    assert_eq!(kernel.end, GuestAddress(6 * MIB));
    assert_eq!(
        (kernel.cmdline_len_max, kernel.initrd_last.0),
        (2047, 0x7fff_ffff)
    );
    let header = kernel.setup_header.unwrap();
    assert_eq!({ header.pref_address }, 2 * MIB);
    assert_eq!(read(&ram, 2 * MIB, code.len()), code);
    assert_eq!(read(&ram, 2 * MIB - 16, 16), [0; 16]);
    assert_eq!(read(&ram, 2 * MIB + 0x5000, 16), [0; 16]);
}

#[test]
fn a_signature_behind_a_bzimage_is_not_loaded() {
    let mut image = bzimage(&pattern(0x5000));
    image.extend(pattern(1472));
    let ram = ram(16);
    load_kernel(&ram, &mut Cursor::new(image), Protocol::Auto).unwrap();
    assert_eq!(read(&ram, 2 * MIB + 0x5000, 16), [0; 16]);
}

#[test]
fn fields_that_an_older_header_does_not_have_are_zero() {
    let image = with_header(bzimage(&pattern(0x5000)), |header| {
        header.jump = 0x66eb;
        header.kernel_info_offset = u32::MAX;
    });
    let header = load(&image, Protocol::Auto).unwrap().setup_header.unwrap();
    assert_eq!({ header.kernel_info_offset }, 0);
    assert_eq!({ header.init_size }, 4 * MIB as u32);
}

#[test]
fn a_bzimage_cut_anywhere_is_refused() {
    let image = bzimage(&pattern(0x400));
    for len in 0..image.len() {
        assert!(load(&image[..len], Protocol::Auto).is_err(), "{len}");
    }
    let cut = &image[..image.len() - 1];
    assert_eq!(
        message(cut),
        "the file is cut short: it should have at least 2048 bytes but has 2047"
    );
}

#[test]
fn a_bzimage_that_ends_before_its_entry_point_is_refused() {
    let error = load(&bzimage(&pattern(0x200)), Protocol::Auto).unwrap_err();
    assert!(
        matches!(
            error,
            KernelError::Truncated {
                needed: 0x601,
                len: 0x600
            }
        ),
        "{error}"
    );
    load(&bzimage(&pattern(0x201)), Protocol::Auto).unwrap();
}

#[test]
fn bzimages_without_a_64_bit_entry_are_refused() {
    let image = || bzimage(&pattern(0x5000));
    let refused = |image: Vec<u8>| load(&image, Protocol::Auto).unwrap_err();
    let thirty_two_bit = refused(with_header(image(), |header| header.xloadflags = 0));
    assert!(matches!(thirty_two_bit, KernelError::ThirtyTwoBit));
    let zimage = refused(with_header(image(), |header| header.loadflags = 0));
    assert!(matches!(zimage, KernelError::ThirtyTwoBit));
    let old = refused(with_header(image(), |header| header.version = 0x0206));
    assert_eq!(
        old.to_string(),
        "its boot protocol 2.06 is too old; give Linux 3.8 or newer"
    );
    let pvh = load(&image(), Protocol::Pvh).unwrap_err();
    assert!(matches!(pvh, KernelError::NoPvhEntry));
}

#[test]
fn a_bzimage_must_fit_with_the_room_it_needs_to_unpack() {
    let image = with_header(bzimage(&pattern(0x5000)), |header| {
        header.init_size = 15 * MIB as u32;
    });
    assert_eq!(
        message(&image),
        "it needs memory up to 17 MiB, but the guest has 16 MiB there; give the guest more memory"
    );
    let image = with_header(bzimage(&pattern(0x5000)), |header| {
        header.pref_address = 0x1000;
    });
    assert_eq!(
        message(&image),
        "it loads at 0x1000, below 1 MiB, where the boot data is"
    );
    let image = with_header(bzimage(&pattern(0x5000)), |header| {
        header.pref_address = u64::MAX;
    });
    assert!(matches!(
        load(&image, Protocol::Auto),
        Err(KernelError::TooLarge { .. })
    ));
}

#[test]
fn an_elf_kernel_is_loaded_at_its_physical_addresses() {
    let elf = TestElf::new();
    let ram = ram(16);
    let kernel = load_kernel(&ram, &mut Cursor::new(elf.bytes()), Protocol::Auto).unwrap();
    assert_eq!(kernel.entry, KernelEntry::Linux64(GuestAddress(elf.entry)));
    assert_eq!(kernel.end, GuestAddress(3 * MIB + 0x123));
    assert!(kernel.setup_header.is_none());
    for (paddr, bytes, _) in &elf.segments {
        assert_eq!(&read(&ram, *paddr, bytes.len()), bytes);
    }
    assert_eq!(read(&ram, 2 * MIB + 0x3000, 0x1_0000), vec![0; 0x1_0000]);
}

#[test]
fn the_pvh_entry_is_used_when_asked_for_or_needed() {
    let entry = (2 * MIB + 0x40) as u32;
    let pvh = KernelEntry::Pvh(GuestAddress(entry.into()));
    let linux = KernelEntry::Linux64(GuestAddress(2 * MIB + 0x10));
    let elf = TestElf::new().with_note(b"Xen\0", 6, b"linux\0");
    for value in [
        entry.to_le_bytes().to_vec(),
        u64::from(entry).to_le_bytes().to_vec(),
    ] {
        let mut elf = elf.clone().with_note(b"Xen\0", 18, &value);
        let chosen = |elf: &TestElf, protocol| load(&elf.bytes(), protocol).unwrap().entry;
        assert_eq!(chosen(&elf, Protocol::Auto), linux);
        assert_eq!(chosen(&elf, Protocol::Linux64), linux);
        assert_eq!(chosen(&elf, Protocol::Pvh), pvh);
        elf.entry = 0xffff_ffff_8020_0000;
        assert_eq!(chosen(&elf, Protocol::Auto), pvh);
        assert!(load(&elf.bytes(), Protocol::Linux64).is_err());
    }
    let error = load(&elf.bytes(), Protocol::Pvh).unwrap_err();
    assert!(matches!(error, KernelError::NoPvhEntry));
    let elsewhere = elf.with_note(b"Xen\0", 18, &[0; 4]);
    let error = load(&elsewhere.bytes(), Protocol::Pvh).unwrap_err();
    assert!(matches!(
        error,
        KernelError::Elf(ElfError::Entry { entry: 0 })
    ));
}

#[test]
fn an_entry_point_outside_of_the_loaded_bytes_is_refused() {
    // Before the code, in the zeroes behind it, and nowhere.
    for entry in [2 * MIB - 1, 2 * MIB + 0x3000, 0, u64::MAX] {
        let elf = TestElf {
            entry,
            ..TestElf::new()
        };
        assert_eq!(
            message(&elf.bytes()),
            format!(
                "its ELF headers are not valid: its entry point {entry:#x} is not in any loaded \
                 segment"
            )
        );
    }
}

#[test]
fn an_elf_file_cut_anywhere_is_refused() {
    let bytes = TestElf::new().bytes();
    for len in 0..bytes.len() {
        assert!(load(&bytes[..len], Protocol::Auto).is_err(), "{len}");
    }
    let cut = load(&bytes[..bytes.len() - 1], Protocol::Auto).unwrap_err();
    assert!(matches!(cut, KernelError::Truncated { .. }), "{cut}");
}

#[test]
fn elf_files_for_other_machines_and_purposes_are_refused() {
    let with = |at: usize, value: u8| {
        let mut bytes = TestElf::new().bytes();
        bytes[at] = value;
        bytes
    };
    assert!(message(&with(18, 183)).contains("not built for x86-64 (ELF machine 183)"));
    assert!(message(&with(4, 1)).contains("not built for x86-64"));
    assert!(message(&with(5, 2)).contains("not built for x86-64"));
    assert!(message(&with(16, 1)).contains("no executable (ELF type 1)"));
    assert!(message(&with(54, 32)).contains("3 program headers of 32 bytes"));
    assert!(message(&with(57, 1)).contains("259 program headers"));
    let mut i386 = with(4, 1);
    i386[18] = 3;
    assert_eq!(
        message(&i386),
        "it is a 32-bit kernel; give one built for x86-64"
    );
}

#[test]
fn hostile_segments_are_refused() {
    let segments = |segments: Vec<(u64, Vec<u8>, u64)>| {
        load(
            &TestElf {
                segments,
                ..TestElf::new()
            }
            .bytes(),
            Protocol::Auto,
        )
        .unwrap_err()
    };
    let none = segments(vec![]);
    assert!(matches!(none, KernelError::Elf(ElfError::NoSegments)));
    let low = segments(vec![(0x7000, pattern(16), 16)]);
    assert!(matches!(low, KernelError::TooLow { address: 0x7000 }));
    let beyond_ram = segments(vec![(16 * MIB - 8, pattern(16), 16)]);
    assert!(
        matches!(beyond_ram, KernelError::TooLarge { .. }),
        "{beyond_ram}"
    );
    let bss_beyond_ram = segments(vec![(2 * MIB, pattern(16), 15 * MIB)]);
    assert!(matches!(bss_beyond_ram, KernelError::TooLarge { .. }));
    let wraps = segments(vec![(2 * MIB, pattern(16), u64::MAX)]);
    assert!(matches!(wraps, KernelError::TooLarge { end: u64::MAX, .. }));
    let shrinks = segments(vec![(2 * MIB, pattern(16), 15)]);
    assert!(matches!(
        shrinks,
        KernelError::Elf(ElfError::SegmentSize { index: 0 })
    ));

    // Two segments with the same bytes of the file.
    let mut shared = TestElf::new().bytes();
    let first: Vec<u8> = shared[64..120].to_vec();
    shared[120..176].copy_from_slice(&first);
    let error = load(&shared, Protocol::Auto).unwrap_err();
    assert!(matches!(
        error,
        KernelError::Elf(ElfError::SegmentSize { index: 1 })
    ));
}

#[test]
fn damaged_notes_are_refused_only_when_they_are_needed() {
    let mut elf = TestElf::new().with_note(b"Xen\0", 18, &[0; 8]);
    elf.notes[4] = 200;
    assert!(load(&elf.bytes(), Protocol::Auto).is_ok());
    let error = load(&elf.bytes(), Protocol::Pvh).unwrap_err();
    assert!(matches!(error, KernelError::Elf(ElfError::Notes)));
    elf.notes = vec![0; 17 << 10];
    let error = load(&elf.bytes(), Protocol::Pvh).unwrap_err();
    assert!(matches!(error, KernelError::Elf(ElfError::Notes)));
}

#[test]
fn the_user_is_told_what_the_file_is() {
    let at = |offset: usize, magic: &[u8]| {
        let mut file = vec![0; 0x400];
        file[offset..offset + magic.len()].copy_from_slice(magic);
        message(&file)
    };
    assert_eq!(
        at(0, &[0x1f, 0x8b, 8]),
        "it is compressed (gunzip unpacks it); give a bzImage (vmlinuz) or an uncompressed 64-bit \
         ELF kernel (vmlinux)"
    );
    assert!(at(0, &[0x28, 0xb5, 0x2f, 0xfd]).contains("(unzstd unpacks it)"));
    assert!(at(0, b"\xfd7zXZ\0").contains("(unxz unpacks it)"));
    assert!(at(0, b"BZh9").contains("(bunzip2 unpacks it)"));
    assert!(at(0, &[2, 0x21, 0x4c, 0x18]).contains("(unlz4 unpacks it)"));
    assert!(at(0, b"070701").contains("a cpio archive"));
    assert!(at(0, b"#!/bin/sh").contains("a script"));
    assert!(at(0, b"MZ").contains("an EFI program"));
    assert!(at(0x38, b"ARM\x64").contains("another architecture"));
    assert!(at(0, b"hello").contains("not a kernel of any kind"));
    assert_eq!(message(&[]), "the file is empty");
    assert!(message(b"\x7fELF").contains("cut short"));
}

#[test]
fn linux_is_told_from_other_programs() {
    let answer = |bytes: Vec<u8>| is_linux(&mut Cursor::new(bytes)).unwrap();
    assert!(answer(bzimage(&pattern(0x5000))));
    assert!(!answer(TestElf::new().bytes()));
    assert!(answer(
        TestElf::new().with_note(b"Linux\0", 257, &[0; 4]).bytes()
    ));
    assert!(answer(
        TestElf::new().with_note(b"Xen\0", 6, b"linux\0").bytes()
    ));
    assert!(!answer(
        TestElf::new().with_note(b"Xen\0", 6, b"FreeBSD\0").bytes()
    ));
    let unpadded = TestElf {
        notes: b"\x06\0\0\0\0\0\0\0\x01\0\0\0Linux\0".into(),
        ..TestElf::new()
    };
    assert!(answer(unpadded.bytes()));
    for damaged in [
        vec![],
        b"\x7fELF".to_vec(),
        TestElf::new().bytes()[..100].to_vec(),
    ] {
        assert!(!answer(damaged));
    }
}

/// A kernel of either format with some bytes overwritten, and a length to cut it to.
fn spoilt_kernel() -> impl Strategy<Value = Vec<u8>> {
    let note = ((2 * MIB + 0x40) as u32).to_le_bytes();
    let kernels = prop_oneof![
        Just(bzimage(&pattern(0x800))),
        Just(TestElf::new().with_note(b"Xen\0", 18, &note).bytes()),
    ];
    let values = prop_oneof![any::<u8>(), Just(0u8), Just(0xffu8), Just(0x80u8)];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), values), 0..8);
    (
        kernels,
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut kernel, changes, len, cut)| {
            for (at, value) in changes {
                // Headers are where it hurts.
                let at = at.index(kernel.len().min(0x300));
                kernel[at] = value;
            }
            if cut {
                kernel.truncate(len.index(kernel.len()));
            }
            kernel
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_spoilt_kernel_is_loaded_into_ram_or_refused(
        kernel in spoilt_kernel(),
        protocol in prop_oneof![
            Just(Protocol::Auto),
            Just(Protocol::Linux64),
            Just(Protocol::Pvh)
        ],
    ) {
        let ram = ram(4);
        let loaded = load_kernel(&ram, &mut Cursor::new(&kernel), protocol);
        let _ = is_linux(&mut Cursor::new(&kernel)).unwrap();
        // Boot data's place stays as it was, whatever the headers say.
        prop_assert!(read(&ram, 0, MIB as usize).iter().all(|byte| *byte == 0));
        if let Ok(kernel) = loaded {
            let (KernelEntry::Linux64(entry) | KernelEntry::Pvh(entry)) = kernel.entry;
            prop_assert!(entry.0 >= MIB && entry < kernel.end && kernel.end.0 <= 4 * MIB);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..0x800),
        magic in prop_oneof![Just(&b""[..]), Just(&b"\x7fELF\x02\x01"[..])],
    ) {
        let len = magic.len().min(bytes.len());
        bytes[..len].copy_from_slice(&magic[..len]);
        let _ = load(&bytes, Protocol::Auto);
        let _ = is_linux(&mut Cursor::new(&bytes)).unwrap();
    }
}
