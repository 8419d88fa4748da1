//! The guest's console on the host: a terminal in raw mode, a file, or nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

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
    File(File),
}

impl Console {
    /// Opens what `spec` names. A file is created, or emptied.
    pub fn open(spec: &ConsoleSpec) -> Result<Self, ConsoleError> {
        let (output, reads_stdin) = match spec {
            ConsoleSpec::Null => (Output::Null, false),
            ConsoleSpec::Tty => {
                // A second handle: the guest's bytes go out unbuffered, past Rust's line buffer.
                let stdout = duplicate_stdout().map_err(ConsoleError::Stdio)?;
                (Output::File(stdout), true)
            }
            ConsoleSpec::File(path) => {
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(path)
                    .map_err(|source| ConsoleError::File {
                        path: path.clone(),
                        source,
                    })?;
                (Output::File(file), false)
            }
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

    /// Where the serial port writes to.
    pub fn writer(&self) -> Result<Box<dyn Write + Send>, ConsoleError> {
        Ok(match &self.output {
            Output::Null => Box::new(io::sink()),
            Output::File(file) => Box::new(file.try_clone().map_err(ConsoleError::Stdio)?),
        })
    }
}

fn duplicate_stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}
