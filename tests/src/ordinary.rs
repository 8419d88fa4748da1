//! A user who may do nothing that not everyone may, except to open `/dev/kvm`.
//!
//! Problem: tests run as root, for whom everything works. What ordinary users meet has to be met by
//! one, who must get at the program, at a guest and at `/dev/kvm`, whatever their modes are here.
//!
//! Approach: the program is copied to a directory that everybody may read. Whatever this user starts
//! has a view of its own of the file system (a mount namespace), in which `/dev/kvm` is a node of the
//! same device that everybody may open. The host's own is not touched.
#![expect(
    unsafe_code,
    reason = "Command::pre_exec is unsafe: its closure runs in a forked process"
)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, mknod, umask};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::child::become_user;
use crate::place::muster;

/// User and group of nobody.
const NOBODY: u32 = 65_534;

/// See the module's head. Its directory goes with it.
#[derive(Debug)]
pub struct Ordinary {
    dir: TempDir,
    program: PathBuf,
}

impl Ordinary {
    /// One, if this test may make one up: it takes root, with leave to mount and to make nodes.
    pub fn new() -> io::Result<Self> {
        if !geteuid().is_root() {
            return Err(io::Error::other("only root can become another user"));
        }
        let dir = tempfile::tempdir()?;
        chown(dir.path(), Some(NOBODY), Some(NOBODY))?;
        let program = dir.path().join("muster");
        fs::copy(muster(), &program)?;
        fs::create_dir(dir.path().join("dev"))?;
        let user = Self { dir, program };
        // What is missing shows here rather than in the midst of a test.
        let kvm = user
            .run_as(Path::new("/bin/sh"))
            .arg("-c")
            .arg("exec 3<>/dev/kvm")
            .output()?;
        if !kvm.status.success() {
            let said = String::from_utf8_lossy(&kvm.stderr).into_owned();
            return Err(io::Error::other(format!("cannot open /dev/kvm: {said}")));
        }
        Ok(user)
    }

    /// A directory of this user's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Gives this user a directory.
    pub fn own(&self, dir: &Path) -> io::Result<()> {
        chown(dir, Some(NOBODY), Some(NOBODY))
    }

    /// Copies a file to where this user can read it.
    pub fn take(&self, file: &Path) -> io::Result<PathBuf> {
        let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let own = self.dir.path().join(name);
        fs::copy(file, &own)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o644))?;
        Ok(own)
    }

    /// `muster`, run by this user.
    pub fn command(&self) -> Command {
        self.run_as(&self.program)
    }

    fn run_as(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_remove("XDG_RUNTIME_DIR");
        let dev = self.dir.path().join("dev");
        let [dev, node] = [dev.clone(), dev.join("kvm")]
            .map(|path| CString::new(path.as_os_str().as_bytes()).expect("no path has a NUL"));
        let device = fs::metadata("/dev/kvm").map_or(0, |kvm| kvm.rdev());
        let none: Option<&str> = None;
        let set_up = move || -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
            mount(none, dev.as_c_str(), Some("tmpfs"), MsFlags::empty(), none)?;
            let before = umask(Mode::empty());
            mknod(
                node.as_c_str(),
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o666),
                device,
            )?;
            umask(before);
            mount(
                Some(node.as_c_str()),
                "/dev/kvm",
                none,
                MsFlags::MS_BIND,
                none,
            )?;
            for limit in [Resource::RLIMIT_RTPRIO, Resource::RLIMIT_NICE] {
                setrlimit(limit, 0, 0)?;
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
        unsafe { command.pre_exec(set_up) };
        become_user(&mut command, NOBODY.into(), NOBODY.into(), NOBODY.into());
        command
    }
}
