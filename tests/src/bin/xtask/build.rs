//! Building what a task runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the workspace")
}

/// Cargo, in the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Runs a command to its end; `what` says in an error what was going on.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}

/// A build profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

/// Builds muster's programs, those of its guests and of the lab; gives the directory that they are in.
pub fn programs(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--package",
        "muster",
        "--package",
        "muster-init",
        "--package",
        "muster-tests",
        "--bins",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(&mut command, "building muster")?;
    let own = env::current_exe().context("this program has no path")?;
    let debug = own.parent().context("this program is in no directory")?;
    Ok(match profile {
        Profile::Dev => debug.to_owned(),
        Profile::Release => debug.with_file_name("release"),
    })
}

/// Builds the lab's init alone.
pub fn lab_init() -> Result<()> {
    let arguments = [
        "build",
        "--quiet",
        "--package",
        "muster-tests",
        "--bin",
        "lab-init",
    ];
    run(cargo().args(arguments), "building the lab's init")
}
