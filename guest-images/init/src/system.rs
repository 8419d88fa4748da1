//! Going over from the initramfs to a whole system on a disk.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{chdir, chroot};

use crate::{mounts, say};

/// Where the disk is mounted on the way.
const NEW_ROOT: &str = "/newroot";

/// The system's own first process.
const INIT: &str = "/sbin/init";

/// How long the disk may take to appear.
const DISK_WAIT: Duration = Duration::from_secs(5);
const DISK_POLL: Duration = Duration::from_millis(10);

/// The file system of an initramfs, which is either of these.
const RAMFS: FsType = FsType(0x8584_58f6);
const TMPFS: FsType = FsType(0x0102_1994);

/// Mounts the ext4 file system on `device` and becomes its first process. Comes back if that fails.
pub fn enter(device: &Path) {
    let start = Instant::now();
    while !device.exists() && start.elapsed() < DISK_WAIT {
        thread::sleep(DISK_POLL);
    }
    let shown = device.display();
    let mounted = fs::create_dir_all(NEW_ROOT)
        .map_err(|error| error.to_string())
        .and_then(|()| {
            mount(
                Some(device),
                NEW_ROOT,
                Some("ext4"),
                MsFlags::empty(),
                None::<&str>,
            )
            .map_err(|error| error.to_string())
        });
    if let Err(error) = mounted {
        return say(&format!("cannot mount {shown}: {error}"));
    }
    // It may be a link that only means something inside.
    if fs::symlink_metadata(Path::new(NEW_ROOT).join(&INIT[1..])).is_err() {
        return say(&format!("there is no system on {shown}: it has no {INIT}"));
    }
    let Err(error) = switch();
    say(&format!("cannot go over to {shown}: {error}"));
}

/// The point of no return: makes the mounted system the root and starts it.
fn switch() -> io::Result<Infallible> {
    mounts::move_to(Path::new(NEW_ROOT));
    chdir(NEW_ROOT)?;
    free_initramfs();
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Err(Command::new(INIT).exec())
}

/// Gives the initramfs' memory back: nobody could reach its files any more.
fn free_initramfs() {
    let in_memory = statfs("/").is_ok_and(|fs| matches!(fs.filesystem_type(), RAMFS | TMPFS));
    if let Ok(root) = fs::metadata("/")
        && in_memory
    {
        remove_on(root.dev(), Path::new("/"));
    }
}

/// Empties a directory, without leaving its file system.
fn remove_on(device: u64, dir: &Path) {
    for item in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = item.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.dev() != device => {}
            Ok(metadata) if metadata.is_dir() => {
                remove_on(device, &path);
                let _ = fs::remove_dir(&path);
            }
            _ => {
                let _ = fs::remove_file(&path);
            }
        }
    }
}
