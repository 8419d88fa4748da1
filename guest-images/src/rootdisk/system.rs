//! The Debian system as an archive: what takes a minute to make and depends on packages alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, Release};
use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::tool::{MMDEBSTRAP, NEWUIDMAP, TAR, is_root};

/// What the disk has beyond Debian's minimal system.
const PACKAGES: [&str; 10] = [
    "dbus",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "less",
    "login",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
];

/// A package whose version follows the release's own: with it, an old disk is noticed.
const RELEASE_PACKAGE: &str = "base-files";

/// What nobody reads on a guest's console.
const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
];

/// Debian's keys, where its own package puts them. Not every host trusts them by default.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Run by mmdebstrap when everything is in place; `$1` is the new root, VERSION the kernel's release.
const HOOKS: [&str; 4] = [
    "chroot \"$1\" depmod VERSION",
    "chroot \"$1\" passwd --quiet --delete root",
    // Every guest makes an identity of its own.
    "truncate --size=0 \"$1/etc/machine-id\"",
    "rm -f \"$1/etc/resolv.conf\"",
];

const FILE: &str = "system.tar";

/// The host's Debian release with the modules of `kernel`, as an archive.
pub fn debian(cache: &Cache, kernel: &Kernel) -> Result<PathBuf, ImageError> {
    let dir = Apt::with_lists(cache, |apt| {
        let release = apt.release()?;
        let mut fingerprint = Fingerprint::new("debian-system", 1)
            .field("codename", &release.codename)
            .file("kernel", &kernel.vmlinuz)?;
        for name in PACKAGES.iter().chain([&RELEASE_PACKAGE]) {
            let package = apt.package(name)?;
            fingerprint = fingerprint.field(&package.name, &package.sha256);
        }
        cache.entry(fingerprint, |dir| {
            MMDEBSTRAP.require()?;
            if !is_root() {
                NEWUIDMAP.require()?;
            }
            let codename = &release.codename;
            cache.step(&format!(
                "installing Debian {codename} with mmdebstrap (half a minute or more)"
            ));
            install(&release, kernel, dir)
        })
    })?;
    Ok(dir.join(FILE))
}

/// Installs the release into an archive in `dir`.
fn install(release: &Release, kernel: &Kernel, dir: &Path) -> Result<(), ImageError> {
    let scratch = tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
    let modules = scratch.path().join("modules.tar");
    pack(
        &kernel.modules_dir,
        &format!("usr/lib/modules/{}", kernel.version),
        &modules,
    )?;
    let sources = scratch.path().join("sources.list");
    let lines = release.sources.join("\n") + "\n";
    fs::write(&sources, lines).map_err(ImageError::io("write", &sources))?;

    let mut command = MMDEBSTRAP.command();
    command
        .args(["--quiet", "--variant=minbase", "--format=tar"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        // The archive is thrown away if this is interrupted.
        .arg("--dpkgopt=force-unsafe-io");
    for path in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    if Path::new(KEYRING).exists() {
        command.arg(format!("--keyring={KEYRING}"));
    }
    command.arg(format!(
        "--customize-hook=tar-in {} /",
        shell_word(&modules)
    ));
    for hook in HOOKS {
        command.arg(format!(
            "--customize-hook={}",
            hook.replace("VERSION", &kernel.version)
        ));
    }
    command
        .arg(&release.codename)
        .arg(dir.join(FILE))
        .arg(&sources);
    MMDEBSTRAP.output(&mut command)?;
    Ok(())
}

/// Packs what is in `dir` as root's, to be unpacked below `place`.
pub fn pack(dir: &Path, place: &str, archive: &Path) -> Result<(), ImageError> {
    let mut command = TAR.command();
    command
        .args([
            "--owner=root:0",
            "--group=root:0",
            "--numeric-owner",
            "--sort=name",
            "--mode=u=rwX,go=rX",
        ])
        .arg(format!("--transform=flags=r;s,^\\.,{place},"))
        .arg("-cf")
        .args([archive, Path::new("-C"), dir])
        .arg(".");
    TAR.output(&mut command)?;
    Ok(())
}

/// A path as one word for mmdebstrap, which splits its hooks as a shell does.
fn shell_word(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
