//! A bootable Debian root disk: the host's own release, small, with systemd.
//!
//! Approach: `mmdebstrap` makes the file system as a tar archive, as root or as an ordinary user
//! through user namespaces. What makes it a guest of muster ([`overlay`]) goes in while it is made.
//! `mke2fs` then turns the unpacked archive into an ext4 image without mounting anything; for an
//! ordinary user `fakeroot` keeps the owners of the files meanwhile.
//!
//! The disk holds no kernel and no boot loader: the kernel is given directly, with an initramfs whose
//! `muster-init` goes over to the disk ([`cmdline::root`](crate::cmdline::root)).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, Release};
use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::tool::{CP, FAKEROOT, MKE2FS, MMDEBSTRAP, SH, TAR, UNPRIVILEGED, is_root};

mod overlay;

use overlay::Overlay;

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

const LABEL: &str = "muster-root";
const SIZE: &str = "1G";
const FILE: &str = "disk.raw";

/// A root disk in the cache.
#[derive(Debug, Clone)]
pub struct RootDisk {
    /// The raw image, sparse and read-only: guests get copies.
    pub image: PathBuf,
}

impl RootDisk {
    /// The host's Debian release with the modules of `kernel`, and `init`, a static binary of
    /// `muster-init`, to run commands for the kernel command line.
    pub fn debian(cache: &Cache, kernel: &Kernel, init: &Path) -> Result<Self, ImageError> {
        let overlay = Overlay::new(init);
        let dir = Apt::with_lists(cache, |apt| {
            let release = apt.release()?;
            let mut fingerprint = Fingerprint::new("root-disk", 1)
                .field("codename", &release.codename)
                .field("kernel", &kernel.version);
            for name in PACKAGES.iter().chain([&RELEASE_PACKAGE]) {
                let package = apt.package(name)?;
                fingerprint = fingerprint.field(&package.name, &package.sha256);
            }
            let fingerprint = overlay.fingerprint(fingerprint)?;
            cache.entry(fingerprint, |dir| {
                Build {
                    cache,
                    kernel,
                    release: &release,
                    dir,
                }
                .run(&overlay)
            })
        })?;
        Ok(Self {
            image: dir.join(FILE),
        })
    }

    /// A copy that a guest may write to. Its holes stay holes.
    pub fn copy_to(&self, path: &Path) -> Result<(), ImageError> {
        let mut copy = CP.command();
        CP.output(
            copy.args(["--sparse=always", "--reflink=auto", "--"])
                .arg(&self.image)
                .arg(path),
        )?;
        set_mode(path, 0o644)
    }
}

/// One disk being made.
struct Build<'a> {
    cache: &'a Cache,
    kernel: &'a Kernel,
    release: &'a Release,
    dir: &'a Path,
}

impl Build<'_> {
    fn run(&self, overlay: &Overlay) -> Result<(), ImageError> {
        // What only other programs run, and what would be missed after a minute's work.
        for tool in [MMDEBSTRAP, TAR, MKE2FS] {
            tool.require()?;
        }
        if !is_root() {
            UNPRIVILEGED.iter().try_for_each(|tool| tool.require())?;
        }
        let scratch =
            tempfile::tempdir_in(self.dir).map_err(ImageError::io("write to", self.dir))?;
        let scratch = scratch.path();
        self.cache
            .step("packing the kernel's modules and the guest's own files");
        let modules = scratch.join("modules.tar");
        let place = format!("usr/lib/modules/{}", self.kernel.version);
        pack(&self.kernel.modules_dir, &place, &modules)?;
        let files = scratch.join("overlay");
        overlay.write_to(&files)?;
        let own = scratch.join("overlay.tar");
        pack(&files, ".", &own)?;

        let codename = &self.release.codename;
        self.cache.step(&format!(
            "installing Debian {codename} with mmdebstrap (about a minute)"
        ));
        let system = scratch.join("system.tar");
        self.install(&[&modules, &own], &system)?;

        self.cache
            .step(&format!("writing the root disk ({SIZE}, mostly holes)"));
        let image = self.dir.join(FILE);
        self.format(&system, &scratch.join("system"), &image)?;
        set_mode(&image, 0o444)
    }

    /// Installs the release with what the archives in `add` hold into the archive `system`.
    fn install(&self, add: &[&Path], system: &Path) -> Result<(), ImageError> {
        let sources = system.with_file_name("sources.list");
        let lines = self.release.sources.join("\n") + "\n";
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
        for archive in add {
            command.arg(format!("--customize-hook=tar-in {} /", shell_word(archive)));
        }
        for hook in overlay::HOOKS {
            command.arg(format!(
                "--customize-hook={}",
                hook.replace("VERSION", &self.kernel.version)
            ));
        }
        command
            .arg(&self.release.codename)
            .arg(system)
            .arg(&sources);
        MMDEBSTRAP.output(&mut command)?;
        Ok(())
    }

    /// Unpacks `system` into `root` and makes a disk image of that.
    fn format(&self, system: &Path, root: &Path, image: &Path) -> Result<(), ImageError> {
        // In one process: a faked owner is known no longer than fakeroot runs.
        let script = "set -e; mkdir \"$2\"; tar --numeric-owner -xpf \"$1\" -C \"$2\"; rm \"$1\"; \
            mke2fs -q -t ext4 -L \"$4\" -m 0 -E root_owner=0:0 -d \"$2\" \"$3\" \"$5\"; rm -rf \"$2\"";
        let (tool, mut command) = if is_root() {
            (SH, SH.command())
        } else {
            let mut command = FAKEROOT.command();
            command.arg("sh");
            (FAKEROOT, command)
        };
        command
            .args(["-c", script, "sh"])
            .args([system, root, image])
            .args([LABEL, SIZE]);
        tool.output(&mut command)?;
        Ok(())
    }
}

/// Packs what is in `dir` as root's, to be unpacked below `place`.
fn pack(dir: &Path, place: &str, archive: &Path) -> Result<(), ImageError> {
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

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ImageError::io("change the mode of", path))
}

/// A path as one word for mmdebstrap, which splits its hooks as a shell does.
fn shell_word(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
