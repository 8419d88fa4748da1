//! The board: memory that a VM process shares with the host's node manager.
//!
//! Problem: who schedules vCPUs across processes must learn within microseconds that one has stopped,
//! and must be able to let another go, without calls to and fro.
//!
//! Approach: a sealed memfd, made by the VM process and handed over when it registers. It has three
//! parts: a [`BoardHeader`]; a [`VcpuCell`] per vCPU with its *gate*; and the
//! [guest page](muster_guest_page), which the guest sees too. Everything is an atomic number that one
//! side writes and the other reads. Each side takes what it finds for a claim of a stranger: it can
//! mislead, never break, the reader.
//!
//! Terms: a vCPU passes its *gate* each time before it enters the guest. A gate is *closed* by an odd
//! [`want`](VcpuCell::want), but only within the *lease*: until a point in time that the node manager
//! moves on as long as it lives. A node manager that dies, hangs or is stopped so opens every gate
//! by doing nothing.
#![expect(unsafe_code, reason = "structures of atomics in shared memory")]

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use muster_guest_page as guest_page;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;
use vm_memory::{FileOffset, MmapRegion};

mod lock_source;

pub use lock_source::{LockSource, Unseen};

/// The most vCPUs that a board has room for.
pub const VCPUS_MAX: u32 = guest_page::VCPUS_MAX as u32;
/// The longest time for which a gate stays closed without a sign of life from the node manager.
pub const LEASE_NS_MAX: u64 = 200_000_000;

/// "MUSTERBD", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"MUSTERBD");
/// The version of this layout. Both sides are of one release, or part again.
const VERSION: u32 = 2;

const CELLS_OFFSET: usize = 4096;
/// Where the guest page begins: on a page of its own.
const GUEST_PAGE_OFFSET: usize = CELLS_OFFSET + VCPUS_MAX as usize * size_of::<VcpuCell>();
const LEN: usize = GUEST_PAGE_OFFSET + guest_page::LEN;

const _: () = assert!(GUEST_PAGE_OFFSET.is_multiple_of(4096) && size_of::<VcpuCell>() == 128);
const _: () = assert!(offset_of!(VcpuCell, ack) == 64);

/// What concerns the whole VM.
#[derive(Debug)]
#[repr(C)]
pub struct BoardHeader {
    magic: AtomicU64,
    version: AtomicU32,
    vcpus: AtomicU32,
    /// Until when closed gates hold: CLOCK_MONOTONIC, nanoseconds. The node manager writes it.
    pub lease_until_ns: AtomicU64,
    /// How it is known what the vCPUs hold: a [`LockSource`]. The VM process writes it.
    lock_source: AtomicU32,
}

/// What concerns one vCPU.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct VcpuCell {
    // The node manager writes these.
    /// The gate: even is open, odd is closed; a different number is a new wish. A futex: the vCPU
    /// waits here.
    pub want: AtomicU32,
    /// How long the vCPU may go on after a wish to close while it holds a lock, in nanoseconds.
    /// Written before the wish.
    pub grace_ns: AtomicU32,
    /// When the gate was last opened, by CLOCK_MONOTONIC. Written before the wish.
    pub opened_ns: AtomicU64,
    pad: [AtomicU32; 12],

    // The VM process writes these.
    /// The last [`want`](Self::want) that the vCPU has obeyed. A futex: the node manager waits here.
    pub ack: AtomicU32,
    /// The vCPU's thread; 0 before it runs.
    pub tid: AtomicU32,
    /// What it does: a [`Place`].
    pub place: AtomicU32,
    /// What it was about when it last stopped at its gate: a [`LockSeen`].
    pub lock: AtomicU32,
    /// How much of the grace it used, the last time. Written before the ack.
    pub grace_used_ns: AtomicU32,
    pad2: [AtomicU32; 3],
    /// How long it has waited at closed gates, up to the last time that one was opened.
    pub parked_ns: AtomicU64,
    /// Since when it waits there now, by CLOCK_MONOTONIC; 0 if it does not.
    pub parked_since_ns: AtomicU64,
    pad3: [AtomicU64; 2],
}

