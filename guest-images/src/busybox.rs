//! BusyBox: the user space of the small images, one static binary.

use std::fs;
use std::path::PathBuf;

use crate::apt::Apt;
use crate::cache::{Cache, Fingerprint};
use crate::error::ImageError;
use crate::tool::Tool;

const PACKAGE: &str = "busybox-static";

/// A static BusyBox and the names it answers to.
#[derive(Debug, Clone)]
pub struct Busybox {
    /// The binary.
    pub path: PathBuf,
    /// Its applets, `sh` and `mount` among them, in the order of `busybox --list`.
    pub applets: Vec<String>,
}

impl Busybox {
    /// Debian's `busybox-static`.
    pub fn debian(cache: &Cache) -> Result<Self, ImageError> {
        let dir = Apt::with_lists(cache, |apt| {
            let package = apt.package(PACKAGE)?;
            let fingerprint = Fingerprint::new("busybox", 1).field(PACKAGE, &package.sha256);
            cache.entry(fingerprint, |dir| {
                cache.step(&format!("fetching {PACKAGE} {}", package.version));
                let unpacked =
                    tempfile::tempdir_in(dir).map_err(ImageError::io("write to", dir))?;
                apt.unpack(&package, unpacked.path())?;
                let binary = ["usr/bin/busybox", "bin/busybox"]
                    .map(|path| unpacked.path().join(path))
                    .into_iter()
                    .find(|path| path.exists())
                    .ok_or_else(|| ImageError::Layout {
                        package: PACKAGE.to_owned(),
                        file: "bin/busybox".to_owned(),
                    })?;
                fs::rename(&binary, dir.join("busybox"))
                    .map_err(ImageError::io("move", &binary))?;
                let run = Tool::new("busybox", PACKAGE);
                let list =
                    run.output(std::process::Command::new(dir.join("busybox")).arg("--list"))?;
                let path = dir.join("applets");
                fs::write(&path, list).map_err(ImageError::io("write", &path))
            })
        })?;
        let path = dir.join("applets");
        let applets = fs::read_to_string(&path).map_err(ImageError::io("read", &path))?;
        Ok(Self {
            path: dir.join("busybox"),
            applets: applets.lines().map(str::to_owned).collect(),
        })
    }
}
