//! What the integration tests and the developers' commands share: the lab host, guests under test,
//! and terminals.

use std::env;
use std::path::PathBuf;

pub mod boot_timing;
pub mod child;
pub mod disk_workload;
pub mod fuzz;
pub mod images;
pub mod lab;
pub mod ordinary;
pub mod place;
pub mod sched_pages;
pub mod terminal;
pub mod vm;

/// A program of this workspace, built into the same directory as the program that is running. If it
/// is not there, the error is where it was expected.
pub fn built_program(name: &str) -> Result<PathBuf, PathBuf> {
    let own = env::current_exe().unwrap_or_default();
    let mut dir = own.parent().map(PathBuf::from).unwrap_or_default();
    // Tests are built one level deeper than programs.
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    if path.is_file() { Ok(path) } else { Err(path) }
}

/// Whether tests run in their long form.
pub fn is_long() -> bool {
    env::var_os("MUSTER_LONG").is_some()
}
