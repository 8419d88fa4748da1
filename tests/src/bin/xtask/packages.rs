//! Programs that come from Debian packages, installed when they are missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program, or the path of another file, and the package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    program: &'static str,
    package: &'static str,
}

/// The lab host's emulator.
pub const QEMU: Tool = tool("qemu-system-x86_64", "qemu-system-x86");

/// What tests run, beside what makes images.
pub const FOR_TESTS: [Tool; 3] = [
    QEMU,
    // Checks ACPI tables.
    tool("iasl", "acpica-tools"),
    // Unpacks what is packed here.
    tool("cpio", "cpio"),
];

/// Compiles libFuzzer.
pub const CXX: Tool = tool("g++", "g++");

/// What compiles the minimal kernel, beside what the recipes for images run.
pub const FOR_MINIMAL_KERNEL: [Tool; 6] = [
    tool("bc", "bc"),
    tool("bison", "bison"),
    tool("flex", "flex"),
    tool("gcc", "gcc"),
    tool("/usr/include/libelf.h", "libelf-dev"),
    tool("make", "make"),
];

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Makes sure that `tools` are there, installing their packages if need be.
pub fn ensure_installed(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .map(|tool| tool.package)
        .collect();
    install(&missing)
}

/// Installs packages.
pub fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let Some(become_root) = way_to_root() else {
        bail!("these packages are missing: as root, run `apt-get install {list}`");
    };
    eprintln!("xtask: installing {list}");
    if !apt_get(become_root, &["install"], missing)? {
        // Fresh machines have no package lists, old ones name files that are gone.
        ensure!(
            apt_get(become_root, &["update"], &[])?,
            "`apt-get update` failed"
        );
        ensure!(
            apt_get(become_root, &["install"], missing)?,
            "`apt-get install {list}` failed"
        );
    }
    Ok(())
}

/// Where `program` is. The administrator's directories are searched as well: they are not in every
/// user's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// What to put before a command that needs root, or `None` if we cannot become root unasked.
fn way_to_root() -> Option<&'static [&'static str]> {
    if nix::unistd::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stderr(Stdio::null())
        .status();
    sudo.is_ok_and(|status| status.success())
        .then_some(&["sudo", "-n"])
}

fn apt_get(become_root: &[&str], action: &[&str], packages: &[&str]) -> Result<bool> {
    let mut words = become_root.iter().chain(&["apt-get"]);
    let mut command = Command::new(words.next().expect("there is apt-get at least"));
    command
        .args(words)
        .args(["--quiet", "--yes", "--no-install-recommends"]);
    command.args(action).args(packages);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    // Standard output belongs to the command that needs the packages.
    command.stdout(std::io::stderr());
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "packages are missing, and this is not Debian"
    );
    let status = command.status().context("cannot start apt-get")?;
    Ok(status.success())
}
