//! `cargo xtask images`: what guests boot from.

use std::process::ExitCode;

use clap::Args;
use muster_guest_images::{Cache, Kernel, RootDisk, missing_packages};
use muster_tests::built_program;
use muster_tests::images::GuestImages;

use crate::build;
use crate::{TaskResult, packages};

/// Make the guests' kernel, initramfs and Debian root disk and the benchmark guest, and print where
/// they are.
///
/// They are kept in $MUSTER_CACHE, else in ~/.cache/muster, and made again when a recipe or a Debian
/// package has changed.
#[derive(Debug, Args)]
pub struct ImagesArgs {}

/// Runs the task.
pub fn run(_: &ImagesArgs) -> TaskResult {
    let all = prepare()?;
    for (name, path) in [
        ("vmlinuz", &all.guest.vmlinuz),
        ("vmlinux", &all.guest.vmlinux),
        ("initramfs", &all.guest.initramfs),
        ("bench-guest", &all.guest.bench_guest),
        ("root-disk", &all.root_disk.image),
    ] {
        println!("{name}\t{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that the recipes make.
#[derive(Debug)]
pub struct AllImages {
    pub cache: Cache,
    pub guest: GuestImages,
    pub root_disk: RootDisk,
}

/// Builds the guests' init and runs all recipes that have not run yet.
pub fn prepare() -> anyhow::Result<AllImages> {
    packages::install(&missing_packages())?;
    build::programs()?;
    let cache = Cache::open_default()?;
    let guest = GuestImages::prepare(&cache)?;
    let init = built_program("muster-init")
        .map_err(|path| anyhow::anyhow!("{} has not been built", path.display()))?;
    let root_disk = RootDisk::debian(&cache, &Kernel::debian_cloud(&cache)?, &init)?;
    Ok(AllImages {
        cache,
        guest,
        root_disk,
    })
}
