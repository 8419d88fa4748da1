//! The programs of the host that recipes run.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use thiserror::Error;

/// How much of a failed tool's own words an error carries: the end, where the reason stands.
const MESSAGE_BYTES_MAX: usize = 2000;

/// A program and the Debian package that it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub name: &'static str,
    pub package: &'static str,
}

pub(crate) const APT_CACHE: Tool = Tool::new("apt-cache", "apt");
pub(crate) const APT_GET: Tool = Tool::new("apt-get", "apt");
pub(crate) const BC: Tool = Tool::new("bc", "bc");
pub(crate) const BISON: Tool = Tool::new("bison", "bison");
pub(crate) const CARGO: Tool = Tool::new("cargo", "cargo");
pub(crate) const CP: Tool = Tool::new("cp", "coreutils");
pub(crate) const DPKG_DEB: Tool = Tool::new("dpkg-deb", "dpkg");
pub(crate) const FAKEROOT: Tool = Tool::new("fakeroot", "fakeroot");
pub(crate) const FLEX: Tool = Tool::new("flex", "flex");
pub(crate) const GCC: Tool = Tool::new("gcc", "gcc");
pub(crate) const GZIP: Tool = Tool::new("gzip", "gzip");
/// A library, known by its header: [`Tool::require`] takes a whole path as well.
pub(crate) const LIBELF: Tool = Tool::new("/usr/include/libelf.h", "libelf-dev");
pub(crate) const MAKE: Tool = Tool::new("make", "make");
pub(crate) const MKE2FS: Tool = Tool::new("mke2fs", "e2fsprogs");
pub(crate) const MMDEBSTRAP: Tool = Tool::new("mmdebstrap", "mmdebstrap");
pub(crate) const NEWUIDMAP: Tool = Tool::new("newuidmap", "uidmap");
pub(crate) const RUSTC: Tool = Tool::new("rustc", "rustc");
pub(crate) const SH: Tool = Tool::new("sh", "dash");
pub(crate) const TAR: Tool = Tool::new("tar", "tar");
pub(crate) const XZ: Tool = Tool::new("xz", "xz-utils");
pub(crate) const ZSTD: Tool = Tool::new("zstd", "zstd");

/// What every recipe together runs, save that for the minimal kernel, which only benchmarks use.
const ALL: [Tool; 11] = [
    APT_CACHE, APT_GET, CP, DPKG_DEB, GZIP, MKE2FS, MMDEBSTRAP, SH, TAR, XZ, ZSTD,
];

/// What an ordinary user needs besides, to make files that belong to others.
const UNPRIVILEGED: [Tool; 2] = [FAKEROOT, NEWUIDMAP];

/// The Debian packages of those programs that some recipe needs and the host lacks.
pub fn missing_packages() -> Vec<&'static str> {
    let unprivileged = if is_root() { &[] } else { &UNPRIVILEGED[..] };
    let missing = ALL
        .iter()
        .chain(unprivileged)
        .filter(|tool| tool.require().is_err());
    let mut packages: Vec<_> = missing.map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Whether files may be given to anyone.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A tool that is missing or failed.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The program is not installed.
    #[error("{tool} is not installed: run `apt-get install {package}`")]
    Missing {
        /// The program.
        tool: &'static str,
        /// Its Debian package.
        package: &'static str,
    },
    /// The program could not be started or waited for.
    #[error("cannot run {tool}")]
    Run {
        /// The program.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The program ran and failed.
    #[error("{tool} failed ({status}): {message}")]
    Failed {
        /// The program.
        tool: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
}

impl Tool {
    /// The program `name` from the Debian package `package`.
    pub const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package }
    }

    /// A command with stable (untranslated) output.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.name);
        command
            .env("PATH", path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Checks that the program is there, for those that only a script runs.
    pub fn require(self) -> Result<(), ToolError> {
        if env::split_paths(&path()).any(|dir| dir.join(self.name).is_file()) {
            return Ok(());
        }
        Err(self.start_error(io::ErrorKind::NotFound.into()))
    }

    /// Runs the command to its end and returns what it printed.
    pub fn output(self, command: &mut Command) -> Result<Vec<u8>, ToolError> {
        let output = command
            .output()
            .map_err(|source| self.start_error(source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = if output.stderr.is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        Err(ToolError::Failed {
            tool: self.name,
            status: output.status,
            message: last_words(said),
        })
    }

    fn start_error(self, source: io::Error) -> ToolError {
        match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing {
                tool: self.name,
                package: self.package,
            },
            _ => ToolError::Run {
                tool: self.name,
                source,
            },
        }
    }
}

/// Where programs are: the user's path, and the administrator's directories that Debian keeps off
/// an ordinary user's.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/sbin:/sbin");
    path
}

/// The end of `output`, cut at a character boundary, without surrounding space.
fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    let mut start = text.len().saturating_sub(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_status_and_the_last_words() {
        let error = SH
            .output(SH.command().args(["-c", "echo so it goes >&2; exit 3"]))
            .unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): so it goes");
    }

    #[test]
    fn a_missing_tool_names_its_package() {
        let tool = Tool::new("no-such-tool-anywhere", "some-package");
        let error = tool.output(&mut tool.command()).unwrap_err();
        let expected = "no-such-tool-anywhere is not installed: run `apt-get install some-package`";
        assert_eq!(error.to_string(), expected);
        assert_eq!(tool.require().unwrap_err().to_string(), expected);
        SH.require().unwrap();
    }

    #[test]
    fn last_words_never_split_a_character() {
        let text = "ä".repeat(MESSAGE_BYTES_MAX);
        let words = last_words(format!("x{text}").as_bytes());
        assert!(words.len() <= MESSAGE_BYTES_MAX && words.chars().all(|c| c == 'ä'));
    }
}
