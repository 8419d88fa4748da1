//! Locks against using a disk twice.
//!
//! Approach: open file description locks on the whole file, exclusive for who writes, shared for
//! who reads. They belong to the open file, so they end with it in every case, and the same process
//! opening a disk twice is refused too. QEMU locks single bytes with shared locks, so our writers
//! conflict with all of its users, but our readers do not notice its writers.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Who keeps a lock from being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    Ourselves,
    /// Another process.
    Process {
        /// Its process ID.
        pid: u32,
        /// Its name.
        command: String,
    },
    /// A process that this user may not look into, or one on another host.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => f.write_str("this VM already"),
            Self::Process { pid, command } => write!(f, "pid {pid} ({command})"),
            Self::Unknown => f.write_str("another process"),
        }
    }
}

/// A lock that was not given.
pub(super) enum LockError {
    /// Someone else has it.
    Held(Holder),
    /// The file system cannot lock.
    Refused(io::Error),
}

/// Locks all of `file` for as long as it is open, without waiting.
pub(super) fn lock(file: &File, exclusive: bool) -> Result<(), LockError> {
    let kind = if exclusive {
        libc::F_WRLCK
    } else {
        libc::F_RDLCK
    };
    let whole_file = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(LockError::Held(find_holder(file))),
        Err(error) => Err(LockError::Refused(error.into())),
    }
}

/// Looks for the process that has `file` open and locked. The kernel tells no holder of such a
/// lock, but lists all locks of an open file in `/proc/PID/fdinfo`.
fn find_holder(file: &File) -> Holder {
    let Ok(own) = file.metadata() else {
        return Holder::Unknown;
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if !has_locked(&process.path(), (own.dev(), own.ino())) {
            continue;
        }
        if pid == process::id() {
            return Holder::Ourselves;
        }
        let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        return Holder::Process {
            pid,
            command: command.trim_end().to_owned(),
        };
    }
    Holder::Unknown
}

/// Whether a process has locked the file of that device and inode number.
fn has_locked(process: &Path, file: (u64, u64)) -> bool {
    let descriptors = fs::read_dir(process.join("fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    descriptors.into_iter().any(|descriptor| {
        let locked = fs::read_to_string(descriptor.path()).is_ok_and(|info| {
            // Locks of flock(2) do not conflict with ours.
            info.lines()
                .any(|line| line.starts_with("lock:") && !line.contains("FLOCK"))
        });
        locked
            && fs::metadata(process.join("fd").join(descriptor.file_name()))
                .is_ok_and(|found| (found.dev(), found.ino()) == file)
    })
}

#[cfg(test)]
mod tests;
