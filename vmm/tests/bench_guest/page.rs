//! The guest page as the host sees it.

use std::fs::{self, File};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use muster_guest_page::{Header, MAGIC, VcpuRecord, record_offset};

use crate::WORK;

/// The guest page of a running machine of this process, which lies in its board, an unnamed file.
pub struct Page {
    board: File,
    start: u64,
}

impl Page {
    /// Waits for that of the machine with so many vCPUs.
    pub fn find(cpus: u32) -> Self {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
            if let Some(page) = descriptors
                .filter_map(|fd| Self::at(&fd.path()))
                .find(|page| page.u32(offset_of!(Header, vcpus)) == cpus)
            {
                return page;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no machine has a board");
    }

    fn at(descriptor: &Path) -> Option<Self> {
        let name = fs::read_link(descriptor).ok()?;
        if !name.to_string_lossy().starts_with("/memfd:") {
            return None;
        }
        let board = File::options()
            .read(true)
            .write(true)
            .open(descriptor)
            .ok()?;
        let len = board.metadata().ok()?.len();
        let is_start = |start: &u64| {
            let mut magic = [0; 8];
            board.read_exact_at(&mut magic, *start).is_ok() && u64::from_le_bytes(magic) == MAGIC
        };
        let start = (0..len).step_by(4096).find(is_start)?;
        Some(Self { board, start })
    }

    fn u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.board
            .read_exact_at(&mut bytes, self.start + offset as u64)
            .unwrap();
        u32::from_le_bytes(bytes)
    }

    fn work(&self, vcpu: u32) -> u64 {
        let mut bytes = [0; 8];
        let record = record_offset(vcpu).unwrap() + offset_of!(VcpuRecord, counters) + 8 * WORK;
        self.board
            .read_exact_at(&mut bytes, self.start + record as u64)
            .unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Tells the guest how many vCPUs it should use.
    pub fn advise(&self, cpus: u32) {
        let offset = offset_of!(Header, cpus_advised) as u64;
        self.board
            .write_all_at(&cpus.to_le_bytes(), self.start + offset)
            .unwrap();
    }

    /// Whether a vCPU does something within so long.
    pub fn works(&self, vcpu: u32, limit: Duration) -> bool {
        let (before, begin) = (self.work(vcpu), Instant::now());
        while begin.elapsed() < limit {
            if self.work(vcpu) != before {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }
}
