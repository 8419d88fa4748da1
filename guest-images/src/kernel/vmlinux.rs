//! The ELF image inside a bzImage.
//!
//! A bzImage is a boot sector, set-up code and a program that unpacks the kernel proper. Its header
//! says where the packed kernel starts and how long it is; the packing shows in the first bytes.
//! Kernel builds append the unpacked length as 32 bits to every format that lacks one.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::process::Stdio;

use thiserror::Error;

use crate::tool::{GZIP, Tool, ToolError, XZ, ZSTD};

/// Offsets into the bzImage, from the Linux x86 boot protocol.
const SETUP_SECTORS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The first protocol version that says where the payload is.
const PROTOCOL_MIN: u16 = 0x208;
const SECTOR_BYTES: usize = 512;

/// Far above any kernel; keeps a broken image from filling memory.
const VMLINUX_BYTES_MAX: u64 = 1 << 30;

/// A kernel image without a usable ELF image inside.
#[derive(Debug, Error)]
pub enum VmlinuxError {
    /// Not a bzImage at all.
    #[error("it is not a bzImage: the boot header's magic is missing")]
    NotBzImage,
    /// A bzImage of before Linux 2.6.26.
    #[error("its boot protocol {0:#x} is too old to say where the kernel proper is")]
    OldProtocol(u16),
    /// The header points outside the file.
    #[error("it is truncated: the kernel proper is said to end at byte {end} of {len}")]
    Truncated {
        /// Where the payload should end.
        end: usize,
        /// The file's length.
        len: usize,
    },
    /// Packed in a way that we cannot unpack.
    #[error("its compression is not supported: {0}")]
    Compression(&'static str),
    /// Packed in a way that nobody knows.
    #[error("its compression is unknown: it starts with {0:02x?}")]
    UnknownCompression([u8; 4]),
    /// The packed kernel is damaged.
    #[error("the kernel inside it is damaged")]
    Unpack(#[source] io::Error),
    /// The tool that unpacks it failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The unpacked length is not what the image says.
    #[error("the kernel inside it unpacks to {found} bytes instead of {expected}")]
    Length {
        /// What the image says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// What was packed is no ELF image.
    #[error("the kernel inside it is not an ELF image")]
    NotElf,
}

/// Unpacks the ELF image from the bzImage `image`.
pub fn extract(image: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let payload = payload(image)?;
    let magic: [u8; 4] = payload.first_chunk().copied().unwrap_or_default();
    let (packed, length) = match payload.split_last_chunk() {
        // gzip carries its own length, in the same place.
        Some((_, length)) if magic[..2] == [0x1f, 0x8b] => (payload, u32::from_le_bytes(*length)),
        Some((packed, length)) => (packed, u32::from_le_bytes(*length)),
        None => return Err(VmlinuxError::UnknownCompression(magic)),
    };
    let elf = match magic {
        [0x02, 0x21, 0x4c, 0x18] => unpack_lz4(packed)?,
        [0x1f, 0x8b, _, _] => unpack_with(GZIP, packed)?,
        [0xfd, b'7', b'z', b'X'] => unpack_with(XZ, packed)?,
        [0x28, 0xb5, 0x2f, 0xfd] => unpack_with(ZSTD, packed)?,
        [b'B', b'Z', b'h', _] => return Err(VmlinuxError::Compression("bzip2")),
        [0x5d, 0, 0, _] => return Err(VmlinuxError::Compression("lzma")),
        [0x89, b'L', b'Z', b'O'] => return Err(VmlinuxError::Compression("lzo")),
        _ => return Err(VmlinuxError::UnknownCompression(magic)),
    };
    let (expected, found) = (u64::from(length), elf.len() as u64);
    if found != expected {
        return Err(VmlinuxError::Length { expected, found });
    }
    if !elf.starts_with(b"\x7fELF") {
        return Err(VmlinuxError::NotElf);
    }
    Ok(elf)
}

/// The packed kernel within the image.
fn payload(image: &[u8]) -> Result<&[u8], VmlinuxError> {
    let bytes = |at: usize| image.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let word = |at| bytes(at).map(|bytes| u32::from_le_bytes(*bytes) as usize);
    if bytes(HEADER_MAGIC) != Some(b"HdrS") {
        return Err(VmlinuxError::NotBzImage);
    }
    let fields = (word(PROTOCOL), word(PAYLOAD_OFFSET), word(PAYLOAD_LENGTH));
    let (Some(protocol), Some(offset), Some(length)) = fields else {
        return Err(VmlinuxError::Truncated {
            end: PAYLOAD_LENGTH + 4,
            len: image.len(),
        });
    };
    let protocol = (protocol & 0xffff) as u16;
    if protocol < PROTOCOL_MIN {
        return Err(VmlinuxError::OldProtocol(protocol));
    }
    // Zero stands for four, from the days of floppy disks.
    let setup = match image[SETUP_SECTORS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup + 1) * SECTOR_BYTES + offset;
    let end = start + length;
    image.get(start..end).ok_or(VmlinuxError::Truncated {
        end,
        len: image.len(),
    })
}

fn unpack_lz4(packed: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let mut elf = Vec::new();
    lz4_flex::frame::FrameDecoder::new(packed)
        .take(VMLINUX_BYTES_MAX)
        .read_to_end(&mut elf)
        .map_err(VmlinuxError::Unpack)?;
    Ok(elf)
}

/// Unpacks through a tool, which reads from a file: a pipe would need a second thread to feed it.
fn unpack_with(tool: Tool, packed: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let mut file = tempfile::tempfile().map_err(VmlinuxError::Unpack)?;
    file.write_all(packed).map_err(VmlinuxError::Unpack)?;
    file.seek(SeekFrom::Start(0))
        .map_err(VmlinuxError::Unpack)?;
    Ok(tool.output(tool.command().arg("-dc").stdin(Stdio::from(file)))?)
}

#[cfg(test)]
mod tests;
