//! What guests of the tests and the demo boot from.
//!
//! Where they lie depends on where we are: on the host in the cache, in the lab under
//! `/lab/images`, where the lab's initramfs has put them.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use muster_guest_images::cpio::Archive;
use muster_guest_images::initramfs::{GUEST_MODULES, Initramfs};
use muster_guest_images::{BenchGuest, Busybox, Cache, ImageError, Kernel};
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
    /// A program has not been built.
    #[error("{path} is missing: build it with `cargo build -p muster-init -p muster-tests --bins`")]
    NotBuilt {
        /// Where it is expected.
        path: PathBuf,
    },
    /// An initramfs could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The initramfs.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    /// BusyBox alone.
    pub busybox: PathBuf,
    /// The program of this package that exercises a guest's disk.
    pub guest_io: PathBuf,
    /// The benchmark guest.
    pub bench_guest: PathBuf,
}

impl GuestImages {
    /// Finds the images, or makes them on a host that does not have them yet.
    pub fn prepare(cache: &Cache) -> Result<Self, GuestImagesError> {
        let program =
            |name| built_program(name).map_err(|path| GuestImagesError::NotBuilt { path });
        let kernel = Kernel::debian_cloud(cache)?;
        let busybox = Busybox::debian(cache)?;
        let mut initramfs = Initramfs::new(&busybox, program("muster-init")?)?;
        initramfs.add_modules(&kernel, &GUEST_MODULES)?;
        let initramfs = initramfs.build(cache, "guest")?;
        Ok(Self {
            vmlinuz: kernel.vmlinuz,
            vmlinux: kernel.vmlinux,
            initramfs,
            busybox: busybox.path,
            guest_io: program("guest-io")?,
            bench_guest: BenchGuest::build(cache)?.path,
        })
    }

    /// The images that this process's guests can boot from.
    pub fn here() -> Result<Self, GuestImagesError> {
        if in_lab() {
            return Ok(Self::in_lab());
        }
        Self::prepare(&Cache::open_default().map_err(ImageError::from)?)
    }

    /// Where the lab has them.
    pub fn in_lab() -> Self {
        let at = |name| Path::new(LAB_IMAGES).join(name);
        Self {
            vmlinuz: at("vmlinuz"),
            vmlinux: at("vmlinux"),
            initramfs: at("initramfs.cpio"),
            busybox: at("busybox"),
            guest_io: at("guest-io"),
            bench_guest: at("bench-guest"),
        }
    }

    /// Puts them into the lab.
    pub fn add_to(&self, lab: Lab) -> Lab {
        let there = Self::in_lab();
        [
            (&self.vmlinuz, there.vmlinuz),
            (&self.vmlinux, there.vmlinux),
            (&self.initramfs, there.initramfs),
            (&self.busybox, there.busybox),
            (&self.guest_io, there.guest_io),
            (&self.bench_guest, there.bench_guest),
        ]
        .into_iter()
        .fold(lab, |lab, (host, path)| {
            lab.file(host, path.display().to_string())
        })
    }

    /// Writes an initramfs to `path` with BusyBox and a shell script as its init, nothing else.
    pub fn write_minimal(&self, path: &Path, script: &str) -> Result<(), GuestImagesError> {
        let busybox = Busybox {
            path: self.busybox.clone(),
            applets: Vec::new(),
        };
        append(path, Initramfs::minimal(&busybox, script)?.archive())
    }

    /// Writes an initramfs to `path` that has one more program in its `/bin`.
    pub fn write_with_program(&self, path: &Path, program: &Path) -> Result<(), GuestImagesError> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let mut more = Archive::new();
        more.host_file(&format!("bin/{name}"), 0o755, program)
            .map_err(ImageError::from)?;
        fs::copy(&self.initramfs, path).map_err(|source| write_error(path, source))?;
        append(path, &more)
    }
}

/// Appends an archive to a file. Linux unpacks one after the other.
fn append(path: &Path, archive: &Archive) -> Result<(), GuestImagesError> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(|source| write_error(path, source))?;
    archive
        .write_to(BufWriter::new(file))
        .map_err(ImageError::from)?;
    Ok(())
}

fn write_error(path: &Path, source: io::Error) -> GuestImagesError {
    GuestImagesError::Write {
        path: path.to_owned(),
        source,
    }
}
