//! What guests of the tests and the demo boot from.
//!
//! Where they lie depends on where we are: on the host in the cache, in the lab under
//! [`LAB_IMAGES`], where the lab's initramfs has put them.

use std::path::{Path, PathBuf};

use muster_guest_images::initramfs::{GUEST_MODULES, Initramfs};
use muster_guest_images::{Busybox, Cache, ImageError, Kernel};
use thiserror::Error;

use crate::built_program;
use crate::lab::Lab;
use crate::place::in_lab;

/// Where the lab has the images.
const LAB_IMAGES: &str = "/lab/images";

/// No images to boot from.
#[derive(Debug, Error)]
pub enum GuestImagesError {
    /// A recipe failed.
    #[error(transparent)]
    Recipe(#[from] ImageError),
    /// The guests' init has not been built.
    #[error("{path} is missing: build it with `cargo build -p muster-init`")]
    NoInit {
        /// Where it is expected.
        path: PathBuf,
    },
}

/// Images of an unmodified Debian guest.
#[derive(Debug, Clone)]
pub struct GuestImages {
    /// Debian's cloud kernel as packaged.
    pub vmlinuz: PathBuf,
    /// The ELF file from inside it.
    pub vmlinux: PathBuf,
    /// BusyBox, `muster-init` and drivers.
    pub initramfs: PathBuf,
}

impl GuestImages {
    /// Finds the images, or makes them on a host that does not have them yet.
    pub fn prepare(cache: &Cache) -> Result<Self, GuestImagesError> {
        let kernel = Kernel::debian_cloud(cache)?;
        let busybox = Busybox::debian(cache)?;
        let init =
            built_program("muster-init").map_err(|path| GuestImagesError::NoInit { path })?;
        let mut initramfs = Initramfs::new(&busybox, init)?;
        initramfs.add_modules(&kernel, &GUEST_MODULES)?;
        let initramfs = initramfs.build(cache, "guest")?;
        Ok(Self {
            vmlinuz: kernel.vmlinuz,
            vmlinux: kernel.vmlinux,
            initramfs,
        })
    }

    /// The images that this process's guests can boot from.
    pub fn here() -> Result<Self, GuestImagesError> {
        if in_lab() {
            Ok(Self::in_lab())
        } else {
            Self::prepare(&Cache::open_default().map_err(ImageError::from)?)
        }
    }

    /// Where the lab has them.
    pub fn in_lab() -> Self {
        let at = |name| Path::new(LAB_IMAGES).join(name);
        Self {
            vmlinuz: at("vmlinuz"),
            vmlinux: at("vmlinux"),
            initramfs: at("initramfs.cpio"),
        }
    }

    /// Puts them into the lab.
    pub fn add_to(&self, lab: Lab) -> Lab {
        let there = Self::in_lab();
        [
            (&self.vmlinuz, there.vmlinuz),
            (&self.vmlinux, there.vmlinux),
            (&self.initramfs, there.initramfs),
        ]
        .into_iter()
        .fold(lab, |lab, (host, path)| {
            lab.file(host, path.display().to_string())
        })
    }
}
