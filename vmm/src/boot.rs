//! Booting: everything that happens to a guest's RAM and registers before its first instruction.
//!
//! Approach: no firmware. The kernel is put where its own start-up code would end up putting it, and
//! entered at its latest documented entry point with what firmware would have told it: a memory map,
//! the command line, where the initrd is, and ACPI tables for the rest.
//!
//! Terms: the *zero page* is Linux's `struct boot_params`; the *start info* is its counterpart in
//! the PVH protocol, which Xen invented and other hypervisors use as well.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use muster_devices::memory::GuestRam;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout::{CMDLINE, CMDLINE_CAPACITY};
use acpi::AcpiError;
use initrd::{InitrdError, LoadedInitrd};
use kernel::{KernelEntry, KernelError, LoadedKernel};

pub mod acpi;
pub mod cmdline;
mod image;
pub mod initrd;
pub mod kernel;
mod memory_map;
mod params;
mod pvh;
pub mod registers;
mod reset_vector;

/// How the kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The 64-bit Linux entry where the kernel has one, else PVH.
    #[default]
    Auto,
    /// The 64-bit entry of the Linux boot protocol.
    Linux64,
    /// The PVH entry point; ELF kernels only.
    Pvh,
}

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSpec {
    /// A bzImage or a 64-bit ELF file.
    pub kernel: PathBuf,
    /// The initial RAM disk, passed on as it is.
    pub initrd: Option<PathBuf>,
    /// The whole command line.
    pub cmdline: String,
    /// How to enter the kernel.
    pub protocol: Protocol,
}

/// Where the first vCPU begins, and in which state: see [`registers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// 64-bit mode, as the Linux boot protocol says.
    Linux64 {
        /// First instruction.
        rip: GuestAddress,
        /// Goes to RSI.
        zero_page: GuestAddress,
    },
    /// 32-bit protected mode without paging, as the PVH protocol says.
    Pvh {
        /// First instruction.
        rip: GuestAddress,
        /// Goes to RBX.
        start_info: GuestAddress,
    },
}

/// A guest that cannot be booted.
#[derive(Debug, Error)]
pub enum BootError {
    /// The kernel or initrd cannot be opened.
    #[error("cannot open the {what} {}", path.display())]
    Open {
        /// "kernel" or "initrd".
        what: &'static str,
        /// The user's path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel or initrd is a directory, a pipe or the like.
    #[error("the {what} {} is {found}, not a file", path.display())]
    NotAFile {
        /// "kernel" or "initrd".
        what: &'static str,
        /// The user's path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The kernel is not one that muster boots.
    #[error("cannot boot the kernel {}", path.display())]
    Kernel {
        /// The user's path.
        path: PathBuf,
        /// Why not.
        source: KernelError,
    },
    /// The initrd cannot be given to the guest.
    #[error("cannot load the initrd {}", path.display())]
    Initrd {
        /// The user's path.
        path: PathBuf,
        /// Why not.
        source: InitrdError,
    },
    /// The kernel would cut the command line off.
    #[error("the command line has {len} bytes, but this kernel takes only {max}")]
    CmdlineTooLong {
        /// Bytes given.
        len: usize,
        /// Bytes that the kernel takes.
        max: usize,
    },
    /// The kernel would take the command line to end there.
    #[error("the command line has a NUL byte at position {at}")]
    CmdlineNul {
        /// Which byte.
        at: usize,
    },
    /// The ACPI tables cannot describe the machine.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// The boot data lies outside of RAM: a mistake in the layout.
    #[error("cannot write boot data to the guest's memory")]
    Write(#[from] GuestMemoryError),
}

/// Puts the kernel, the initrd and all boot data into `ram`, which must be fresh. `rsdp` is what
/// [`acpi::write`] returned.
pub fn load(ram: &GuestRam, spec: &BootSpec, rsdp: GuestAddress) -> Result<Entry, BootError> {
    let mut file = open("kernel", &spec.kernel)?;
    let kernel =
        kernel::load_kernel(ram, &mut file, spec.protocol).map_err(|source| BootError::Kernel {
            path: spec.kernel.clone(),
            source,
        })?;
    let initrd = match &spec.initrd {
        Some(path) => {
            let mut file = open("initrd", path)?;
            let initrd = initrd::load_initrd(ram, &mut file, &kernel).map_err(|source| {
                BootError::Initrd {
                    path: path.clone(),
                    source,
                }
            })?;
            Some(initrd)
        }
        None => None,
    };
    reset_vector::write(ram)?;
    write_cmdline(ram, &spec.cmdline, &kernel)?;
    Ok(write_parameters(ram, &kernel, initrd, &spec.cmdline, rsdp)?)
}

/// Whether a file is a Linux kernel, as far as its headers tell. `false` for what is not a kernel.
pub fn is_linux(path: &Path) -> Result<bool, BootError> {
    let mut file = open("kernel", path)?;
    kernel::is_linux(&mut file).map_err(|source| BootError::Open {
        what: "kernel",
        path: path.to_owned(),
        source,
    })
}

/// Writes what the kernel's protocol wants to be told.
fn write_parameters(
    ram: &GuestRam,
    kernel: &LoadedKernel,
    initrd: Option<LoadedInitrd>,
    cmdline: &str,
    rsdp: GuestAddress,
) -> Result<Entry, GuestMemoryError> {
    match kernel.entry {
        KernelEntry::Linux64(rip) => {
            let zero_page = params::write(ram, kernel, initrd, cmdline.len(), rsdp)?;
            Ok(Entry::Linux64 { rip, zero_page })
        }
        KernelEntry::Pvh(rip) => {
            let start_info = pvh::write(ram, initrd, rsdp)?;
            Ok(Entry::Pvh { rip, start_info })
        }
    }
}

fn write_cmdline(ram: &GuestRam, cmdline: &str, kernel: &LoadedKernel) -> Result<(), BootError> {
    let len = cmdline.len();
    let max = u64::from(kernel.cmdline_len_max).min(CMDLINE_CAPACITY - 1) as usize;
    if len > max {
        return Err(BootError::CmdlineTooLong { len, max });
    }
    if let Some(at) = cmdline.bytes().position(|byte| byte == 0) {
        return Err(BootError::CmdlineNul { at });
    }
    let mut bytes = Vec::with_capacity(len + 1);
    bytes.extend_from_slice(cmdline.as_bytes());
    bytes.push(0);
    Ok(ram.write_slice(&bytes, CMDLINE)?)
}

/// Opens a regular file or block device. The check comes first: opening a pipe would wait for ever.
fn open(what: &'static str, path: &Path) -> Result<File, BootError> {
    use std::os::unix::fs::FileTypeExt;

    let open_error = |source| BootError::Open {
        what,
        path: path.to_owned(),
        source,
    };
    let kind = fs::metadata(path).map_err(open_error)?.file_type();
    let found = if kind.is_file() || kind.is_block_device() {
        return File::open(path).map_err(open_error);
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a character device"
    };
    Err(BootError::NotAFile {
        what,
        path: path.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests;
