//! The directory in which a node manager's sockets are.
//!
//! Problem: whoever can put a socket where VMs and people look for it is their node manager. And two
//! node managers would close each other's gates.
//!
//! Approach: the directory belongs to this user and nobody else writes to it, or it is refused. Whoever
//! holds a lock on a file in it is the node manager. The kernel drops the lock with the process,
//! however that ends, so sockets that are found under the lock are a dead one's, and are removed.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where VMs join.
const NODE_SOCKET: &str = "node.sock";
/// Where people and programs ask.
const API_SOCKET: &str = "api.sock";
/// Who is the node manager.
const LOCK: &str = "lock";

/// A directory cannot be used, or is in use.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// It cannot be made.
    #[error("cannot create the directory {}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Look {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{} is no directory: give another one", path.display())]
    NotADirectory {
        /// Which.
        path: PathBuf,
    },
    /// It is somebody else's.
    #[error("{} belongs to user {uid}: give a directory of your own", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Others could put their own sockets there.
    #[error("others may write to {}: take that from them with chmod go-w", path.display())]
    Writable {
        /// Which.
        path: PathBuf,
    },
    /// The lock cannot be taken.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one.
    #[error("a node manager is running already{}", pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Running {
        /// Its process.
        pid: Option<u32>,
    },
    /// Something that is no socket has a socket's name, or a socket cannot be removed.
    #[error("{} is in the way: remove it", path.display())]
    InTheWay {
        /// Which.
        path: PathBuf,
        /// Why it was not removed.
        source: io::Error,
    },
}

/// A directory that is this process's until it is dropped. Then its sockets are removed.
#[derive(Debug)]
pub struct NodeDirectory {
    path: PathBuf,
    /// Locked.
    lock: File,
}

/// Where the node manager with this directory is asked.
pub fn api_socket(directory: &Path) -> PathBuf {
    directory.join(API_SOCKET)
}

/// Whether nobody but this user can put anything there.
pub fn check(path: &Path) -> Result<(), DirectoryError> {
    let found = fs::symlink_metadata(path).map_err(|source| DirectoryError::Look {
        path: path.to_owned(),
        source,
    })?;
    let path = || path.to_owned();
    if !found.is_dir() {
        return Err(DirectoryError::NotADirectory { path: path() });
    }
    let uid = found.uid();
    if uid != nix::unistd::geteuid().as_raw() {
        return Err(DirectoryError::Foreign { path: path(), uid });
    }
    if found.mode() & 0o022 != 0 {
        return Err(DirectoryError::Writable { path: path() });
    }
    Ok(())
}

impl NodeDirectory {
    /// Makes the directory if there is none, and becomes its node manager.
    pub fn claim(path: &Path) -> Result<Self, DirectoryError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(DirectoryError::Create {
                    path: path.to_owned(),
                    source,
                });
            }
            _ => check(path)?,
        }
        let directory = Self {
            path: path.to_owned(),
            lock: lock(&path.join(LOCK))?,
        };
        directory.remove_sockets()?;
        Ok(directory)
    }

    /// Where VMs join.
    pub fn node_socket(&self) -> PathBuf {
        self.path.join(NODE_SOCKET)
    }

    /// Where people and programs ask.
    pub fn api_socket(&self) -> PathBuf {
        api_socket(&self.path)
    }

    fn remove_sockets(&self) -> Result<(), DirectoryError> {
        for path in [self.node_socket(), self.api_socket()] {
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.file_type().is_socket() => fs::remove_file(&path),
                Ok(_) => Err(io::Error::other("it is no socket")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            removed.map_err(|source| DirectoryError::InTheWay { path, source })?;
        }
        Ok(())
    }
}

impl Drop for NodeDirectory {
    fn drop(&mut self) {
        // Who comes next removes what stays.
        let _ = self.remove_sockets();
        // The file stays: another process may have opened it and wait to lock it.
        let _ = self.lock.set_len(0);
    }
}

/// Takes the lock and leaves our process's number there.
fn lock(path: &Path) -> Result<File, DirectoryError> {
    let failed = |source| DirectoryError::Lock {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Without the number the message still says what matters.
            let _ = file.take(16).read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(DirectoryError::Running { pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let number = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(number.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
