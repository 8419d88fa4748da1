//! The benchmark guest, compiled from its source in `guest-images/bench-guest`.
//!
//! It is a workspace of its own, with a way of panicking and of linking that suit no other program, so
//! cargo builds it apart. It has no dependency but our own `guest-page`: nothing is fetched.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::tool::{CARGO, RUSTC};

const NAME: &str = "bench-guest";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What goes into it, from the root of the project.
const SOURCES: [&str; 7] = [
    ".cargo/config.toml",
    "Cargo.toml",
    "guest-images/bench-guest/.cargo",
    "guest-images/bench-guest/build.rs",
    "guest-images/bench-guest/link.ld",
    "guest-images/bench-guest/src",
    "guest-page",
];
const MANIFESTS: [&str; 2] = [
    "guest-images/bench-guest/Cargo.toml",
    "guest-images/bench-guest/Cargo.lock",
];

/// What the caller's own build may have set, and must not reach this one.
const BUILD_VARIABLES: [&str; 7] = [
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// The benchmark guest.
#[derive(Debug, Clone)]
pub struct BenchGuest {
    /// A static ELF file that boots like a kernel.
    pub path: PathBuf,
}

impl BenchGuest {
    /// Compiles it, unless the same source has been compiled before.
    pub fn build(cache: &Cache) -> Result<Self, ImageError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("this package is a folder of the project");
        let package = root.join("guest-images").join(NAME);
        let compiler = RUSTC.output(RUSTC.command().current_dir(&package).arg("-vV"))?;
        let mut fingerprint = Fingerprint::new(NAME, 1).field("compiler", compiler);
        for source in SOURCES.iter().chain(&MANIFESTS) {
            fingerprint = add(fingerprint, source, &root.join(source))?;
        }
        let dir = cache.entry(fingerprint, |dir| {
            cache.step("compiling the benchmark guest");
            compile(&package, dir)
        })?;
        Ok(Self {
            path: dir.join(NAME),
        })
    }
}

/// Adds a file, or all files below a directory in the order of their names.
fn add(fingerprint: Fingerprint, label: &str, path: &Path) -> Result<Fingerprint, ImageError> {
    if !path.is_dir() {
        return Ok(fingerprint.file(label, path)?);
    }
    let mut names = fs::read_dir(path)
        .and_then(|items| {
            items
                .map(|item| item.map(|item| item.file_name()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(ImageError::io("list", path))?;
    names.sort_unstable();
    names.iter().try_fold(fingerprint, |fingerprint, name| {
        let label = format!("{label}/{}", name.to_string_lossy());
        add(fingerprint, &label, &path.join(name))
    })
}

fn compile(package: &Path, dir: &Path) -> Result<(), ImageError> {
    let target = tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
    let mut command = CARGO.command();
    // Cargo reads the package's own configuration only from there.
    command
        .current_dir(package)
        .args(["build", "--release", "--locked", "--offline", "--quiet"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target.path());
    for variable in BUILD_VARIABLES {
        command.env_remove(variable);
    }
    CARGO.output(&mut command)?;
    let made = target.path().join(TARGET).join("release").join(NAME);
    fs::rename(&made, dir.join(NAME)).map_err(ImageError::io("move", &made))
}
