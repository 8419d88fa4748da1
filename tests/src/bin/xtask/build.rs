//! Building what a task runs.

use std::env;
use std::io::{self, IsTerminal};
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

/// Packages whose programs tasks and tests run: muster, its guests' init, and this one.
const PACKAGES: [&str; 6] = [
    "--package",
    "muster",
    "--package",
    "muster-init",
    "--package",
    "muster-tests",
];

/// Builds all programs; gives the directory that they are in.
pub fn programs() -> Result<PathBuf> {
    run(build().args(PACKAGES).arg("--bins"), "building muster")?;
    own_dir()
}

/// Builds optimised forms of some programs; gives the directory that they are in.
pub fn optimised(names: &[&str]) -> Result<PathBuf> {
    let mut command = build();
    command.args(PACKAGES).arg("--release");
    for name in names {
        command.args(["--bin", name]);
    }
    run(&mut command, "building muster")?;
    Ok(own_dir()?.with_file_name("release"))
}

/// Builds the lab's init alone.
pub fn lab_init() -> Result<()> {
    let arguments = ["--package", "muster-tests", "--bin", "lab-init"];
    run(build().args(arguments), "building the lab's init")
}

/// A build that tells a person how far it is, and others only what goes wrong.
fn build() -> Command {
    let mut command = cargo();
    command.arg("build");
    if !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    command
}

/// Where the programs of this build are, this one among them.
fn own_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("this program has no path")?;
    Ok(own
        .parent()
        .context("this program is in no directory")?
        .to_owned())
}
