//! Debian packages, fetched and verified by apt, unpacked without being installed.
//!
//! The host's own package lists say what the candidate version is. Where they are missing, or so old
//! that the archive no longer has what they name, lists of our own are fetched into the cache: that
//! needs no root and leaves the host alone.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use thiserror::Error;

use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::tool::{APT_CACHE, APT_GET, DPKG_DEB, Tool, ToolError};

mod release;

pub use release::Release;

/// Where apt keeps the host's package lists.
const HOST_LISTS: &str = "/var/lib/apt/lists";

/// Where apt is configured.
const HOST_CONFIGURATION: &str = "/etc/apt";

/// Hosts may have apt do things after an update, such as emptying its caches. Ours is none of their
/// business.
const NO_HOOKS: &str = "\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
";

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

/// Package lists, the host's or the cache's own, and the archives they belong to.
#[derive(Debug)]
pub struct Apt<'a> {
    cache: &'a Cache,
    /// What is ours: lists, and what apt keeps beside them.
    own: PathBuf,
    use_own: bool,
}

impl<'a> Apt<'a> {
    /// Runs `recipe` with the package lists at hand and, if a package is missing from them or can
    /// no longer be fetched, once more with lists fetched now.
    pub fn with_lists<T>(
        cache: &'a Cache,
        recipe: impl Fn(&Self) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let own = cache.dir().join("apt");
        let use_own = modified(&own.join("lists")) > modified(Path::new(HOST_LISTS));
        let mut apt = Self {
            cache,
            own,
            use_own,
        };
        match recipe(&apt) {
            Err(ImageError::Apt(error)) if error.lists_may_be_old() => {}
            result => return result,
        }
        // One archive that cannot be reached need not be the one that counts.
        let updated = apt.update();
        match (recipe(&apt), updated) {
            (Err(ImageError::Apt(error)), Err(reason)) if error.lists_may_be_old() => Err(reason),
            (result, _) => result,
        }
    }

    /// Fetches lists of our own and uses them from now on.
    fn update(&mut self) -> Result<(), ImageError> {
        for dir in ["lists/partial", "archives/partial"] {
            let path = self.own.join(dir);
            fs::create_dir_all(&path).map_err(ImageError::io("create", &path))?;
        }
        let _lock = self.cache.lock("package lists", &self.own.join(".lock"))?;
        let options = self.own.join("apt.conf");
        fs::write(&options, NO_HOOKS).map_err(ImageError::io("write", &options))?;
        self.cache.step("fetching Debian's package lists");
        self.use_own = true;
        let mut command = self.command(APT_GET);
        command.arg("--config-file").arg(&options);
        APT_GET
            .output(command.args(["--quiet", "update", "--error-on=any"]))
            .map_err(AptError::Update)?;
        Ok(())
    }

    /// The candidate version of the package called `name`.
    pub fn package(&self, name: &str) -> Result<Package, ImageError> {
        let unknown = || AptError::Unknown {
            name: name.to_owned(),
        };
        match self.ask(APT_CACHE, &["show", "--no-all-versions", "--", name]) {
            Ok(record) => Ok(parse(&record).ok_or_else(unknown)?),
            // What apt-cache answers if it does not know the name.
            Err(ImageError::Apt(AptError::Lists(ToolError::Failed { .. }))) => {
                Err(unknown().into())
            }
            Err(error) => Err(error),
        }
    }

    /// The Debian release that the host gets its packages from.
    pub fn release(&self) -> Result<Release, ImageError> {
        // One target per archive, component and architecture.
        let format = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
        let targets = self.ask(
            APT_GET,
            &["indextargets", "--format", format, "Created-By: Packages"],
        )?;
        let host = fs::read_to_string(OS_RELEASE).unwrap_or_default();
        Ok(release::choose(&targets, &host).ok_or(AptError::NoRelease)?)
    }

    /// What apt answers from its lists. It takes half a second to look, so answers are remembered
    /// until apt's files change.
    fn ask(&self, tool: Tool, arguments: &[&str]) -> Result<String, ImageError> {
        let mut fingerprint = Fingerprint::new("apt-answers", 1).field("tool", tool.name);
        for argument in arguments {
            fingerprint = fingerprint.field("argument", argument);
        }
        let own = self.own.join("lists");
        let lists = if self.use_own {
            &own
        } else {
            Path::new(HOST_LISTS)
        };
        let elsewhere = env::var_os("APT_CONFIG").unwrap_or_default();
        fingerprint = fingerprint.field("APT_CONFIG", elsewhere.as_encoded_bytes());
        for dir in [lists, Path::new(HOST_CONFIGURATION)] {
            fingerprint = state(dir, fingerprint);
        }
        let dir = self.cache.memo(fingerprint, |dir| {
            let answer = tool
                .output(self.command(tool).args(arguments))
                .map_err(AptError::Lists)?;
            let path = dir.join("answer");
            fs::write(&path, answer).map_err(ImageError::io("write", &path))
        })?;
        let path = dir.join("answer");
        let answer = fs::read(&path).map_err(ImageError::io("read", &path))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
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

/// Adds name, time and length of every file below `dir`: enough to notice that apt was reconfigured
/// or has other lists. What cannot be read adds nothing.
fn state(dir: &Path, mut all: Fingerprint) -> Fingerprint {
    let mut items: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    items.sort_by_key(fs::DirEntry::file_name);
    for item in items {
        let Ok(metadata) = item.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            all = state(&item.path(), all);
            continue;
        }
        let since_epoch = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
            .unwrap_or_default();
        all = all
            .field("file", item.path().as_os_str().as_encoded_bytes())
            .field("time", since_epoch.as_nanos().to_le_bytes())
            .field("length", metadata.len().to_le_bytes());
    }
    all
}

/// When the lists in `dir` were last fetched.
fn modified(dir: &Path) -> SystemTime {
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
