//! The words of the kernel command line that are meant for the first process.
//!
//! - `muster.exec=COMMAND`: run COMMAND with the shell, then power off with its status.
//! - `muster.root=DEVICE`: go over to the system on this block device.
//!
//! Problem: a shell command has spaces, quotes and more, while the kernel splits its command line at
//! spaces, knows double quotes but no way to escape one, and its boot loaders have tastes of their
//! own.
//!
//! Approach: COMMAND is percent-encoded as in URLs, see [`encode`]. Everything that is not `%XX`
//! stands for itself, so a person may also write `muster.exec="uname -a"` by hand; only `%` must
//! then be written `%25`. Of a word that is given twice the last one counts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use thiserror::Error;

/// Before the command to run.
const EXEC: &[u8] = b"muster.exec=";
/// Before the device with the system to go over to.
const ROOT: &[u8] = b"muster.root=";

/// What the command line asks the first process to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The command to run.
    pub exec: Option<OsString>,
    /// The device with the system to go over to.
    pub root: Option<PathBuf>,
}

/// A command line that makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CmdlineError {
    /// A percent sign without two hexadecimal digits after it.
    #[error("muster.exec: {0:?} is not a percent-encoded byte (a percent sign itself is %25)")]
    Escape(String),
    /// A NUL byte, which no command can have.
    #[error("muster.exec: the command has a NUL byte in it")]
    Nul,
}

/// The word of the kernel command line that has the guest run `command`.
///
/// Linux takes 2,047 bytes for the whole line.
pub fn exec(command: impl AsRef<[u8]>) -> String {
    format!("muster.exec={}", encode(command))
}

/// The word of the kernel command line that has the guest go over to the system on `device`.
pub fn root(device: &str) -> String {
    format!("muster.root={device}")
}

/// Percent-encodes all but ASCII letters, digits and a few signs that mean nothing to anyone.
pub fn encode(command: impl AsRef<[u8]>) -> String {
    let mut word = String::new();
    for &byte in command.as_ref() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'/' | b'-' | b':' => {
                word.push(char::from(byte));
            }
            _ => word.push_str(&format!("%{byte:02X}")),
        }
    }
    word
}

/// Undoes [`encode`].
pub fn decode(word: &[u8]) -> Result<Vec<u8>, CmdlineError> {
    let mut command = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (digit(*high) << 4 | digit(*low), tail)
            }
            (b'%', _) => {
                let shown = &rest[..rest.len().min(3)];
                return Err(CmdlineError::Escape(
                    String::from_utf8_lossy(shown).into_owned(),
                ));
            }
            (byte, tail) => (*byte, tail),
        };
        if byte == 0 {
            return Err(CmdlineError::Nul);
        }
        command.push(byte);
        rest = tail;
    }
    Ok(command)
}

/// The value of a hexadecimal digit.
fn digit(ascii: u8) -> u8 {
    match ascii {
        b'0'..=b'9' => ascii - b'0',
        _ => (ascii | 0x20) - b'a' + 10,
    }
}

/// Finds the words meant for the first process in the content of `/proc/cmdline`.
pub fn parse(line: &[u8]) -> Result<Request, CmdlineError> {
    let mut request = Request::default();
    for word in words(line) {
        if let Some(value) = word.strip_prefix(EXEC) {
            request.exec = Some(OsString::from_vec(decode(value)?));
        } else if let Some(value) = word.strip_prefix(ROOT) {
            request.root = Some(OsString::from_vec(value.to_vec()).into());
        }
    }
    Ok(request)
}

/// Splits the line as the kernel does: at white space outside of double quotes. The quotes
/// themselves go.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut quoted = false;
    for &byte in line {
        match byte {
            b'"' => quoted = !quoted,
            _ if byte.is_ascii_whitespace() && !quoted => words.push(Vec::new()),
            _ => words
                .last_mut()
                .expect("there is always a last word")
                .push(byte),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests;
