//! What the lab's root file system holds.
//!
//! ```text
//! /init                    lab-init
//! /bin/busybox, /bin/*     BusyBox and its applets
//! /lib/modules/GROUP/*.ko  modules, numbered in the order in which init loads them
//! /etc                     users: root, and `user` who belongs to group kvm
//! /lab                     what the run brought along
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use muster_guest_images::cpio::Archive;
use muster_guest_images::{Busybox, Cache, Kernel};

use super::{LabError, LabFile};

/// What the lab loads, in groups that init loads at the same time: the lab's own devices with what
/// tests need, and KVM, which alone takes as long as all the others. What a module needs itself comes
/// along.
const MODULES: [(&str, &[&str]); 2] = [
    (
        "devices",
        &[
            "virtio_pci",
            "virtio_console",
            "virtio_blk",
            "tun",
            "bridge",
            "veth",
            "loop",
            "fuse",
            "overlay",
            "vhost_net",
        ],
    ),
    ("kvm", &["kvm-amd"]),
];

/// The lab's user ids; `lab-init` drops to the second for commands that run as an ordinary user.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nkvm:x:104:user\n";
const HOSTS: &str = "127.0.0.1 localhost lab\n::1 localhost\n";

/// An initramfs and the kernel that it belongs to.
#[derive(Debug)]
pub struct Content {
    pub kernel: PathBuf,
    pub archive: Archive,
}

/// Collects the content. Nothing is read before it is written.
pub fn content(cache: &Cache, files: &[LabFile]) -> Result<Content, LabError> {
    let kernel = Kernel::debian_cloud(cache)?;
    let busybox = Busybox::debian(cache)?;
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "run", "root", "var", "mnt"] {
        archive.directory(dir, 0o755)?;
    }
    archive.directory("tmp", 0o1777)?;
    archive.directory("home/user", 0o777)?;
    archive.host_file("init", 0o755, static_program(&lab_init()?)?)?;
    for applet in &busybox.applets {
        archive.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    // After the applets, as it lists itself among them.
    archive.host_file("bin/busybox", 0o755, busybox.path)?;
    for (group, names) in MODULES {
        for (index, module) in kernel.module_closure(names)?.into_iter().enumerate() {
            let name = module
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            archive.host_file(
                &format!("lib/modules/{group}/{index:03}-{name}"),
                0o644,
                module,
            )?;
        }
    }
    for (path, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
    ] {
        archive.bytes(path, 0o644, text)?;
    }
    for file in files {
        let mode = fs::metadata(&file.host).map_or(0o644, |metadata| metadata.permissions().mode());
        archive.host_file(&file.lab, mode & 0o7777, &file.host)?;
    }
    Ok(Content {
        kernel: kernel.vmlinuz,
        archive,
    })
}

/// The init that was built beside the program that is running.
fn lab_init() -> Result<PathBuf, LabError> {
    crate::built_program("lab-init").map_err(|path| LabError::NoInit { path })
}

/// Refuses a program that asks for a dynamic loader: the lab would only say "not found".
fn static_program(path: &Path) -> Result<&Path, LabError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    let is_dynamic = read.is_ok() && head.windows(6).any(|bytes| bytes == b"/lib64");
    if is_dynamic {
        Err(LabError::Dynamic {
            path: path.to_owned(),
        })
    } else {
        Ok(path)
    }
}
