//! Debian packages, fetched and verified by apt, unpacked without being installed.
//!
//! The host's own package lists say what the candidate version is. Where they are missing, or so old
//! that the archive no longer has what they name, lists of our own are fetched into the cache: that
//! needs no root and leaves the host alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use thiserror::Error;

use crate::cache::Cache;
use crate::error::ImageError;
use crate::tool::{APT_CACHE, APT_GET, DPKG_DEB, Tool, ToolError};

mod release;

pub use release::Release;

/// Where apt keeps the host's package lists.
const HOST_LISTS: &str = "/var/lib/apt/lists";

/// Says which release the host itself is.
const OS_RELEASE: &str = "/etc/os-release";

/// A package could not be found or fetched.
#[derive(Debug, Error)]
pub enum AptError {
    /// No configured archive has the package.
    #[error("no package {name} in the configured archives: this needs Debian's sources for apt")]
    Unknown {
        /// The package's name.
        name: String,
    },
    /// The package is known but could not be fetched.
    #[error("cannot fetch package {name} {version}")]
    Fetch {
        /// The package's name.
        name: String,
        /// The version that the lists name.
        version: String,
        /// What apt said.
        source: ToolError,
    },
    /// The package lists could not be fetched.
    #[error("cannot fetch apt's package lists")]
    Update(#[source] ToolError),
    /// No configured archive is Debian's.
    #[error("apt's sources name no release of Debian, which the recipe needs")]
    NoRelease,
    /// Reading the package lists failed.
    #[error("cannot read apt's package lists")]
    Lists(#[source] ToolError),
    /// The directory for lists of our own could not be made.
    #[error("cannot prepare {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AptError {
    /// Whether newer package lists may help.
    fn lists_may_be_old(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. } | Self::Fetch { .. } | Self::NoRelease
        )
    }
}

/// A package's candidate version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the package file, from the signed lists.
    pub sha256: String,
    /// Names of the packages it depends on; of alternatives, the first.
    pub depends: Vec<String>,
}

/// One source of package lists: the host's or the cache's own.
#[derive(Debug)]
pub struct Apt {
    own: PathBuf,
    use_own: bool,
}

impl Apt {
    /// Runs `recipe` with the package lists at hand and, if a package is missing from them or can
    /// no longer be fetched, once more with lists fetched now.
    pub fn with_lists<T>(
        cache: &Cache,
        recipe: impl Fn(&Self) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let own = cache.dir().join("apt");
        let use_own = updated(&own.join("lists")) > updated(Path::new(HOST_LISTS));
        let mut apt = Self { own, use_own };
        match recipe(&apt) {
            Err(ImageError::Apt(error)) if error.lists_may_be_old() => {
                apt.update(cache)?;
                recipe(&apt)
            }
            result => result,
        }
    }

    /// Fetches lists of our own and uses them from now on.
    fn update(&mut self, cache: &Cache) -> Result<(), ImageError> {
        for dir in ["lists/partial", "archives/partial"] {
            let path = self.own.join(dir);
            fs::create_dir_all(&path).map_err(|source| AptError::Directory { path, source })?;
        }
        let _lock = cache.lock("package lists", &self.own.join(".lock"))?;
        cache.step("fetching Debian's package lists");
        self.use_own = true;
        APT_GET
            .output(
                self.command(APT_GET)
                    .args(["--quiet", "update", "--error-on=any"]),
            )
            .map_err(AptError::Update)?;
        Ok(())
    }

    /// The candidate version of the package called `name`.
    pub fn package(&self, name: &str) -> Result<Package, AptError> {
        let mut packages = self.packages(&[name])?;
        Ok(packages.remove(0))
    }

    /// The candidate versions of these packages, in the same order.
    pub fn packages(&self, names: &[&str]) -> Result<Vec<Package>, AptError> {
        let mut command = self.command(APT_CACHE);
        let records = match APT_CACHE.output(
            command
                .args(["show", "--no-all-versions", "--"])
                .args(names),
        ) {
            Ok(records) => String::from_utf8_lossy(&records).into_owned(),
            // What apt-cache answers if it does not know one of the names.
            Err(ToolError::Failed { .. }) => String::new(),
            Err(error) => return Err(AptError::Lists(error)),
        };
        let mut found: Vec<Package> = records.split("\n\n").filter_map(parse).collect();
        let mut take = |name: &&str| {
            let index = found.iter().position(|package| package.name == **name);
            index
                .map(|index| found.swap_remove(index))
                .ok_or_else(|| AptError::Unknown {
                    name: (*name).to_owned(),
                })
        };
        names.iter().map(&mut take).collect()
    }

    /// The Debian release that the host gets its packages from.
    pub fn release(&self) -> Result<Release, AptError> {
        // One target per archive, component and architecture.
        let format = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
        let targets = APT_GET
            .output(self.command(APT_GET).args([
                "indextargets",
                "--format",
                format,
                "Created-By: Packages",
            ]))
            .map_err(AptError::Lists)?;
        let host = fs::read_to_string(OS_RELEASE).unwrap_or_default();
        release::choose(&String::from_utf8_lossy(&targets), &host).ok_or(AptError::NoRelease)
    }

    /// Fetches the package and unpacks its files into `dir`. Nothing is installed.
    pub fn unpack(&self, package: &Package, dir: &Path) -> Result<(), ImageError> {
        let download = tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
        let wanted = format!("{}={}", package.name, package.version);
        APT_GET
            .output(
                self.command(APT_GET)
                    .args(["--quiet", "download", &wanted])
                    .current_dir(download.path()),
            )
            .map_err(|source| AptError::Fetch {
                name: package.name.clone(),
                version: package.version.clone(),
                source,
            })?;
        let list = || fs::read_dir(download.path())?.next().transpose();
        let file = list()
            .map_err(ImageError::io("list", download.path()))?
            .ok_or_else(|| ImageError::Layout {
                package: package.name.clone(),
                file: "package file".to_owned(),
            })?
            .path();
        DPKG_DEB.output(DPKG_DEB.command().arg("-x").arg(&file).arg(dir))?;
        Ok(())
    }

    /// A command that reads the lists in use. Fetching runs as the caller: apt's own user could not
    /// write to the caller's cache.
    fn command(&self, tool: Tool) -> Command {
        let mut command = tool.command();
        command.args(["-o", "APT::Sandbox::User=", "-o", "APT::Color=0"]);
        if self.use_own {
            for (option, dir) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "")] {
                let mut value = OsString::from(option);
                value.push("=");
                value.push(self.own.join(dir));
                command.arg("-o").arg(value);
            }
        }
        command
    }
}

/// When the lists in `dir` were last fetched.
fn updated(dir: &Path) -> SystemTime {
    fs::metadata(dir)
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads a record of apt's lists. A package that is installed but in no archive has no hash: for us
/// it does not exist.
fn parse(record: &str) -> Option<Package> {
    let field = |name: &str| {
        record
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let depends = field("Depends").unwrap_or_default();
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        sha256: field("SHA256")?.to_owned(),
        depends: depends
            .split(',')
            .filter_map(|dependency| {
                dependency
                    .split([' ', '(', '|', ':'])
                    .find(|s| !s.is_empty())
            })
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests;
