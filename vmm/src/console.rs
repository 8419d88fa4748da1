//! The guest's console on the host: a terminal in raw mode, a file, or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;

use crate::spec::ConsoleSpec;

pub mod escape;
pub mod terminal;

/// The console cannot be opened.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// The file of `--console file=PATH`.
    #[error("cannot write the console to {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// The console would overwrite something that the guest needs.
    #[error("the console cannot go to {}: the guest uses this file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Standard input or output.
    #[error("cannot use standard input and output as console")]
    Stdio(#[source] io::Error),
}

/// An opened console. It outlives restarts of the guest.
#[derive(Debug)]
pub struct Console {
    output: Output,
    reads_stdin: bool,
}

#[derive(Debug)]
enum Output {
    Null,
    Stdout(File),
    File {
        file: File,
        path: PathBuf,
        /// Made by [`Console::open`], and not yet written to: goes again if the guest never starts.
        fresh: bool,
    },
}

impl Console {
    /// Opens what `spec` names, unless it is one of the files in `taken`. An existing file keeps its
    /// content until [`begin`](Self::begin).
    pub fn open(spec: &ConsoleSpec, taken: &[&Path]) -> Result<Self, ConsoleError> {
        let (output, reads_stdin) = match spec {
            ConsoleSpec::Null => (Output::Null, false),
            ConsoleSpec::Tty => {
                // A second handle: the guest's bytes go out unbuffered, past Rust's line buffer.
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                let stdout = stdout.map_err(ConsoleError::Stdio)?.into();
                (Output::Stdout(stdout), true)
            }
            ConsoleSpec::File(path) => (open_file(path, taken)?, false),
        };
        Ok(Self {
            output,
            reads_stdin,
        })
    }

    /// Whether the guest reads standard input.
    pub fn reads_stdin(&self) -> bool {
        self.reads_stdin
    }

    /// Empties the file: the guest is about to start.
    pub fn begin(&mut self) -> Result<(), ConsoleError> {
        let Output::File { file, path, fresh } = &mut self.output else {
            return Ok(());
        };
        *fresh = false;
        match file.set_len(0) {
            // Pipes and devices have no length.
            Err(error) if error.kind() != ErrorKind::InvalidInput => Err(ConsoleError::File {
                path: path.clone(),
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Where the serial port writes to. Once `stop` is set, a write that a signal interrupts is given
    /// up: a terminal or pipe that does not drain must not keep a vCPU from being stopped.
    pub fn writer(&self, stop: Arc<AtomicBool>) -> Result<Box<dyn Write + Send>, ConsoleError> {
        let (Output::Stdout(file) | Output::File { file, .. }) = &self.output else {
            return Ok(Box::new(io::sink()));
        };
        let file = file.try_clone().map_err(ConsoleError::Stdio)?;
        Ok(Box::new(ConsoleWriter { file, stop }))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Output::File {
            path, fresh: true, ..
        } = &self.output
        {
            // It was made by us a moment ago and nothing is in it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens a file without emptying it, and a pipe without waiting for its reader.
fn open_file(path: &Path, taken: &[&Path]) -> Result<Output, ConsoleError> {
    let error = |source| ConsoleError::File {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let (file, fresh) = match options.clone().create_new(true).open(path) {
        Ok(file) => (file, true),
        Err(found) if found.kind() == ErrorKind::AlreadyExists => {
            (options.open(path).map_err(error)?, false)
        }
        Err(other) => return Err(error(other)),
    };
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let own = identity(file.metadata().map_err(error)?);
    if taken
        .iter()
        .any(|path| fs::metadata(path).is_ok_and(|meta| identity(meta) == own))
    {
        return Err(ConsoleError::InUse {
            path: path.to_owned(),
        });
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| error(errno.into()))?;
    Ok(Output::File {
        file,
        path: path.to_owned(),
        fresh,
    })
}

struct ConsoleWriter {
    file: File,
    stop: Arc<AtomicBool>,
}

impl Write for ConsoleWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            // `Interrupted` would make the caller try again.
            Err(error)
                if error.kind() == ErrorKind::Interrupted && self.stop.load(Ordering::SeqCst) =>
            {
                Err(io::Error::other("the VM is being stopped"))
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
