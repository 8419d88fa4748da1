//! Looks for a kernel's description of its types in guest memory.

use muster_devices::memory::GuestRam;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::btf::Header;
use super::per_cpu::PerCpu;
use crate::board::Unseen;

/// How far behind its code a kernel's types are looked for. Kernels are a third as long, with all
/// their data.
const REACH: u64 = 96 << 20;
/// The longest description that is read: four times what kernels have.
const TYPES_LEN_MAX: u64 = 32 << 20;
/// How many times something that looks like one is read.
const TRIES: u32 = 4;
/// Kernels have it behind their notes, which have this alignment.
const ALIGN: usize = 4;
/// How much is looked through at a time.
const CHUNK: usize = 256 << 10;

/// Where the kernel that has code at `code` keeps its preempt count. Any memory is permitted; it may
/// change meanwhile.
pub fn find_per_cpu(ram: &GuestRam, code: GuestAddress) -> Result<PerCpu, Unseen> {
    let Some(end) = end_of_region(ram, code) else {
        return Err(Unseen::NoTypes);
    };
    let end = end.min(code.raw_value().saturating_add(REACH));
    let mut at = code.raw_value() & !(ALIGN as u64 - 1);
    let mut outcome = Err(Unseen::NoTypes);
    for _ in 0..TRIES {
        let Some((found, header)) = next_header(ram, at, end) else {
            break;
        };
        if let Some(bytes) = copy(ram, found, header.total_len(), end) {
            outcome = PerCpu::find(&bytes);
            if outcome != Err(Unseen::NoVariable) {
                break;
            }
        }
        at = found + ALIGN as u64;
    }
    outcome
}

/// Where the memory that `address` belongs to ends.
fn end_of_region(ram: &GuestRam, address: GuestAddress) -> Option<u64> {
    let region = ram.find_region(address)?;
    Some(region.start_addr().raw_value() + region.len())
}

/// The first thing from `at` on that looks like a header of BTF.
fn next_header(ram: &GuestRam, mut at: u64, end: u64) -> Option<(u64, Header)> {
    let mut chunk = vec![0; CHUNK];
    while end.saturating_sub(at) >= Header::LEN as u64 {
        let len = (end - at).min(CHUNK as u64) as usize;
        let chunk = &mut chunk[..len];
        ram.read_slice(chunk, GuestAddress(at)).ok()?;
        let headers = chunk.windows(Header::LEN).step_by(ALIGN).enumerate();
        let mut found = headers.filter_map(|(number, bytes)| {
            let at = at + (number * ALIGN) as u64;
            Header::read(bytes).map(|header| (at, header))
        });
        if let Some(found) = found.next() {
            return Some(found);
        }
        // A header may begin at the end of one chunk and end in the next.
        let step = (len - Header::LEN) / ALIGN + 1;
        at += (step * ALIGN) as u64;
    }
    None
}

/// A copy of guest memory, which nobody changes any more.
fn copy(ram: &GuestRam, at: u64, len: u64, end: u64) -> Option<Vec<u8>> {
    if len > TYPES_LEN_MAX.min(end.saturating_sub(at)) {
        return None;
    }
    let mut bytes = vec![0; len as usize];
    ram.read_slice(&mut bytes, GuestAddress(at)).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
