//! Whatever is wrong with what a user asked for: one line that says what, a status that says so too,
//! and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use muster_tests::images::GuestImages;
use muster_tests::place::{RealKvm, in_lab};
use muster_tests::vm::{Ended, VmCommand};

/// Muster could not do what it was asked to.
const FAILURE: i32 = 1;
/// The command line makes no sense.
const USAGE: i32 = 2;

/// Checks that muster ends at once with `status` and one line that has `word` in it.
#[track_caller]
fn refuses(what: &str, command: VmCommand, status: i32, word: &str) {
    let Ended {
        status: actual,
        console,
        stderr,
    } = command.run();
    assert_eq!(actual, status, "{what}: {stderr}");
    assert_eq!(console, "", "{what}");
    assert!(
        stderr.contains(word),
        "{what}: {stderr:?} does not say {word:?}"
    );
    // Clap adds a hint to its line.
    if status == FAILURE {
        assert_eq!(stderr.trim_end().lines().count(), 1, "{what}: {stderr:?}");
        assert!(stderr.starts_with("muster: "), "{what}: {stderr:?}");
    }
    for noise in ["panicked", "RUST_BACKTRACE", "Os {"] {
        assert!(!stderr.contains(noise), "{what}: {stderr:?}");
    }
}

/// Files to misuse.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn list(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

#[test]
fn kernels_and_initrds() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        let vmlinux = fs::read(&images.vmlinux).unwrap();
        let vmlinuz = fs::read(&images.vmlinuz).unwrap();
        let kernel = |path: &Path| VmCommand::bare().arg("--kernel", path);

        let missing = files.path("missing");
        refuses("missing kernel", kernel(&missing), FAILURE, "missing");
        refuses(
            "directory as kernel",
            kernel(files.dir.path()),
            FAILURE,
            "directory",
        );
        let empty = files.with("empty", "");
        refuses("empty kernel", kernel(&empty), FAILURE, "empty");
        let text = files.with("text", "#!/bin/sh\necho not a kernel\n".repeat(1000));
        refuses("script as kernel", kernel(&text), FAILURE, "text");
        for (name, image) in [("elf", &vmlinux), ("bzimage", &vmlinuz)] {
            for len in [20, 600, image.len() / 2] {
                let path = files.with(name, &image[..len]);
                refuses(
                    &format!("{name} of {len} bytes"),
                    kernel(&path),
                    FAILURE,
                    name,
                );
            }
        }
        let mut elf32 = vmlinux.clone();
        elf32[4] = 1;
        let path = files.with("elf32", &elf32);
        refuses("32-bit kernel", kernel(&path), FAILURE, "elf32");
        let mut arm = vmlinux.clone();
        arm[18..20].copy_from_slice(&183_u16.to_le_bytes());
        let path = files.with("arm64", &arm);
        refuses(
            "another processor's kernel",
            kernel(&path),
            FAILURE,
            "arm64",
        );

        let with_initrd = |path: &Path| kernel(&images.vmlinux).arg("--initrd", path);
        refuses("missing initrd", with_initrd(&missing), FAILURE, "missing");
        refuses(
            "directory as initrd",
            with_initrd(files.dir.path()),
            FAILURE,
            "directory",
        );
        let large = files.with("large", "");
        fs::File::options()
            .write(true)
            .open(&large)
            .unwrap()
            .set_len(200 << 20)
            .unwrap();
        let command = with_initrd(&large).arg("--memory", "128M");
        refuses("initrd larger than memory", command, FAILURE, "large");
        let command = VmCommand::debian(&images).arg("--cmdline", "x".repeat(5000));
        refuses("long command line", command, FAILURE, "command line");
    });
}

#[test]
fn numbers_and_words() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        for (name, value) in [
            ("--cpus", "0"),
            ("--cpus", "65"),
            ("--cpus", "two"),
            ("--memory", "63M"),
            ("--memory", "0"),
            ("--memory", "99999999T"),
            ("--memory", "much"),
            ("--disk", ""),
            ("--disk", "x,rw"),
            ("--console", "printer"),
            ("--on-reboot", "dance"),
            ("--frobnicate", "1"),
        ] {
            let command = VmCommand::debian(&images).arg(name, value);
            refuses(&format!("{name} {value}"), command, USAGE, name);
        }
        refuses("no kernel", VmCommand::bare(), USAGE, "--kernel");
    });
}

#[test]
fn disks_and_consoles() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        let disk = files.with("disk", vec![0; 1 << 20]);
        let before = files.list();
        let debian = || VmCommand::debian(&images).arg("--memory", "128M");
        let text = |path: &Path| path.to_str().unwrap().to_owned();

        let missing = files.path("missing");
        refuses(
            "missing disk",
            debian().arg("--disk", &missing),
            FAILURE,
            "missing",
        );
        let directory = files.dir.path();
        refuses(
            "directory as disk",
            debian().arg("--disk", directory),
            FAILURE,
            &text(directory),
        );
        let null = debian().arg("--disk", "/dev/null");
        refuses("character device as disk", null, FAILURE, "/dev/null");
        let nowhere = format!("file={}/no/log", directory.display());
        refuses(
            "console in no directory",
            debian().arg("--console", nowhere),
            FAILURE,
            "no/log",
        );
        let twice = debian().arg("--disk", &disk).arg("--disk", &disk);
        refuses("one disk twice", twice, FAILURE, "disk");
        assert_eq!(files.list(), before, "something was left behind");

        let mut first = debian()
            .arg("--disk", &disk)
            .exec("echo ready; sleep 1000")
            .start();
        first.expect("ready");
        let holder = first.pid().to_string();
        refuses(
            "disk in use",
            debian().arg("--disk", &disk),
            FAILURE,
            &holder,
        );
        let reader = format!("{},ro", disk.display());
        refuses(
            "disk in use, to read",
            debian().arg("--disk", reader),
            FAILURE,
            &holder,
        );
    });
}

/// Root may write to any file, so this needs someone else.
#[test]
fn files_without_permission() {
    RealKvm::new().as_user().run(|| {
        let images = GuestImages::here().unwrap();
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let read_only = files.with("read-only", vec![0; 1 << 20]);
        mode(&read_only, 0o444);
        let command = VmCommand::debian(&images).arg("--disk", &read_only);
        refuses(
            "read-only file as writable disk",
            command,
            FAILURE,
            "read-only",
        );
        let secret = files.with("secret", "x");
        mode(&secret, 0);
        refuses(
            "kernel without permission",
            VmCommand::bare().arg("--kernel", &secret),
            FAILURE,
            "secret",
        );
    });
}

/// Changes the lab's own `/dev/kvm`, which no other host would like.
#[test]
fn kvm_that_is_absent_or_forbidden() {
    RealKvm::new().in_lab_only().run(|| {
        assert!(in_lab());
        let images = GuestImages::here().unwrap();
        let debian = || VmCommand::debian(&images);
        let (device, aside) = ("/dev/kvm", "/dev/kvm-aside");
        fs::rename(device, aside).unwrap();
        refuses("no /dev/kvm", debian(), FAILURE, device);
        fs::write(device, "").unwrap();
        refuses("a file as /dev/kvm", debian(), FAILURE, device);
        fs::remove_file(device).unwrap();
        fs::rename(aside, device).unwrap();
        fs::set_permissions(device, fs::Permissions::from_mode(0o600)).unwrap();
        let user = debian().as_nobody();
        refuses("/dev/kvm without permission", user, FAILURE, device);
    });
}
