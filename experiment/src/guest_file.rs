//! Where the benchmark guest is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

/// Names its file.
pub const VARIABLE: &str = "MUSTER_BENCH_GUEST";
/// What the image cache calls it.
const NAME: &str = "bench-guest";

/// There is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GuestFileError {
    /// It was never made.
    #[error(
        "no benchmark guest: make it with `cargo xtask images` in muster's source, or set \
         {VARIABLE} to its file"
    )]
    Absent,
    /// The variable leads nowhere.
    #[error("{VARIABLE}: there is no file {}", .0.display())]
    NoFile(PathBuf),
}

/// Finds it: `$MUSTER_BENCH_GUEST`, else the latest in the image cache.
pub fn find() -> Result<PathBuf, GuestFileError> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable(VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(GuestFileError::NoFile(path))
        };
    }
    let cache = variable("MUSTER_CACHE").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("muster")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/muster")));
    cache
        .and_then(|cache| latest(&cache))
        .ok_or(GuestFileError::Absent)
}

/// The latest in this cache: there is a directory for each state of its source.
fn latest(cache: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(cache.join(NAME)).ok()?.flatten();
    let files = entries.filter_map(|entry| {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path().join(NAME);
        let metadata = fs::metadata(&path).ok()?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        (metadata.is_file() && !hidden).then_some((modified, path))
    });
    files.max().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_finished_one_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(latest(cache.path()), None);
        let start = SystemTime::now();
        for (age, dir) in [(30, "aa"), (10, "bb"), (20, "cc"), (0, ".unfinished-dd")] {
            let dir = cache.path().join(NAME).join(dir);
            fs::create_dir_all(&dir).unwrap();
            let file = fs::File::create(dir.join(NAME)).unwrap();
            file.set_modified(start - Duration::from_secs(age)).unwrap();
        }
        let found = latest(cache.path()).unwrap();
        assert!(found.ends_with("bench-guest/bb/bench-guest"), "{found:?}");
    }
}