impl VcpuCell {
    /// How long the vCPU has waited at its gate up to now, as it says.
    pub fn parked_until(&self, now_ns: u64) -> u64 {
        let past = self.parked_ns.load(Ordering::Acquire);
        match self.parked_since_ns.load(Ordering::Acquire) {
            0 => past,
            since => past.saturating_add(now_ns.saturating_sub(since)),
        }
    }
}

/// Where a vCPU's thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// Not started.
    Nowhere = 0,
    /// In KVM_RUN, or on its way there.
    Guest = 1,
    /// At its gate.
    Parked = 2,
    /// It has ended.
    Ended = 3,
}

/// What a vCPU was about when it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LockSeen {
    /// Nothing, or nothing is known.
    Free = 0,
    /// It holds a spin lock.
    Holding = 1,
    /// It spins for one.
    Waiting = 2,
}

impl LockSeen {
    /// What a cell says. A number without meaning is [`Free`](Self::Free).
    pub fn of(cell: &VcpuCell) -> Self {
        match cell.lock.load(Ordering::Acquire) {
            1 => Self::Holding,
            2 => Self::Waiting,
            _ => Self::Free,
        }
    }
}

/// Whether this wish is for a closed gate.
pub fn is_closed(want: u32) -> bool {
    want & 1 == 1
}

