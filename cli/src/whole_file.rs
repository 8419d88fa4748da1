//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;

/// Writes a file, so that nobody ever finds half of it: what is at `path` is replaced at once.
pub fn replace(path: &Path, content: &str) -> Result<()> {
    write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    // A link stays one, and a device or pipe is written to, not replaced.
    let path = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => fs::canonicalize(path)?,
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => {
            return File::options()
                .write(true)
                .open(path)?
                .write_all(content.as_bytes());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    match create_nameless(&path) {
        Some(file) => write_nameless(file, &path, content),
        None => write_beside(&path, content),
    }
}

/// A new file on the file system of `path` that vanishes with this process unless it gets a name;
/// `None`: the file system has no such files.
fn create_nameless(path: &Path) -> Option<File> {
    let dir = match path.parent()? {
        dir if dir == Path::new("") => Path::new("."),
        dir => dir,
    };
    let flags = OFlag::O_TMPFILE.bits();
    let mut options = File::options();
    options.write(true).custom_flags(flags).open(dir).ok()
}

/// Whoever ends the process meanwhile leaves nothing behind.
fn write_nameless(mut file: File, path: &Path, content: &str) -> io::Result<()> {
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
    let beside = first_free(path, |beside| {
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(AT_FDCWD, open_file.as_str(), AT_FDCWD, beside, follow).map_err(io::Error::from)
    });
    match beside {
        Ok((beside, ())) => rename(&beside, path),
        // Without /proc there is no way to name it.
        Err(_) => write_beside(path, content),
    }
}

fn write_beside(path: &Path, content: &str) -> io::Result<()> {
    let (beside, mut file) = first_free(path, |beside| File::create_new(beside))?;
    let written = file
        .write_all(content.as_bytes())
        .and_then(|()| file.sync_all());
    match written {
        Ok(()) => rename(&beside, path),
        Err(error) => {
            remove(&beside);
            Err(error)
        }
    }
}

fn rename(beside: &Path, path: &Path) -> io::Result<()> {
    fs::rename(beside, path).inspect_err(|_| remove(beside))
}

fn remove(beside: &Path) {
    // What went wrong is more telling than that the rest cannot be removed either.
    let _ = fs::remove_file(beside);
}

/// Takes the first name in the directory of `path` that is free.
fn first_free<T>(path: &Path, take: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    for number in 0..100 {
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}-{number}.part", process::id()));
        let beside = path.with_file_name(beside);
        match take(&beside) {
            Ok(taken) => return Ok((beside, taken)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        replace(&path, "first, and longer").unwrap();
        replace(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn both_ways_of_writing_do_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        let nameless = create_nameless(&path).expect("ordinary file systems have such files");
        // It is there, under no name.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write_nameless(nameless, &path, "first").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        write_nameless(create_nameless(&path).unwrap(), &path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        write_beside(&path, "third").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_stay_links_and_devices_devices() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        let device = dir.path().join("null");
        symlink("/dev/null", &device).unwrap();
        replace(&device, "gone").unwrap();
        assert!(fs::symlink_metadata(&device).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("no/file"), dir.path().to_owned()] {
            let error = format!("{:#}", replace(&path, "x").unwrap_err());
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
