//! A bootable Debian root disk: the host's own release, small, with systemd.
//!
//! Approach: `mmdebstrap` makes the `system` as a tar archive, as root or as an ordinary user
//! through user namespaces; it is kept in the cache by itself, for it takes longest. What makes it a
//! guest of muster (`overlay`) is added, and `mke2fs` turns everything into an ext4 image without
//! mounting anything. For an ordinary user `fakeroot` keeps the owners of the files meanwhile.
//!
//! The disk holds no kernel and no boot loader: the kernel is given directly, with an initramfs whose
//! `muster-init` goes over to the disk ([`cmdline::root`](crate::cmdline::root)).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::tool::{CP, FAKEROOT, MKE2FS, SH, TAR, is_root};

mod overlay;
mod system;

use overlay::Overlay;

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
        let system = system::debian(cache, kernel)?;
        let overlay = Overlay::new(init);
        // An entry's path has the fingerprint of all that is in it.
        let fingerprint =
            Fingerprint::new("root-disk", 2).field("system", system.as_os_str().as_encoded_bytes());
        let dir = cache.entry(overlay.fingerprint(fingerprint)?, |dir| {
            cache.step(&format!("writing the root disk ({SIZE}, mostly holes)"));
            write(&system, &overlay, dir)
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

/// Run by a shell, under fakeroot or as root: $1 and $2 are archives, $3 is a directory to unpack
/// them to, $4 the image, $5 its size. One process does it all, for fakeroot forgets owners when it ends.
const FORMAT: &str = "set -e
mkdir \"$3\"
for archive in \"$1\" \"$2\"; do tar --numeric-owner --keep-directory-symlink -xpf \"$archive\" -C \"$3\"; done
mke2fs -q -t ext4 -L muster-root -m 0 -E root_owner=0:0 -d \"$3\" \"$4\" \"$5\"
";

/// Makes a disk image in `dir` of an archived system and an overlay.
fn write(system: &Path, overlay: &Overlay, dir: &Path) -> Result<(), ImageError> {
    // The script could only say that it did not find them.
    TAR.require()?;
    MKE2FS.require()?;
    let scratch = tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
    let scratch = scratch.path();
    let files = scratch.join("overlay");
    overlay.write_to(&files)?;
    let own = scratch.join("overlay.tar");
    system::pack(&files, ".", &own)?;
    let (tool, mut command) = if is_root() {
        (SH, SH.command())
    } else {
        let mut command = FAKEROOT.command();
        command.arg(SH.name);
        (FAKEROOT, command)
    };
    let image = dir.join(FILE);
    command
        .args(["-c", FORMAT, "sh"])
        .args([system, &own, &scratch.join("system"), &image])
        .arg(SIZE);
    tool.output(&mut command)?;
    set_mode(&image, 0o444)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ImageError::io("change the mode of", path))
}
