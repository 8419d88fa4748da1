//! What makes a plain Debian system a guest of muster: a console that logs in by itself, a service
//! that runs the kernel command line's command, and no work that a throw-away guest has no use for.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::cache::{CacheError, Fingerprint};
use crate::error::ImageError;

/// Where the disk keeps `muster-init`.
const INIT: &str = "usr/lib/muster/muster-init";

const EXEC_SERVICE: &str = "\
[Unit]
Description=Command of the kernel command line
ConditionKernelCommandLine=muster.exec
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
ExecStart=/usr/lib/muster/muster-init exec
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
";

const AUTOLOGIN: &str = "\
[Unit]
# The console belongs to the command then.
ConditionKernelCommandLine=!muster.exec

[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 %I $TERM
";

const JOURNAL: &str = "[Journal]\nStorage=volatile\n";

/// Files, by path.
const FILES: [(&str, &str); 7] = [
    (
        "etc/fstab",
        "LABEL=muster-root / ext4 rw,relatime,errors=remount-ro 0 0\n",
    ),
    ("etc/hostname", "muster\n"),
    ("etc/hosts", "127.0.0.1 localhost muster\n::1 localhost\n"),
    ("etc/motd", ""),
    ("etc/systemd/journald.conf.d/muster.conf", JOURNAL),
    ("etc/systemd/system/muster-exec.service", EXEC_SERVICE),
    (
        "etc/systemd/system/serial-getty@.service.d/autologin.conf",
        AUTOLOGIN,
    ),
];

/// Symbolic links, by path: what starts the service, and what keeps units from starting.
const LINKS: [(&str, &str); 5] = [
    (
        "etc/systemd/system/multi-user.target.wants/muster-exec.service",
        "../muster-exec.service",
    ),
    ("etc/systemd/system/apt-daily.timer", "/dev/null"),
    ("etc/systemd/system/apt-daily-upgrade.timer", "/dev/null"),
    ("etc/systemd/system/e2scrub_reap.service", "/dev/null"),
    (
        "etc/systemd/system/systemd-networkd-wait-online.service",
        "/dev/null",
    ),
];

/// The files to add.
#[derive(Debug)]
pub struct Overlay {
    init: PathBuf,
}

impl Overlay {
    /// With `init` as the disk's `muster-init`.
    pub fn new(init: &Path) -> Self {
        Self {
            init: init.to_owned(),
        }
    }

    /// Adds all files.
    pub fn fingerprint(&self, mut all: Fingerprint) -> Result<Fingerprint, CacheError> {
        for (path, content) in FILES.iter().chain(&LINKS) {
            all = all.field(path, content);
        }
        all.file(INIT, &self.init)
    }

    /// Writes all files below `dir`.
    pub fn write_to(&self, dir: &Path) -> Result<(), ImageError> {
        for (path, content) in FILES {
            let path = parent(dir, path)?;
            fs::write(&path, content).map_err(ImageError::io("write", &path))?;
        }
        for (path, target) in LINKS {
            let path = parent(dir, path)?;
            symlink(target, &path).map_err(ImageError::io("make", &path))?;
        }
        let init = parent(dir, INIT)?;
        fs::copy(&self.init, &init).map_err(ImageError::io("copy", &self.init))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
            .map_err(ImageError::io("change the mode of", &init))
    }
}

/// The path of a file below `dir`, whose directory is there afterwards.
fn parent(dir: &Path, path: &str) -> Result<PathBuf, ImageError> {
    let path = dir.join(path);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent).map_err(ImageError::io("create", parent))?;
    Ok(path)
}
