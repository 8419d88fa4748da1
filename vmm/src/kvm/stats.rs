//! What KVM counts for a vCPU, read without disturbing it.
//!
//! Source: KVM's API documentation, "4.134 KVM_GET_STATS_FD": a header, a table of descriptors, and
//! the numbers. The descriptor may be given to another process, which need not trust it: it is read
//! within bounds, and only if the kernel says that it is KVM's.
#![expect(unsafe_code, reason = "an ioctl that kvm-ioctls does not offer")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use kvm_ioctls::VcpuFd;
use thiserror::Error;

/// _IO(KVMIO, 0xce).
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// How the kernel names such a descriptor.
const LINK_PREFIX: &str = "anon_inode:kvm-vcpu-stats";
/// What is plausible: kernels have about 50 numbers of a vCPU, some of them tables of 32.
const DESCRIPTORS_MAX: u32 = 1024;
const NAME_LEN_MAX: u32 = 256;
const DATA_LEN_MAX: usize = 64 << 10;

/// A vCPU's numbers are not there.
#[derive(Debug, Error)]
pub enum StatsError {
    /// Too old a kernel, or another failure.
    #[error("this host's KVM gives no statistics of vCPUs (it takes Linux 5.14)")]
    Unavailable(#[source] io::Error),
    /// Somebody sent something else.
    #[error("a descriptor that should be a vCPU's statistics is something else")]
    Stranger,
    /// It cannot be understood.
    #[error("KVM's statistics have no number called {0:?}")]
    Lacks(&'static str),
    /// It cannot be understood.
    #[error("KVM's statistics are laid out in an unknown way")]
    Layout,
}

/// Asks for the descriptor of a vCPU's statistics.
pub fn descriptor(vcpu: &VcpuFd) -> Result<OwnedFd, StatsError> {
    // SAFETY: `vcpu` is open; this ioctl takes no argument and makes a new descriptor.
    let fd = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD) };
    if fd < 0 {
        return Err(StatsError::Unavailable(io::Error::last_os_error()));
    }
    // SAFETY: it is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Some of a vCPU's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VcpuStats {
    /// It waits for an interrupt.
    pub blocking: bool,
    /// How often it has halted, and how often it was woken or interrupted while it waited: whoever
    /// finds these the same twice and `blocking` set knows that it has waited all the time.
    pub halts: u64,
    /// How often it has left the guest.
    pub exits: u64,
    /// How long it has waited for interrupts, in nanoseconds, up to when it was last woken.
    pub halted_ns: u64,
}

/// Reads a vCPU's numbers.
#[derive(Debug)]
pub struct StatsReader {
    file: File,
    data_offset: u64,
    data: Vec<u8>,
    blocking: usize,
    halts: [usize; 3],
    exits: usize,
    halted_ns: usize,
}

impl StatsReader {
    /// Understands what is behind `fd`.
    pub fn new(fd: OwnedFd) -> Result<Self, StatsError> {
        let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let is_kvms = link.is_ok_and(|link| link.to_string_lossy().starts_with(LINK_PREFIX));
        if !is_kvms {
            return Err(StatsError::Stranger);
        }
        let file = File::from(fd);
        let mut header = [0; 24];
        read(&file, &mut header, 0)?;
        let table = Table::read(&file, &header)?;
        let at = |name| table.find(name).ok_or(StatsError::Lacks(name));
        Ok(Self {
            blocking: at("blocking")?,
            halts: [at("halt_exits")?, at("halt_wakeup")?, at("signal_exits")?],
            exits: at("exits")?,
            halted_ns: at("halt_wait_ns")?,
            data_offset: word(&header, 20).into(),
            data: vec![0; table.data_len],
            file,
        })
    }

    /// The numbers as they are now.
    pub fn read(&mut self) -> Result<VcpuStats, StatsError> {
        read(&self.file, &mut self.data, self.data_offset)?;
        let number = |at: usize| {
            let bytes = self.data[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        Ok(VcpuStats {
            blocking: number(self.blocking) != 0,
            halts: self
                .halts
                .iter()
                .map(|&at| number(at))
                .fold(0, u64::wrapping_add),
            exits: number(self.exits),
            halted_ns: number(self.halted_ns),
        })
    }
}

/// The descriptors: where each number is.
struct Table {
    bytes: Vec<u8>,
    entry_len: usize,
    data_len: usize,
}

impl Table {
    fn read(file: &File, header: &[u8; 24]) -> Result<Self, StatsError> {
        let (name_len, count, offset) = (word(header, 4), word(header, 8), word(header, 16));
        if name_len == 0 || name_len > NAME_LEN_MAX || count > DESCRIPTORS_MAX {
            return Err(StatsError::Layout);
        }
        let entry_len = 16 + name_len as usize;
        let mut bytes = vec![0; entry_len * count as usize];
        read(file, &mut bytes, offset.into())?;
        let mut table = Self {
            bytes,
            entry_len,
            data_len: 0,
        };
        let ends = table.entries().map(|entry| {
            // A descriptor: flags, exponent, how many numbers, where in the data.
            let numbers = u16::from_le_bytes([entry[6], entry[7]]);
            word(entry, 8) as usize + usize::from(numbers.max(1)) * 8
        });
        table.data_len = ends.max().unwrap_or_default();
        if table.data_len > DATA_LEN_MAX {
            return Err(StatsError::Layout);
        }
        Ok(table)
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.entry_len)
    }

    /// Where a number is in the data.
    fn find(&self, name: &str) -> Option<usize> {
        let entry = self.entries().find(|entry| {
            let text = entry[16..].split(|&byte| byte == 0).next();
            text == Some(name.as_bytes())
        })?;
        Some(word(entry, 8) as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), StatsError> {
    file.read_exact_at(bytes, offset)
        .map_err(StatsError::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_somebody_elses_is_not_read() {
        let file = File::open("/dev/zero").unwrap();
        let stranger = StatsReader::new(file.into()).unwrap_err();
        assert!(matches!(stranger, StatsError::Stranger));
    }

    #[test]
    fn a_vcpu_that_has_not_run_has_halted_never() {
        let Ok(kvm) = crate::kvm::open() else {
            eprintln!("SKIPPED, no KVM");
            return;
        };
        let vm = kvm.create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        let mut reader = StatsReader::new(descriptor(&vcpu).unwrap()).unwrap();
        assert_eq!(reader.read().unwrap(), VcpuStats::default());
    }
}
