//! A kernel with nothing but what guests of muster need, compiled from Debian's kernel source.
//!
//! Problem: most of what a distribution's kernel does at boot has nothing to do with the monitor
//! under it: it sets up drivers for other machines and tests its own ciphers. What monitors
//! themselves cost shows only on a kernel that leaves that out.
//!
//! Approach: the source package that belongs to the host's release, our own configuration, and the
//! host's compiler. That takes minutes, so only benchmarks ask for it.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::apt::{Apt, Package};
use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::tool::{BC, BISON, FLEX, GCC, LIBELF, MAKE, TAR, XZ};

/// Debian's package that always depends on the release's kernel source.
const SOURCE: &str = "linux-source";

/// Laid over a configuration with everything off.
const CONFIG: &str = include_str!("minimal.config");

/// Fixed, so that the image tells nothing about who made it and when.
const BUILD_IDENTITY: [&str; 3] = [
    "KBUILD_BUILD_TIMESTAMP=@0",
    "KBUILD_BUILD_USER=muster",
    "KBUILD_BUILD_HOST=muster",
];

/// A small kernel in the cache. It has no modules.
#[derive(Debug, Clone)]
pub struct MinimalKernel {
    /// Its release, as in `uname -r`.
    pub version: String,
    /// The ELF image.
    pub vmlinux: PathBuf,
    /// Its whole configuration.
    pub config: PathBuf,
}

impl MinimalKernel {
    /// Compiled from the candidate version of Debian's `linux-source`.
    pub fn debian(cache: &Cache) -> Result<Self, ImageError> {
        let compiler = GCC.output(GCC.command().arg("-dumpfullversion"))?;
        let dir = Apt::with_lists(cache, |apt| {
            let package = source_package(&apt.package(SOURCE)?, |name| apt.package(name))?;
            let fingerprint = Fingerprint::new("kernel-minimal", 1)
                .field(&package.name, &package.sha256)
                .field("configuration", CONFIG)
                .field("compiler", &compiler);
            cache.entry(fingerprint, |dir| compile(cache, apt, &package, dir))
        })?;
        let release = dir.join("release");
        let version = fs::read_to_string(&release).map_err(ImageError::io("read", &release))?;
        Ok(Self {
            version: version.trim().to_owned(),
            vmlinux: dir.join("vmlinux"),
            config: dir.join("config"),
        })
    }
}

/// The package that holds the source on which `meta` depends.
fn source_package(
    meta: &Package,
    find: impl Fn(&str) -> Result<Package, ImageError>,
) -> Result<Package, ImageError> {
    let is_source = |name: &&String| name.starts_with("linux-source-");
    let name = meta.depends.iter().find(is_source);
    let name = name.ok_or_else(|| ImageError::Layout {
        package: meta.name.clone(),
        file: "dependency on a kernel's source".to_owned(),
    })?;
    find(name)
}

/// Fills the entry; the source tree is gone afterwards.
fn compile(cache: &Cache, apt: &Apt<'_>, package: &Package, dir: &Path) -> Result<(), ImageError> {
    for tool in [BC, BISON, FLEX, LIBELF, MAKE, TAR, XZ] {
        tool.require()?;
    }
    let work = tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
    let work = work.path();
    cache.step(&format!("fetching {} {}", package.name, package.version));
    apt.unpack(package, work)?;
    let archive = format!("usr/src/{}.tar.xz", package.name);
    if !work.join(&archive).exists() {
        return Err(ImageError::Layout {
            package: package.name.clone(),
            file: archive,
        });
    }
    cache.step("unpacking the kernel's source");
    let unpack = ["--extract", "--file", &archive];
    TAR.output(TAR.command().current_dir(work).args(unpack))?;
    let tree = work.join(&package.name);

    cache.step("compiling a minimal kernel, which takes a few minutes");
    configure(&tree, &work.join("minimal.config"))?;
    MAKE.output(make(&tree).arg("vmlinux"))?;
    for (from, name) in [
        ("vmlinux", "vmlinux"),
        (".config", "config"),
        ("include/config/kernel.release", "release"),
    ] {
        let from = tree.join(from);
        fs::rename(&from, dir.join(name)).map_err(ImageError::io("move", &from))?;
    }
    Ok(())
}

/// Configures the tree, and makes sure that it took all of [`CONFIG`]: Linux silently drops what it
/// does not know or what depends on something that is off.
fn configure(tree: &Path, fragment: &Path) -> Result<(), ImageError> {
    fs::write(fragment, CONFIG).map_err(ImageError::io("write", fragment))?;
    let mut make = make(tree);
    make.env("KCONFIG_ALLCONFIG", fragment).arg("allnoconfig");
    MAKE.output(&mut make)?;
    let path = tree.join(".config");
    let config = fs::read_to_string(&path).map_err(ImageError::io("read", &path))?;
    match first_dropped(CONFIG, &config) {
        None => Ok(()),
        Some(option) => Err(ImageError::KernelOption {
            option: option.to_owned(),
        }),
    }
}

/// The first line that was asked for and is not in `config`.
fn first_dropped<'a>(asked: &'a str, config: &str) -> Option<&'a str> {
    let mut options = asked.lines().filter(|line| line.starts_with("CONFIG_"));
    options.find(|option| !config.lines().any(|line| line == *option))
}

fn make(tree: &Path) -> Command {
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    let mut command = MAKE.command();
    command
        .current_dir(tree)
        // Those of a make or cargo around us.
        .env_remove("MAKEFLAGS")
        .args(["--silent", &format!("--jobs={jobs}"), "ARCH=x86_64"])
        .args(BUILD_IDENTITY);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, depends: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: "6.1.192-2".to_owned(),
            sha256: String::new(),
            depends: depends.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn the_source_is_the_one_that_the_meta_package_depends_on() {
        let find = |name: &str| Ok(package(name, &[]));
        let meta = package(SOURCE, &["xz-utils", "linux-source-6.1"]);
        assert_eq!(
            source_package(&meta, find).unwrap().name,
            "linux-source-6.1"
        );
        let error = source_package(&package(SOURCE, &["xz-utils"]), find).unwrap_err();
        assert!(matches!(error, ImageError::Layout { .. }), "{error}");
    }

    #[test]
    fn a_dropped_option_is_noticed() {
        let config = "CONFIG_SMP=y\n# CONFIG_PVH is not set\nCONFIG_HZ_1000=y\n";
        assert_eq!(first_dropped("# why\nCONFIG_SMP=y\n", config), None);
        let asked = "CONFIG_SMP=y\nCONFIG_PVH=y\n";
        assert_eq!(first_dropped(asked, config), Some("CONFIG_PVH=y"));
        // Not a part of another line.
        assert_eq!(
            first_dropped("CONFIG_HZ_100=", config),
            Some("CONFIG_HZ_100=")
        );
    }
}
