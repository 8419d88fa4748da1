//! Small root file systems in memory: BusyBox, an init and what the caller adds.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::busybox::Busybox;
use crate::cache::{Cache, Fingerprint};
use crate::cpio::{Archive, CpioError};
use crate::error::ImageError;
use crate::kernel::Kernel;

/// Drivers that every guest of muster can use: its devices, its disks' file system, its power
/// button.
pub const GUEST_MODULES: [&str; 8] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "virtio_net",
    "ext4",
    "button",
    "evdev",
];

/// Which modules `muster-init` loads; see `modules.rs` there.
const MODULE_LIST: &str = "etc/muster/modules";

/// Other directories of programs, all of them `/bin`, where scripts look.
const BIN_LINKS: [(&str, &str); 3] = [
    ("sbin", "bin"),
    ("usr/bin", "../bin"),
    ("usr/sbin", "../bin"),
];

const PASSWD: &str = "root::0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost muster\n::1 localhost\n";
/// Read by the shell on the console.
const PROFILE: &str = "PS1='\\h:\\w\\$ '\nexport PS1\n";

/// An initramfs to be made.
#[derive(Debug, Clone)]
pub struct Initramfs {
    archive: Archive,
    /// The lines of the module list, in load order.
    modules: Vec<String>,
}

impl Initramfs {
    /// BusyBox with all its applets, and `init`, a static binary of `muster-init`, as `/init`.
    ///
    /// All programs are in `/bin`; `/sbin`, `/usr/bin` and `/usr/sbin` are links to it.
    pub fn new(busybox: &Busybox, init: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let mut archive = base(busybox)?;
        archive.host_file("init", 0o755, init)?;
        // Some versions list themselves; that link would replace the binary.
        for applet in busybox.applets.iter().filter(|applet| *applet != "busybox") {
            archive.symlink(&format!("bin/{applet}"), "busybox")?;
        }
        for (link, target) in BIN_LINKS {
            archive.symlink(link, target)?;
        }
        for dir in ["mnt", "proc", "root", "run", "sys", "var"] {
            archive.directory(dir, 0o755)?;
        }
        archive.directory("tmp", 0o1777)?;
        for (path, content) in [
            ("etc/passwd", PASSWD),
            ("etc/group", GROUP),
            ("etc/hosts", HOSTS),
            ("etc/hostname", "muster\n"),
            ("etc/profile", PROFILE),
        ] {
            archive.bytes(path, 0o644, content)?;
        }
        Ok(Self {
            archive,
            modules: Vec::new(),
        })
    }

    /// BusyBox and a shell script as `/init`, nothing else: no `muster-init`, no modules. The script
    /// says `busybox APPLET` for all but the shell's own commands.
    pub fn minimal(busybox: &Busybox, script: &str) -> Result<Self, ImageError> {
        let mut archive = base(busybox)?;
        archive.symlink("bin/sh", "busybox")?;
        archive.bytes("init", 0o755, format!("#!/bin/sh\n{script}"))?;
        Ok(Self {
            archive,
            modules: Vec::new(),
        })
    }

    /// Adds kernel modules and all that they need; `muster-init` loads them.
    pub fn add_modules(&mut self, kernel: &Kernel, names: &[&str]) -> Result<(), ImageError> {
        for file in kernel.module_closure(names)? {
            let within = file.strip_prefix(&kernel.modules_dir).unwrap_or(&file);
            let path = format!("/lib/modules/{}/{}", kernel.version, within.display());
            if !self.modules.contains(&path) {
                self.archive.host_file(&path, 0o644, file)?;
                self.modules.push(path);
            }
        }
        let list: String = self
            .modules
            .iter()
            .map(|path| format!("{path}\n"))
            .collect();
        self.archive.bytes(MODULE_LIST, 0o644, list)?;
        Ok(())
    }

    /// What is in it, to add files to.
    pub fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// The finished file, uncompressed. `name` keeps the caller's initramfs apart from others in the
    /// cache: `initramfs-NAME`.
    pub fn build(&self, cache: &Cache, name: &str) -> Result<PathBuf, ImageError> {
        let recipe = format!("initramfs-{name}");
        let fingerprint = self.archive.fingerprint(Fingerprint::new(&recipe, 1))?;
        let dir = cache.entry(fingerprint, |dir| {
            cache.step(&format!("writing the {name} initramfs"));
            let path = dir.join(FILE);
            let file = File::create(&path).map_err(CpioError::Write)?;
            let mut out = BufWriter::new(file);
            self.archive.write_to(&mut out)?;
            out.flush().map_err(CpioError::Write)?;
            Ok::<_, ImageError>(())
        })?;
        Ok(dir.join(FILE))
    }
}

/// The file's name in its entry.
const FILE: &str = "initramfs.cpio";

/// What both kinds have: BusyBox, and the device that the kernel gives to its first process.
fn base(busybox: &Busybox) -> Result<Archive, CpioError> {
    let mut archive = Archive::new();
    archive.character_device("dev/console", 0o600, 5, 1)?;
    archive.host_file("bin/busybox", 0o755, &busybox.path)?;
    Ok(archive)
}
