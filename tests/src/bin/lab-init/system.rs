//! What has to be there before a command can run: file systems, modules, devices, a network.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// Where the initramfs has its modules, a folder for each group.
const MODULES: &str = "/lib/modules";

/// Group kvm in the lab's `/etc/group`.
pub const KVM_GROUP: u32 = 104;

/// Type, place and options of each file system, in the order in which they are mounted.
const MOUNTS: [(&str, &str, &str); 8] = [
    ("devtmpfs", "/dev", "mode=755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", ""),
];

/// Mounts the kernel's file systems and the temporary ones.
pub fn mount_all() -> Result<()> {
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            Some(options),
        )
        .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/etc/mtab", "/proc/mounts"),
    ] {
        symlink(target, link).with_context(|| format!("cannot make {link}"))?;
    }
    Ok(())
}

/// Loads all modules that the initramfs holds: each group in the order of its names, the groups at
/// the same time, as emulated processors are slow.
pub fn load_modules() -> Result<()> {
    thread::scope(|scope| {
        let loaders: Vec<_> = sorted(Path::new(MODULES))?
            .into_iter()
            .map(|group| scope.spawn(move || load_group(&group)))
            .collect();
        loaders
            .into_iter()
            .try_for_each(|loader| loader.join().expect("loading a module does not panic"))
    })
}

fn load_group(group: &Path) -> Result<()> {
    for path in sorted(group)? {
        let file = File::open(&path)?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // Two groups may need the same module.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot load {}", path.display()));
            }
        }
        // Modules stay in the kernel; their files only take memory.
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Names the machine, opens `/dev/kvm` to its group and brings the loopback network up.
pub fn prepare() -> Result<()> {
    nix::unistd::sethostname("lab")?;
    for (device, mode) in [("/dev/kvm", 0o660), ("/dev/net/tun", 0o666)] {
        chown(device, Some(0), Some(KVM_GROUP)).with_context(|| format!("{device}: no owner"))?;
        fs::set_permissions(device, Permissions::from_mode(mode))?;
    }
    chown("/home/user", Some(1000), Some(1000))?;
    let status = Command::new("/bin/busybox")
        .args(["ip", "link", "set", "lo", "up"])
        .status()?;
    ensure!(status.success(), "cannot bring up the loopback network");
    Ok(())
}
