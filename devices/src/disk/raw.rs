//! Raw disks: a regular file, or a block device, whose bytes are the disk's.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use thiserror::Error;
use vm_memory::VolatileSlice;

use super::lock::{self, Holder, LockError};
use super::{Disk, DiskError, SECTOR_SIZE, check_range, total_len};

mod serial;
mod transfer;

/// What the host can give back of a file. Discards are cut to whole units of it.
const DISCARD_UNIT: u64 = 4096;

/// Where the host has no way of its own to zero a range.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// How a raw disk is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawDiskSpec {
    /// Writes are refused, and others may read the disk at the same time.
    pub read_only: bool,
    /// What names the disk to the guest: 1 to 20 printable ASCII characters. By default it is made
    /// from the file's name.
    pub serial: Option<String>,
}

/// A disk could not be opened.
#[derive(Debug, Error)]
pub enum OpenDiskError {
    /// There is no such file.
    #[error("disk {path}: no such file; `truncate -s 10G {path}` makes an empty one")]
    NotFound {
        /// The disk.
        path: PathBuf,
    },
    /// Not something that stores bytes.
    #[error("disk {path} is {found}; it has to be a regular file or a block device")]
    NotADisk {
        /// The disk.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// No permission to write, but to read.
    #[error("disk {path} can only be read; give `{path},ro` to use it read-only")]
    OnlyReadable {
        /// The disk.
        path: PathBuf,
    },
    /// No permission at all.
    #[error("disk {path}: permission denied; see `ls -l {path}`")]
    PermissionDenied {
        /// The disk.
        path: PathBuf,
    },
    /// There would be half a sector at its end.
    #[error(
        "disk {path}: its size of {len} bytes is no multiple of {SECTOR_SIZE}; \
         `truncate -s %{SECTOR_SIZE} {path}` rounds it up"
    )]
    PartialSector {
        /// The disk.
        path: PathBuf,
        /// Its size.
        len: u64,
    },
    /// Size 0.
    #[error("disk {path} is empty; `truncate -s 10G {path}` gives it a size")]
    Empty {
        /// The disk.
        path: PathBuf,
    },
    /// Someone else has it open, and one of both writes.
    #[error("disk {path} is in use by {holder}; a disk that is written to can have only one user")]
    InUse {
        /// The disk.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// A serial number that guests could not show.
    #[error("serial {serial:?} is not 1 to 20 printable ASCII characters without a space")]
    Serial {
        /// What was given.
        serial: String,
    },
    /// Whatever else the host says.
    #[error("cannot open disk {path}")]
    Io {
        /// The disk.
        path: PathBuf,
        /// The host's error.
        source: io::Error,
    },
}

/// A raw disk, locked against other users while it is open.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    len: u64,
    read_only: bool,
    serial: String,
}

impl RawDisk {
    /// Opens and locks the disk at `path`.
    pub fn open(path: &Path, spec: &RawDiskSpec) -> Result<Self, OpenDiskError> {
        let serial = match &spec.serial {
            Some(serial) => serial::check(serial)?,
            None => serial::from_path(path),
        };
        let in_path = |error| explain(path, spec.read_only, error);
        // Looked at before it is opened: that alone has effects with some character devices.
        check_type(path, fs::metadata(path).map_err(in_path)?.file_type())?;
        let mut file = open_file(path, spec.read_only).map_err(in_path)?;
        check_type(path, file.metadata().map_err(in_path)?.file_type())?;
        lock::lock(&file, !spec.read_only).map_err(|error| match error {
            LockError::Held(holder) => OpenDiskError::InUse {
                path: path.into(),
                holder,
            },
            LockError::Refused(source) => OpenDiskError::Io {
                path: path.into(),
                source,
            },
        })?;
        // Gives the size of block devices too.
        let len = file.seek(SeekFrom::End(0)).map_err(in_path)?;
        if len == 0 {
            return Err(OpenDiskError::Empty { path: path.into() });
        }
        if !len.is_multiple_of(SECTOR_SIZE) {
            return Err(OpenDiskError::PartialSector {
                path: path.into(),
                len,
            });
        }
        Ok(Self {
            file,
            len,
            read_only: spec.read_only,
            serial,
        })
    }

    /// Checks a change of `len` bytes at `offset` before it is tried.
    fn check_change(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        if self.read_only {
            return Err(DiskError::ReadOnly);
        }
        check_range(self.len, offset, len)
    }

    /// Writes zeroes the way any host can.
    fn write_out_zeroes(&self, mut offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        while offset < end {
            let piece = ZEROES
                .len()
                .min((end - offset).try_into().unwrap_or(usize::MAX));
            self.file.write_all_at(&ZEROES[..piece], offset)?;
            offset += piece as u64;
        }
        Ok(())
    }

    /// Has the host's file system or block device change a range. `false` if it does not know how.
    fn allocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<bool> {
        let mode = mode | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            return match fallocate(&self.file, mode, to_off(offset), to_off(len)) {
                Ok(()) => Ok(true),
                Err(Errno::EINTR) => continue,
                // EINVAL: not aligned to the block device's sectors.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl Disk for RawDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn read_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        check_range(self.len, offset, total_len(buffers))?;
        Ok(transfer::read_exact_at(&self.file, buffers, offset)?)
    }

    fn write_at(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        self.check_change(offset, total_len(buffers))?;
        Ok(transfer::write_all_at(&self.file, buffers, offset)?)
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(self.file.sync_data()?)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check_change(offset, len)?;
        // Only whole units come back; the rest may keep its content.
        let start = offset.next_multiple_of(DISCARD_UNIT);
        let end = (offset + len) / DISCARD_UNIT * DISCARD_UNIT;
        if start >= end
            || self.allocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE, start, end - start)?
        {
            Ok(())
        } else {
            Err(DiskError::Unsupported)
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), DiskError> {
        self.check_change(offset, len)?;
        if len == 0
            || may_unmap && self.allocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len)?
            || self.allocate(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, len)?
        {
            return Ok(());
        }
        Ok(self.write_out_zeroes(offset, len)?)
    }
}

/// An offset or length within a file: the host gives no file more than this can say.
fn to_off(value: u64) -> libc::off_t {
    value
        .try_into()
        .expect("checked against the size of the file")
}

/// Opens without waiting for anything, whatever `path` is by now.
fn open_file(path: &Path, read_only: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

fn check_type(path: &Path, kind: FileType) -> Result<(), OpenDiskError> {
    let found = match kind {
        kind if kind.is_file() || kind.is_block_device() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "something else",
    };
    Err(OpenDiskError::NotADisk {
        path: path.into(),
        found,
    })
}

/// Says what a failure to open means, and what helps.
fn explain(path: &Path, read_only: bool, source: io::Error) -> OpenDiskError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => OpenDiskError::NotFound { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            if !read_only && open_file(&path, true).is_ok() =>
        {
            OpenDiskError::OnlyReadable { path }
        }
        ErrorKind::PermissionDenied => OpenDiskError::PermissionDenied { path },
        _ => OpenDiskError::Io { path, source },
    }
}

#[cfg(test)]
mod tests;
