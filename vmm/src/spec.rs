//! What a user asks for: the configuration of one VM.

use std::path::PathBuf;

use crate::boot::Protocol;
use crate::node_link::NodeSpec;

/// One VM.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Number of vCPUs, 1 to 64.
    pub cpus: u32,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// The kernel: a bzImage, or a 64-bit ELF file.
    pub kernel: PathBuf,
    /// How an ELF kernel is entered.
    pub protocol: Protocol,
    /// An initrd or initramfs.
    pub initrd: Option<PathBuf>,
    /// The kernel's whole command line.
    pub cmdline: String,
    /// Block devices, in the order in which the guest sees them.
    pub disks: Vec<DiskSpec>,
    /// Where the guest's console goes.
    pub console: ConsoleSpec,
    /// What a reset by the guest does.
    pub on_reboot: OnReboot,
    /// Who schedules its vCPUs; the host's kernel alone if there is none.
    pub node: Option<NodeSpec>,
}

/// One block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// A raw image file or a block device.
    pub path: PathBuf,
    /// The guest may not write to it.
    pub read_only: bool,
    /// What the guest reads as the disk's serial number, at most 20 bytes.
    pub serial: Option<String>,
}

/// Where the guest's console goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleSpec {
    /// Standard input and output; in raw mode if they are a terminal.
    Tty,
    /// Nowhere.
    Null,
    /// Output is written to a file; there is no input.
    File(PathBuf),
}

/// What a reset by the guest does: `reboot`, or a triple fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReboot {
    /// The VM ends.
    Exit,
    /// The VM starts again from its kernel file.
    Restart,
}
