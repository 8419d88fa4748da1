//! What can go wrong while an image is made.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::apt::AptError;
use crate::cache::CacheError;
use crate::cpio::CpioError;
use crate::kernel::modules::ModulesError;
use crate::kernel::vmlinux::VmlinuxError;
use crate::tool::ToolError;

/// A recipe that did not give an image. Its directory is gone; what the cache held before stays.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The cache itself failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A package could not be found or fetched.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A tool is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The kernel image could not be taken apart.
    #[error("{path} gives no vmlinux")]
    Vmlinux {
        /// The kernel image.
        path: PathBuf,
        /// What is wrong with it.
        source: VmlinuxError,
    },
    /// The kernel's source does not know an option, or no longer under the same conditions.
    #[error("{option} has no effect on the kernel's source, whose options have changed")]
    KernelOption {
        /// The line of the configuration.
        option: String,
    },
    /// The kernel's modules do not fit together, or one is missing.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// An initramfs could not be written.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// A package does not hold a file that it should.
    #[error("package {package} has no {file}, its layout has changed")]
    Layout {
        /// The package's name.
        package: String,
        /// What was looked for.
        file: String,
    },
    /// The host's file system failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ImageError {
    /// For `map_err`: names the file and what was tried on it.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
