//! What a file is, judged by its first bytes: for dispatch, and to tell a user what they gave.

use std::fmt;

/// Offset of the boot sector's signature, and of the setup header's magic, in a bzImage.
const BOOT_FLAG: usize = 0x1fe;
const SETUP_MAGIC: usize = 0x202;

/// A kind of file that people pass as a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A Linux kernel with a real-mode setup header, as distributions ship it.
    BzImage,
    /// An ELF object of any class and machine.
    Elf,
    /// An arm64 or riscv64 kernel image.
    ForeignImage,
    /// An EFI program that is not a bzImage.
    Efi,
    /// Compressed data, and the program that unpacks it.
    Compressed(&'static str),
    /// An archive, such as an initramfs.
    Cpio,
    /// Text.
    Script,
    /// None of these.
    Unknown,
}

impl FileKind {
    /// Judges a file by its first bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        let has = |offset: usize, magic: &[u8]| {
            head.get(offset..)
                .is_some_and(|tail| tail.starts_with(magic))
        };
        if has(0, b"\x7fELF") {
            Self::Elf
        } else if has(SETUP_MAGIC, b"HdrS") && has(BOOT_FLAG, &[0x55, 0xaa]) {
            Self::BzImage
        } else if has(0x38, b"ARM\x64") || has(0x38, b"RSC\x05") {
            Self::ForeignImage
        } else if has(0, b"MZ") {
            Self::Efi
        } else if has(0, &[0x1f, 0x8b]) {
            Self::Compressed("gunzip")
        } else if has(0, &[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Compressed("unzstd")
        } else if has(0, b"\xfd7zXZ\0") {
            Self::Compressed("unxz")
        } else if has(0, b"BZh") {
            Self::Compressed("bunzip2")
        } else if has(0, &[0x04, 0x22, 0x4d, 0x18]) || has(0, &[0x02, 0x21, 0x4c, 0x18]) {
            Self::Compressed("unlz4")
        } else if has(0, b"070701") || has(0, b"070702") {
            Self::Cpio
        } else if has(0, b"#!") {
            Self::Script
        } else {
            Self::Unknown
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BzImage => write!(f, "a bzImage"),
            Self::Elf => write!(f, "an ELF file"),
            Self::ForeignImage => write!(f, "a kernel for another architecture"),
            Self::Efi => write!(f, "an EFI program without a Linux setup header"),
            Self::Compressed(unpack) => write!(f, "compressed ({unpack} unpacks it)"),
            Self::Cpio => write!(f, "a cpio archive, perhaps an initrd"),
            Self::Script => write!(f, "a script"),
            Self::Unknown => write!(f, "not a kernel of any kind known here"),
        }
    }
}
