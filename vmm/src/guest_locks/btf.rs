//! BTF: a kernel's description of its own types and per-CPU variables.
//!
//! Problem: where a per-CPU variable is differs from kernel to kernel, and what says so lies in memory
//! that the guest can write to.
//!
//! Approach: a cursor over the type records, which borrows everything, allocates nothing and builds no
//! graph of types: what is wanted here is a handful of names. (The crates that read BTF build one,
//! of a hundred thousand records.) Each record is longer than nothing, so that any input comes to an
//! end; the first one that makes no sense is the last.
//!
//! Terms: a *variable* is a global one; a *section* lists the variables in one section of the kernel,
//! and where in it they are.
//!
//! Source: BPF Type Format, Documentation/bpf/btf.rst in Linux.

/// How BTF of this byte order begins: magic number, version 1, no flags.
const BEGINNING: [u8; 4] = [0x9f, 0xeb, 1, 0];
/// Length of the header of version 1, and the most that a later one is taken to have.
const HEADER_LEN: usize = 24;
const HEADER_LEN_MAX: u32 = 256;

/// Length of what every type record begins with.
const RECORD_LEN: usize = 12;
const MEMBER_LEN: usize = 12;
const SECTION_ENTRY_LEN: usize = 12;

// Kinds of records.
const STRUCT: u32 = 4;
const FUNCTION: u32 = 12;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;

/// The header of BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    header_len: u32,
    types: (u32, u32),
    strings: (u32, u32),
}

impl Header {
    /// How much of a beginning it takes to read it.
    pub(super) const LEN: usize = HEADER_LEN;

    /// Reads it from the beginning of `bytes`; `None` if this is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(&BEGINNING) {
            return None;
        }
        let header_len = u32_at(bytes, 4)?;
        let header = Self {
            header_len,
            types: (u32_at(bytes, 8)?, u32_at(bytes, 12)?),
            strings: (u32_at(bytes, 16)?, u32_at(bytes, 20)?),
        };
        let fits = (HEADER_LEN as u32..=HEADER_LEN_MAX).contains(&header_len);
        (fits && header_len.is_multiple_of(4)).then_some(header)
    }

    /// Length of all of it. Numbers of 32 bits do not overflow here.
    pub(super) fn total_len(self) -> u64 {
        let end = |(offset, len): (u32, u32)| u64::from(offset) + u64::from(len);
        u64::from(self.header_len) + end(self.types).max(end(self.strings))
    }
}

/// BTF in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Takes apart `bytes`, which begin with a header; `None` if they are shorter than it says.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let body = bytes.get(header.header_len as usize..)?;
        let part = |(offset, len): (u32, u32)| body.get(offset as usize..)?.get(..len as usize);
        Some(Self {
            types: part(header.types)?,
            strings: part(header.strings)?,
        })
    }

    /// All records. The first has number 1.
    pub(super) fn records(&self) -> Records<'a> {
        Records {
            rest: self.types,
            next: 1,
        }
    }

    /// Whether the name at `offset` is `name`.
    pub(super) fn is_named(&self, offset: u32, name: &str) -> bool {
        let text = self.strings.get(offset as usize..).unwrap_or_default();
        text.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// A type record, as far as it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Other records refer to it by this number.
    pub number: u32,
    /// Where its name is.
    pub name: u32,
    pub kind: Kind<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Struct(Members<'a>),
    Function,
    Variable,
    Section(Entries<'a>),
    Other,
}

/// See [`Btf::records`].
#[derive(Debug, Clone)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    next: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let info = u32_at(self.rest, 4)?;
        let name = u32_at(self.rest, 0)?;
        let kind = info >> 24 & 0x1f;
        let len = len_behind(kind, (info & 0xffff) as usize)?;
        let (behind, rest) = self.rest.get(RECORD_LEN..)?.split_at_checked(len)?;
        let number = self.next;
        self.rest = rest;
        self.next = number.checked_add(1)?;
        let kind = match kind {
            STRUCT => Kind::Struct(Members {
                rest: behind,
                has_bit_fields: info >> 31 == 1,
            }),
            FUNCTION => Kind::Function,
            VARIABLE => Kind::Variable,
            SECTION => Kind::Section(Entries { rest: behind }),
            _ => Kind::Other,
        };
        Some(Record { number, name, kind })
    }
}

/// What a record of this kind has behind its beginning, where it says that it has `count` of them.
/// `None` for a kind of unknown length: what follows it cannot be read.
fn len_behind(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Integers, and tags of declarations.
        1 | VARIABLE | 17 => 4,
        // Arrays.
        3 => 12,
        // Unions are as structures are.
        STRUCT | 5 => count * MEMBER_LEN,
        // Enumerations, and parameters.
        6 | 13 => count * 8,
        SECTION => count * SECTION_ENTRY_LEN,
        // Enumerations of 64 bits.
        19 => count * 12,
        // Pointers, declarations, other names, qualifiers, floating-point numbers, tags of types.
        2 | 7..=11 | FUNCTION | 16 | 18 => 0,
        _ => return None,
    })
}

/// The members of a structure: where their names are, and their offsets in bytes, if they have such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
    has_bit_fields: bool,
}

impl Iterator for Members<'_> {
    type Item = (u32, Option<u32>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, offset) = (u32_at(self.rest, 0)?, u32_at(self.rest, 8)?);
        self.rest = self.rest.get(MEMBER_LEN..)?;
        let bits = if self.has_bit_fields {
            offset & 0xff_ffff
        } else {
            offset
        };
        Some((name, bits.is_multiple_of(8).then_some(bits / 8)))
    }
}

/// The variables of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
}

/// A variable in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub variable: u32,
    /// From the section's beginning.
    pub offset: u32,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = Entry {
            variable: u32_at(self.rest, 0)?,
            offset: u32_at(self.rest, 4)?,
        };
        self.rest = self.rest.get(SECTION_ENTRY_LEN..)?;
        Some(entry)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests;
