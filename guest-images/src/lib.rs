//! Guest images: kernels, initramfs images and disks made from Debian packages.
//!
//! Problem: muster's tests, benchmarks and demo boot real Linux, so they need real kernels and root
//! file systems. Shipping them would mean megabytes of stale binaries; downloading one prepared
//! image would mean trusting a place nobody maintains.
//!
//! Approach: a *recipe* makes an image from packages of the host's own Debian suite, fetched and
//! verified by apt. A [`Cache`] keeps the results, keyed by everything that went into them, so a
//! recipe runs once and again only when it, or a package, has changed.
//!
//! Nothing here needs root, changes the host's system, or needs a package to be installed besides
//! the tools that a recipe names in its errors.
//!
//! ```no_run
//! use muster_guest_images::{Cache, Kernel};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::open_default()?;
//! let kernel = Kernel::debian_cloud(&cache)?;
//! println!("{} {}", kernel.version, kernel.vmlinux.display());
//! for module in kernel.module_closure(&["virtio_blk"])? {
//!     println!("{}", module.display());
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod apt;
pub mod bench_guest;
pub mod busybox;
pub mod cache;
pub mod cpio;
mod error;
pub mod initramfs;
pub mod kernel;
pub mod rootdisk;
mod tool;

pub use bench_guest::BenchGuest;
pub use busybox::Busybox;
pub use cache::{Cache, Progress};
pub use error::ImageError;
pub use initramfs::Initramfs;
pub use kernel::Kernel;
pub use kernel::minimal::MinimalKernel;
/// The kernel command line's words for `muster-init`.
pub use muster_init::cmdline;
pub use rootdisk::RootDisk;
pub use tool::{ToolError, missing_packages};