/// A board cannot be made or used.
#[derive(Debug, Error)]
pub enum BoardError {
    /// The host has no memory or descriptor left.
    #[error("cannot make the memory that is shared with the node manager")]
    Create(#[source] io::Error),
    /// What was handed over cannot be mapped.
    #[error("cannot map a VM's board")]
    Map(#[source] io::Error),
    /// Its owner could make it shorter while it is read.
    #[error("a VM's board is not sealed against shrinking")]
    NotSealed,
    /// It is something else.
    #[error("a VM's board has {0} bytes; {LEN} are expected: are both of one version of muster?")]
    Length(u64),
    /// It is something else.
    #[error("a VM's board is of another version of muster")]
    Version,
    /// An impossible number.
    #[error("a VM's board is for {0} vCPUs; 1 to {VCPUS_MAX} are possible")]
    Vcpus(u32),
}

/// See the module's head. Unmapped when dropped.
#[derive(Debug)]
pub struct Board {
    region: MmapRegion<()>,
    file: File,
    vcpus: u32,
}

impl Board {
    /// A new board, all gates open. The VM process's side.
    pub fn create(vcpus: u32) -> Result<Self, BoardError> {
        if !(1..=VCPUS_MAX).contains(&vcpus) {
            return Err(BoardError::Vcpus(vcpus));
        }
        let create = |error: nix::Error| BoardError::Create(error.into());
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"muster-board", flags).map_err(create)?);
        file.set_len(LEN as u64).map_err(BoardError::Create)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(create)?;
        let board = Self::map(file, vcpus)?;
        let header = board.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.vcpus.store(vcpus, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        let page = board.guest_header();
        page.version.store(guest_page::VERSION, Ordering::Relaxed);
        page.vcpus.store(vcpus, Ordering::Relaxed);
        page.magic.store(guest_page::MAGIC, Ordering::Release);
        Ok(board)
    }

    /// The board behind a descriptor that a VM process has sent. The node manager's side.
    pub fn open(file: File) -> Result<Self, BoardError> {
        // Only memory can be sealed.
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|_| BoardError::NotSealed)?;
        if !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(BoardError::NotSealed);
        }
        let len = file.metadata().map_err(BoardError::Map)?.len();
        if len != LEN as u64 {
            return Err(BoardError::Length(len));
        }
        let mut board = Self::map(file, 0)?;
        let header = board.header();
        let magic = header.magic.load(Ordering::Acquire);
        if magic != MAGIC || header.version.load(Ordering::Relaxed) != VERSION {
            return Err(BoardError::Version);
        }
        // Read once: its writer could change it.
        let vcpus = header.vcpus.load(Ordering::Relaxed);
        if !(1..=VCPUS_MAX).contains(&vcpus) {
            return Err(BoardError::Vcpus(vcpus));
        }
        board.vcpus = vcpus;
        Ok(board)
    }

    fn map(file: File, vcpus: u32) -> Result<Self, BoardError> {
        let copy = file.try_clone().map_err(BoardError::Map)?;
        let region = MmapRegion::from_file(FileOffset::new(copy, 0), LEN)
            .map_err(|error| BoardError::Map(io::Error::other(error)))?;
        Ok(Self {
            region,
            file,
            vcpus,
        })
    }

    /// How many vCPUs the VM has.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// What concerns the whole VM.
    pub fn header(&self) -> &BoardHeader {
        self.at(0)
    }

    /// What concerns vCPU number `index`.
    ///
    /// # Panics
    /// If there is none; so does [`record`](Self::record).
    pub fn cell(&self, index: u32) -> &VcpuCell {
        assert!(index < self.vcpus, "vCPU {index} of {}", self.vcpus);
        self.at(CELLS_OFFSET + index as usize * size_of::<VcpuCell>())
    }

    /// What is told to the guest.
    pub fn guest_header(&self) -> &guest_page::Header {
        self.at(GUEST_PAGE_OFFSET)
    }

    /// What vCPU number `index` of the guest says of itself.
    pub fn record(&self, index: u32) -> &guest_page::VcpuRecord {
        assert!(index < self.vcpus, "vCPU {index} of {}", self.vcpus);
        let offset = guest_page::record_offset(index).expect("a board has no more than the page");
        self.at(GUEST_PAGE_OFFSET + offset)
    }

    /// What a vCPU seems to be about by what its guest says.
    pub fn lock_told(&self, index: u32) -> LockSeen {
        let record = self.record(index);
        if record.lock_depth.load(Ordering::Acquire) > 0 {
            LockSeen::Holding
        } else if record.waiting.load(Ordering::Relaxed) > 0 {
            LockSeen::Waiting
        } else {
            LockSeen::Free
        }
    }

    /// How it is known what the vCPUs hold. A number without meaning says that they tell it themselves.
    pub fn lock_source(&self) -> LockSource {
        LockSource::of_number(self.header().lock_source.load(Ordering::Acquire))
    }

    /// Says how it is known what the vCPUs hold.
    pub(crate) fn set_lock_source(&self, source: LockSource) {
        let number = source.number();
        self.header().lock_source.store(number, Ordering::Release);
    }

    /// Until when the lease that is written there holds at most: what is further away than any node
    /// manager promises is not believed.
    pub fn lease_left_ns(&self, now_ns: u64) -> u64 {
        let until = self.header().lease_until_ns.load(Ordering::Acquire);
        until.saturating_sub(now_ns).min(LEASE_NS_MAX)
    }

    /// Gives closed gates `length_ns` more from `now_ns` on.
    pub fn renew_lease(&self, now_ns: u64, length_ns: u64) {
        let until = now_ns.saturating_add(length_ns);
        self.header().lease_until_ns.store(until, Ordering::Release);
    }

    /// Where the guest page is in this process.
    pub(crate) fn guest_page_address(&self) -> *mut u8 {
        self.region.as_ptr().wrapping_add(GUEST_PAGE_OFFSET)
    }

    fn at<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= LEN && offset.is_multiple_of(align_of::<T>()));
        // SAFETY: within the mapping, which lives as long as `self`, starts at a page and cannot
        // shrink (it is sealed); `T` is one of this module's structures of atomics, for which any
        // content is valid and which may change at any time.
        unsafe { &*self.region.as_ptr().add(offset).cast::<T>() }
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Board {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of leases.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("this clock is always there");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

#[cfg(test)]
mod tests;
