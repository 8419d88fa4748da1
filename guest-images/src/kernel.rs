//! A kernel and its modules, as Debian ships them.
//!
//! Besides the bzImage of the package an entry holds the ELF `vmlinux` from inside it, which boots
//! without the decompressor, and a module tree that is ready for use: uncompressed, with the index
//! files that `depmod` writes after an installation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, Package};
use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;

pub mod minimal;
pub mod modules;
pub mod vmlinux;

/// Debian's package that always depends on the current kernel for virtual machines.
const CLOUD: &str = "linux-image-cloud-amd64";

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its release, as in `uname -r`.
    pub version: String,
    /// The bzImage, as packaged.
    pub vmlinuz: PathBuf,
    /// The ELF image from inside it.
    pub vmlinux: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Its modules: what `/lib/modules/<version>` is on an installed system.
    pub modules_dir: PathBuf,
}

impl Kernel {
    /// The candidate version of Debian's `linux-image-cloud-amd64`.
    pub fn debian_cloud(cache: &Cache) -> Result<Self, ImageError> {
        let (dir, version) = Apt::with_lists(cache, |apt| {
            let (package, version) = image_package(&apt.package(CLOUD)?, |name| apt.package(name))?;
            let fingerprint = Fingerprint::new("kernel", 1).field(&package.name, &package.sha256);
            let dir = cache.entry(fingerprint, |dir| {
                cache.step(&format!("fetching {} {}", package.name, package.version));
                apt.unpack(&package, dir)?;
                cache.step(&format!("preparing Linux {version}"));
                prepare(dir, &package, &version)
            })?;
            Ok((dir, version))
        })?;
        Ok(Self {
            vmlinuz: dir.join("vmlinuz"),
            vmlinux: dir.join("vmlinux"),
            config: dir.join("config"),
            modules_dir: dir.join("modules"),
            version,
        })
    }

    /// The files of these modules and of all that they need, in the order in which they are loaded.
    /// What is built into the kernel is left out.
    ///
    /// A name's dashes and underscores are the same, as for `modprobe`.
    pub fn module_closure(&self, names: &[&str]) -> Result<Vec<PathBuf>, ImageError> {
        Ok(modules::Index::read(&self.modules_dir)?.closure(names)?)
    }
}

/// The package that holds the kernel on which `meta` depends, and that kernel's release.
fn image_package(
    meta: &Package,
    find: impl Fn(&str) -> Result<Package, ImageError>,
) -> Result<(Package, String), ImageError> {
    let image = meta
        .depends
        .iter()
        .find_map(|name| Some((name, name.strip_prefix("linux-image-")?)))
        .ok_or_else(|| ImageError::Layout {
            package: meta.name.clone(),
            file: "dependency on a kernel".to_owned(),
        })?;
    let (name, version) = image;
    Ok((find(name)?, version.to_owned()))
}

/// Turns an unpacked package into an entry.
fn prepare(dir: &Path, package: &Package, version: &str) -> Result<(), ImageError> {
    for file in ["vmlinuz", "config"] {
        take(dir, package, &[&format!("boot/{file}-{version}")], file)?;
    }
    let modules = [
        format!("usr/lib/modules/{version}"),
        format!("lib/modules/{version}"),
    ];
    take(
        dir,
        package,
        &modules.each_ref().map(String::as_str),
        "modules",
    )?;
    for left in ["boot", "lib", "usr"] {
        let path = dir.join(left);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(ImageError::io("remove", &path))?;
        }
    }
    let vmlinuz = dir.join("vmlinuz");
    let image = fs::read(&vmlinuz).map_err(ImageError::io("read", &vmlinuz))?;
    let elf = vmlinux::extract(&image).map_err(|source| ImageError::Vmlinux {
        path: vmlinuz,
        source,
    })?;
    let vmlinux = dir.join("vmlinux");
    fs::write(&vmlinux, elf).map_err(ImageError::io("write", &vmlinux))?;
    modules::prepare(&dir.join("modules"))?;
    Ok(())
}

/// Moves the first of `places` that exists to `name`.
fn take(dir: &Path, package: &Package, places: &[&str], name: &str) -> Result<(), ImageError> {
    let from = places
        .iter()
        .map(|place| dir.join(place))
        .find(|path| path.exists())
        .ok_or_else(|| ImageError::Layout {
            package: package.name.clone(),
            file: places[0].to_owned(),
        })?;
    fs::rename(&from, dir.join(name)).map_err(ImageError::io("move", &from))
}
