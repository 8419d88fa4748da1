//! What the loader left: the command line and the memory map, in Linux's zero page; and the RAM that
//! is free.
//!
//! Source: Zero Page, Documentation/arch/x86 in Linux.
#![expect(unsafe_code, reason = "reads memory at fixed addresses")]

use core::slice;
use core::str;
use core::sync::atomic::AtomicU64;

const E820_COUNT: u64 = 0x1e8;
const CMDLINE: u64 = 0x228;
const E820_TABLE: u64 = 0x2d0;
const E820_BYTES: u64 = 20;
const E820_RAM: u32 = 1;
const CMDLINE_MAX: usize = 2048;

unsafe extern "C" {
    static bench_guest_image_end: u8;
}

/// Linux's `struct boot_params`.
#[derive(Clone, Copy)]
pub struct BootParams(u64);

impl BootParams {
    /// At this address, as the loader says.
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    fn read<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the loader left the zero page there, of which nothing is ever written, and the
        // callers below read plain integers.
        unsafe { ((self.0 + offset) as *const T).read_unaligned() }
    }

    /// The command line; `None` if it is not text.
    pub fn cmdline(self) -> Option<&'static str> {
        let start = u64::from(self.read::<u32>(CMDLINE)) as *const u8;
        let mut len = 0;
        // SAFETY: it ends with a NUL, as the loader promises; the limit holds if it does not.
        while len < CMDLINE_MAX && unsafe { *start.add(len) } != 0 {
            len += 1;
        }
        // SAFETY: these bytes have just been read, and nobody writes them.
        str::from_utf8(unsafe { slice::from_raw_parts(start, len) }).ok()
    }

    /// The end of the RAM that the image is in.
    fn ram_end(self) -> u64 {
        let image = image_end();
        (0..u64::from(self.read::<u8>(E820_COUNT)))
            .map(|index| E820_TABLE + index * E820_BYTES)
            .filter(|&entry| self.read::<u32>(entry + 16) == E820_RAM)
            .map(|entry| (self.read::<u64>(entry), self.read::<u64>(entry + 8)))
            .find(|&(start, len)| start <= image && image < start.saturating_add(len))
            .map_or(image, |(start, len)| start + len)
    }

    /// The RAM beyond the image, as words that nobody uses.
    pub fn free_ram(self) -> &'static [AtomicU64] {
        let start = image_end();
        let words = (self.ram_end() - start) / 8;
        // SAFETY: it is RAM that the image does not use, page-aligned, and mapped as it is.
        unsafe { slice::from_raw_parts(start as *const AtomicU64, words as usize) }
    }
}

fn image_end() -> u64 {
    (&raw const bench_guest_image_end) as u64
}
