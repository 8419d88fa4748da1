//! The kernel's files: `/proc`, `/sys` and `/dev` below one root.

use std::fs;
use std::path::PathBuf;

/// Reads the kernel's files. Whatever cannot be read counts as absent: containers hide parts of
/// `/proc` and `/sys`, and a host must never be too strange to be described.
#[derive(Debug, Clone)]
pub struct HostFiles {
    root: PathBuf,
}

impl HostFiles {
    /// The files of the running system.
    pub fn system() -> Self {
        Self::below("/")
    }

    /// The files of a host whose root directory is `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the absolute `path` of the host is found.
    pub(super) fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether `path` exists.
    pub fn exists(&self, path: &str) -> bool {
        self.locate(path).exists()
    }

    /// The trimmed content of `path`.
    pub fn text(&self, path: &str) -> Option<String> {
        let content = fs::read(self.locate(path)).ok()?;
        Some(String::from_utf8_lossy(&content).trim().to_owned())
    }

    /// The number that `path` consists of.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// The sorted names in directory `path`; none if it cannot be read.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.locate(path))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}
