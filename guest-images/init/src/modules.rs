//! The kernel modules that the image brings.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::say;

/// One module a line, in load order: its path and, after a space, its parameters.
const LIST: &str = "/etc/muster/modules";

/// Loads all modules of the list. One that fails is reported and the next one tried: what a machine
/// lacks, its drivers refuse.
pub fn load() {
    let list = match fs::read_to_string(LIST) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return say(&format!("cannot read {LIST}: {error}")),
    };
    for line in list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
        if let Err(error) = load_one(path, parameters) {
            say(&format!("cannot load {path}: {error}"));
        }
    }
}

fn load_one(path: &str, parameters: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let parameters = CString::new(parameters)?;
    match finit_module(&file, &parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
