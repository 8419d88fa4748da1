//! The image cache: each result is kept under a name made from everything that went into it.
//!
//! Problem: images take seconds to minutes to make, several processes want the same one at once,
//! and any of them may be killed half-way.
//!
//! Approach: a [`Fingerprint`] hashes the recipe's name, its version and its inputs. An image is
//! made in a hidden directory beside its final one and renamed when it is complete, so whatever
//! stands at `<cache>/<recipe>/<fingerprint>` is whole. One lock per recipe name makes concurrent
//! builders wait for the first instead of repeating its work; the kernel drops the lock with the
//! process that held it.
//!
//! Properties: no reader ever sees an incomplete entry; what an interrupted build left is removed by
//! the next one; entries that nobody has asked for within [`UNUSED_MAX`] go when a newer one is made.

use std::env;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// How long an entry stays after its last use once the recipe has given a different one. Its files
/// may still be in use by a guest that was started a moment ago.
pub const UNUSED_MAX: Duration = Duration::from_secs(15 * 60);

/// What a directory's name starts with while its image is being made.
const UNFINISHED: &str = ".unfinished-";

/// The cache could not be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// None of the variables that say where caches go is set.
    #[error("no place for the image cache: set MUSTER_CACHE, XDG_CACHE_HOME or HOME")]
    NoPlace,
    /// The host's file system failed.
    #[error("image cache: cannot {action} {path}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl CacheError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Hears what a long preparation is doing.
pub trait Progress: Send + Sync {
    /// A step begins; `text` says which, without a trailing dot or newline.
    fn step(&self, text: &str);
}

impl<F: Fn(&str) + Send + Sync> Progress for F {
    fn step(&self, text: &str) {
        self(text);
    }
}

/// Prints each step on standard error.
fn on_stderr(text: &str) {
    eprintln!("muster: {text}");
}

/// A directory of finished images.
pub struct Cache {
    dir: PathBuf,
    progress: Box<dyn Progress>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the cache in `dir`, making the directory if need be. Progress goes to standard error.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
        // Recipes run tools in other directories, so a relative path would not do.
        let dir = fs::canonicalize(&dir).map_err(CacheError::io("find", &dir))?;
        Ok(Self {
            dir,
            progress: Box::new(on_stderr),
        })
    }

    /// Opens the user's cache: `$MUSTER_CACHE`, else `$XDG_CACHE_HOME/muster`, else
    /// `~/.cache/muster`.
    pub fn open_default() -> Result<Self, CacheError> {
        let from = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let dir = from("MUSTER_CACHE")
            .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("muster")))
            .or_else(|| from("HOME").map(|dir| dir.join(".cache/muster")))
            .ok_or(CacheError::NoPlace)?;
        Self::open(dir)
    }

    /// Sends progress to `progress` instead of standard error.
    #[must_use]
    pub fn with_progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Where the cache is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says that a step of a preparation begins.
    pub fn step(&self, text: &str) {
        self.progress.step(text);
    }

    /// The directory of the image with this fingerprint, made by `build` if it is not there yet.
    ///
    /// `build` gets an empty directory to fill. If it fails the directory is removed and the next
    /// call starts anew.
    pub fn entry<E: From<CacheError>>(
        &self,
        fingerprint: Fingerprint,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.make(fingerprint, build, write_back)
    }

    /// As [`entry`](Self::entry), for what is small and quickly made again: a power failure may cost
    /// its content, and making it costs no wait for the disk.
    pub(crate) fn memo<E: From<CacheError>>(
        &self,
        fingerprint: Fingerprint,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.make(fingerprint, build, |_| Ok(()))
    }

    fn make<E: From<CacheError>>(
        &self,
        fingerprint: Fingerprint,
        build: impl FnOnce(&Path) -> Result<(), E>,
        settle: impl FnOnce(&Path) -> Result<(), CacheError>,
    ) -> Result<PathBuf, E> {
        let (recipe, key) = fingerprint.finish();
        let shelf = self.dir.join(&recipe);
        fs::create_dir_all(&shelf).map_err(CacheError::io("create", &shelf))?;
        let _lock = self.lock(&recipe, &shelf.join(".lock"))?;
        let entry = shelf.join(&key);
        if entry.exists() {
            touch(&entry)?;
            return Ok(entry);
        }
        prune(&shelf, SystemTime::now())?;
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&shelf)
            .map_err(CacheError::io("create a directory in", &shelf))?;
        build(unfinished.path())?;
        settle(unfinished.path())?;
        finish(unfinished, &entry)?;
        Ok(entry)
    }

    /// Waits for the recipe's lock. It goes with the returned file.
    pub(crate) fn lock(&self, recipe: &str, path: &Path) -> Result<File, CacheError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CacheError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                self.step(&format!(
                    "waiting for another process that prepares {recipe}"
                ));
            }
            Err(TryLockError::Error(source)) => return Err(CacheError::io("lock", path)(source)),
        }
        file.lock().map_err(CacheError::io("lock", path))?;
        Ok(file)
    }
}

