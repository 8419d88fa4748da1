//! The file systems that every Linux program expects, and their end.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::say;

/// What is mounted, where, with which options, in this order.
const MOUNTS: [(&str, &str, &str); 8] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", ""),
];

/// Names that programs expect in `/dev` and that no device has.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts the kernel's file systems.
pub fn set_up() {
    for (kind, target, options) in MOUNTS {
        // What cannot be made cannot be mounted on, which is what gets reported.
        let _ = fs::create_dir_all(target);
        let flags = match kind {
            "proc" | "sysfs" | "cgroup2" => {
                MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV
            }
            _ => MsFlags::MS_NOSUID,
        };
        match mount(Some(kind), target, Some(kind), flags, Some(options)) {
            // Already mounted, by a kernel that does so itself.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => say(&format!("cannot mount {kind} on {target}: {error}")),
        }
    }
    for (target, link) in LINKS {
        if let Err(error) = symlink(target, link) {
            say(&format!("cannot make {link}: {error}"));
        }
    }
}

/// Takes the kernel's file systems over into the system mounted on `root`.
pub fn move_to(root: &Path) {
    for target in ["/dev", "/proc", "/sys", "/run"] {
        let new = root.join(&target[1..]);
        let flags = MsFlags::MS_MOVE;
        let moved = mount(Some(target), &new, None::<&str>, flags, None::<&str>);
        if let Err(error) = moved {
            say(&format!(
                "cannot move {target} to {}: {error}",
                new.display()
            ));
        }
    }
}

/// Writes all data back and unmounts every disk, or makes it read-only where something still uses
/// it.
pub fn tear_down() {
    nix::unistd::sync();
    let Ok(table) = fs::read("/proc/self/mounts") else {
        return;
    };
    for target in disks(&table).iter().rev() {
        if umount2(target, MntFlags::empty()).is_ok() {
            continue;
        }
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if let Err(error) = mount(None::<&str>, target, None::<&str>, flags, None::<&str>) {
            say(&format!("cannot unmount {}: {error}", target.display()));
        }
    }
}

/// Where the mount table has file systems on block devices, in the order in which they were mounted.
fn disks(table: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in table.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        if let (Some(source), Some(target)) = (fields.next(), fields.next())
            && source.starts_with(b"/dev/")
        {
            found.push(unescape(target));
        }
    }
    found
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |byte: &u8| (b'0'..=b'7').contains(byte);
        match tail {
            [a @ b'0'..=b'3', b, c, tail @ ..] if *first == b'\\' && octal(b) && octal(c) => {
                path.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests;
