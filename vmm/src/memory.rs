//! A guest's RAM: private anonymous memory of this process.
//!
//! Approach: one host mapping for the RAM below the hole and one for the RAM above it. Both start
//! at a multiple of 2 MiB, as their guest addresses do, for only then can KVM map huge pages in one
//! piece. Nothing is populated: a page costs the host memory when the guest first touches it.
#![expect(unsafe_code, reason = "madvise(2)")]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

use muster_devices::memory::GuestRam;
use nix::sys::mman::{MmapAdvise, madvise};
use thiserror::Error;
use tracing::debug;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionCollectionError,
    GuestRegionMmap, MmapRegion,
};

use crate::layout::{HUGE_PAGE_SIZE, MMIO_HOLE_END, MMIO_HOLE_START, PAGE_SIZE};

/// The least RAM that a guest can have: boot data and tables lie in the first MiB.
pub const MEMORY_MIN: u64 = 2 << 20;
/// The most RAM that a guest can have: 16 TiB, well inside the 46 address bits of common hosts.
pub const MEMORY_MAX: u64 = 16 << 40;

/// How often to move a mapping until it is aligned. The second attempt nearly always is.
const ALIGN_ATTEMPTS: usize = 16;

/// How much RAM a guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySpec {
    /// Bytes, a multiple of 4 KiB between [`MEMORY_MIN`] and [`MEMORY_MAX`].
    pub size: u64,
}

/// The guest's RAM could not be had.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// Less than [`MEMORY_MIN`], more than [`MEMORY_MAX`], or not whole pages.
    #[error(
        "a guest cannot have {size} bytes of memory: give a multiple of 4 KiB from {} MiB to {} TiB",
        MEMORY_MIN >> 20,
        MEMORY_MAX >> 40
    )]
    Size {
        /// What was asked.
        size: u64,
    },
    /// The host refused the mapping.
    #[error("the host cannot give {} MiB of memory to the guest ({host})", size >> 20)]
    Map {
        /// What was asked, in bytes.
        size: u64,
        /// What the host has.
        host: HostMemory,
        /// Its refusal.
        source: MmapRegionError,
    },
    /// The pieces do not make an address space: a mistake in the layout.
    #[error("cannot assemble the guest's memory")]
    Assemble(#[from] GuestRegionCollectionError),
}

/// The host's memory, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// Bytes of RAM and swap together, if the host tells.
    pub total: Option<u64>,
}

impl HostMemory {
    /// Asks the host.
    pub fn probe() -> Self {
        let total = nix::sys::sysinfo::sysinfo()
            .ok()
            .map(|info| info.ram_total().saturating_add(info.swap_total()));
        Self { total }
    }
}

impl std::fmt::Display for HostMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.total {
            Some(total) => write!(f, "it has {} MiB of RAM and swap", total >> 20),
            None => write!(f, "it does not tell how much it has"),
        }
    }
}

/// A contiguous piece of RAM: one KVM memory slot, one line of the guest's memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamRegion {
    /// First guest-physical address.
    pub guest_base: GuestAddress,
    /// Length in bytes.
    pub len: u64,
    /// Where this process sees it.
    pub host_address: u64,
}

/// Maps the guest's RAM. Every byte reads as zero.
pub fn allocate(spec: MemorySpec) -> Result<GuestRam, MemoryError> {
    let size = spec.size;
    if !(MEMORY_MIN..=MEMORY_MAX).contains(&size) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(MemoryError::Size { size });
    }
    let regions = split_at_hole(size)
        .map(|(guest_base, len)| {
            let mapping = map_aligned(len as usize).map_err(|source| MemoryError::Map {
                size,
                host: HostMemory::probe(),
                source,
            })?;
            advise(&mapping);
            let region = GuestRegionMmap::new(mapping, guest_base);
            Ok(region.expect("the layout keeps RAM inside the address space"))
        })
        .collect::<Result<Vec<_>, MemoryError>>()?;
    Ok(GuestRam::from_regions(regions)?)
}

/// The pieces of RAM in the order of guest addresses.
pub fn regions(ram: &GuestRam) -> Vec<RamRegion> {
    ram.iter()
        .map(|region| RamRegion {
            guest_base: region.start_addr(),
            len: region.len(),
            host_address: region.as_ptr() as u64,
        })
        .collect()
}

/// Where the RAM that begins at address 0 ends: the first byte that a kernel or initrd cannot use.
pub fn low_ram_end(ram: &GuestRam) -> GuestAddress {
    ram.find_region(GuestAddress(0))
        .map_or(GuestAddress(0), |region| {
            region.last_addr().unchecked_add(1)
        })
}

/// RAM of `size` bytes as pieces around the hole.
fn split_at_hole(size: u64) -> impl Iterator<Item = (GuestAddress, u64)> {
    let low = size.min(MMIO_HOLE_START.0);
    [(GuestAddress(0), low), (MMIO_HOLE_END, size - low)]
        .into_iter()
        .filter(|(_, len)| *len > 0)
}

/// Maps `len` bytes at a multiple of 2 MiB, if the host can be brought to it.
///
/// The kernel puts a mapping right below the previous one. So where it lands too high by some
/// bytes, a filler of that size goes first and the next attempt lands right. (Or the filler lands
/// in a gap elsewhere, and the next one finds that gap closed.) Fillers go away at the end. Where it
/// does not work out, guests run, only with small pages.
fn map_aligned(len: usize) -> Result<MmapRegion, MmapRegionError> {
    if (len as u64) < HUGE_PAGE_SIZE {
        return map(len);
    }
    let mut fillers = Vec::new();
    for _ in 0..ALIGN_ATTEMPTS {
        let region = map(len)?;
        let excess = region.as_ptr() as usize % HUGE_PAGE_SIZE as usize;
        if excess == 0 {
            return Ok(region);
        }
        drop(region);
        fillers.push(map(excess)?);
    }
    debug!(
        len,
        "guest memory is not aligned to 2 MiB; huge pages will not help"
    );
    map(len)
}

/// Private anonymous memory. It is accounted (no `MAP_NORESERVE`), so that a guest larger than the
/// host is refused here and not killed later.
fn map(len: usize) -> Result<MmapRegion, MmapRegionError> {
    MmapRegion::build(
        None,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    )
}

/// Asks for huge pages, and keeps the guest's secrets out of our core dumps. Hosts without either
/// go on without.
fn advise(mapping: &MmapRegion) {
    let start = NonNull::new(mapping.as_ptr().cast::<c_void>()).expect("mmap never returns null");
    for advice in [MmapAdvise::MADV_HUGEPAGE, MmapAdvise::MADV_DONTDUMP] {
        // SAFETY: the range is exactly one mapping that we own, and neither advice changes what
        // its memory contains or who may access it.
        if let Err(errno) = unsafe { madvise(start, mapping.size(), advice) } {
            debug!(?advice, error = %io::Error::from(errno), "the host ignores memory advice");
        }
    }
}

#[cfg(test)]
mod tests;