/// Writes an image back to the disk. It becomes visible only once it will survive a power failure,
/// for an entry is never looked into again.
fn write_back(dir: &Path) -> Result<(), CacheError> {
    let file = File::open(dir).map_err(CacheError::io("open", dir))?;
    nix::unistd::syncfs(&file).map_err(|errno| CacheError::io("write back", dir)(errno.into()))
}

/// Makes a complete image visible.
fn finish(unfinished: tempfile::TempDir, entry: &Path) -> Result<(), CacheError> {
    // What filled the directory may have given it a time of long ago.
    touch(unfinished.path())?;
    let path = unfinished.keep();
    fs::rename(&path, entry).map_err(|source| {
        // The error that counts is the first; the next build removes the directory anyway.
        let _ = fs::remove_dir_all(&path);
        CacheError::io("rename to", entry)(source)
    })
}

/// Notes that the entry has been used.
fn touch(entry: &Path) -> Result<(), CacheError> {
    let dir = File::open(entry).map_err(CacheError::io("open", entry))?;
    dir.set_modified(SystemTime::now())
        .map_err(CacheError::io("touch", entry))
}

/// Removes what interrupted builds left and entries unused for long. The caller holds the lock, so
/// no build is under way.
fn prune(shelf: &Path, now: SystemTime) -> Result<(), CacheError> {
    for item in fs::read_dir(shelf).map_err(CacheError::io("list", shelf))? {
        let item = item.map_err(CacheError::io("list", shelf))?;
        let path = item.path();
        let kind = item.file_type().map_err(CacheError::io("look at", &path))?;
        if !kind.is_dir() {
            continue;
        }
        let unfinished = item
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes());
        let used = item
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(CacheError::io("look at", &path))?;
        let unused_for = now.duration_since(used).unwrap_or_default();
        if unfinished || unused_for > UNUSED_MAX {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes an entry. It is renamed first, so an interruption cannot leave half of it under its name.
fn remove(path: &Path) -> Result<(), CacheError> {
    let mut name = std::ffi::OsString::from(UNFINISHED);
    name.push(path.file_name().unwrap_or_default());
    let hidden = path.with_file_name(name);
    fs::rename(path, &hidden).map_err(CacheError::io("rename", path))?;
    fs::remove_dir_all(&hidden).map_err(CacheError::io("remove", &hidden))
}

/// Everything that went into an image, hashed.
///
/// Each field is hashed with its label and its length, so no two different lists of fields give the
/// same fingerprint.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    recipe: String,
    hasher: Sha256,
}

impl Fingerprint {
    /// Starts with the recipe: its name, which is also its directory in the cache, and a version
    /// that changes whenever the recipe would make something else from the same inputs.
    pub fn new(recipe: &str, version: u32) -> Self {
        assert!(
            !recipe.is_empty()
                && recipe
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "a recipe's name is a plain directory name, not {recipe:?}",
        );
        Self {
            recipe: recipe.to_owned(),
            hasher: Sha256::new(),
        }
        .field("recipe", recipe)
        .field("version", version.to_le_bytes())
    }

    /// Adds an input.
    #[must_use]
    pub fn field(mut self, label: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [label.as_bytes(), value.as_ref()] {
            self.hasher.update((part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
        self
    }

    /// Adds content as [`file`](Self::file) adds that of a file.
    #[must_use]
    pub fn content(self, label: &str, content: &[u8]) -> Self {
        self.field(label, Sha256::digest(content))
    }

    /// Adds the content of a file of the host.
    pub fn file(self, label: &str, path: &Path) -> Result<Self, CacheError> {
        let mut hasher = Sha256::new();
        let mut file = File::open(path).map_err(CacheError::io("open", path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file
                .read(&mut buffer)
                .map_err(CacheError::io("read", path))?
            {
                0 => return Ok(self.field(label, hasher.finalize())),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// The recipe's name and the entry's: enough of the hash to be unique, short enough to read.
    pub(crate) fn finish(self) -> (String, String) {
        let hash = self.hasher.finalize();
        (
            self.recipe,
            hash[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests;
