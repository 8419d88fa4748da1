//! What a guest writes to its disk is there, whole, at its place, and durable when the guest was told
//! so.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use muster_tests::disk_workload::{BLOCK_LEN, Reference, Workload};
use muster_tests::images::GuestImages;
use muster_tests::is_long;
use muster_tests::place::RealKvm;
use muster_tests::vm::{Ended, PATIENCE, VmCommand};

const MIB: u64 = 1 << 20;

fn make_disk(path: &Path, len: u64) {
    File::create(path).unwrap().set_len(len).unwrap();
}

/// Runs a command in a guest that has the disk.
fn run_with_disk(images: &GuestImages, disk: &str, command: &str) -> Ended {
    let ended = VmCommand::debian(images)
        .arg("--memory", "256M")
        .arg("--disk", disk)
        .exec(command)
        .run();
    assert_eq!(ended.status, 0, "{}{}", ended.console, ended.stderr);
    ended
}

fn checksum(console: &str) -> &str {
    let word = console
        .split_whitespace()
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    word.unwrap_or_else(|| panic!("no checksum on the console: {console}"))
}

/// Two guests after each other, so that nothing comes out of a cache.
#[test]
fn files_survive_a_remount() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        make_disk(&path, 64 * MIB);
        let disk = path.to_str().unwrap();
        let written = run_with_disk(
            &images,
            disk,
            "set -e; mke2fs /dev/vda >/dev/null; mount -t ext2 /dev/vda /mnt; \
             dd if=/dev/urandom of=/mnt/file bs=64k count=256 2>/dev/null; \
             sha256sum /mnt/file; sync; umount /mnt",
        );
        let read = run_with_disk(
            &images,
            &format!("{disk},ro"),
            "set -e; mount -t ext2 -o ro /dev/vda /mnt; sha256sum /mnt/file",
        );
        assert_eq!(checksum(&written.console), checksum(&read.console));
    });
}

/// A guest that is killed right after `sync` has returned loses nothing.
#[test]
fn synced_files_survive_a_kill() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        make_disk(&path, 64 * MIB);
        let disk = path.to_str().unwrap();
        let mut vm = VmCommand::debian(&images)
            .arg("--memory", "256M")
            .arg("--disk", disk)
            .exec(
                "set -e; mke2fs /dev/vda >/dev/null; mount -t ext2 /dev/vda /mnt; \
                 dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null; sync; \
                 sha256sum /mnt/file; echo synced; sleep 1000",
            )
            .start();
        let written = vm.expect("synced");
        drop(vm);
        let read = run_with_disk(
            &images,
            disk,
            "set -e; mount -t ext2 /dev/vda /mnt; sha256sum /mnt/file",
        );
        assert_eq!(checksum(&written), checksum(&read.console));
    });
}

/// A kernel build's worth of random I/O, against a reference that the guest follows while it works and
/// the host afterwards.
#[test]
fn random_io_against_a_reference() {
    let limit = PATIENCE * if is_long() { 20 } else { 4 };
    RealKvm::new().timeout(2 * limit).run(|| {
        const SEED: u64 = 20_261_121;
        const BLOCKS: u32 = 65_536;
        let operations = if is_long() { 400_000 } else { 20_000 };
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let initramfs = dir.path().join("initramfs.cpio");
        images
            .write_with_program(&initramfs, &images.guest_io)
            .unwrap();
        let path = dir.path().join("disk.raw");
        make_disk(&path, u64::from(BLOCKS) * BLOCK_LEN as u64);
        let mut vm = VmCommand::bare()
            .arg("--kernel", &images.vmlinux)
            .arg("--initrd", &initramfs)
            .arg("--cmdline", "quiet")
            .arg("--cpus", "2")
            .arg("--disk", path.to_str().unwrap())
            .exec(&format!("guest-io /dev/vda {SEED} {BLOCKS} {operations}"))
            .start();
        let ended = vm.wait_within(limit);
        assert_eq!(ended.status, 0, "{}{}", ended.console, ended.stderr);

        let mut reference = Reference::new(SEED, BLOCKS);
        Workload::new(SEED, BLOCKS)
            .take(operations)
            .for_each(|operation| reference.apply(&operation));
        let disk = File::open(&path).unwrap();
        let mut bytes = vec![0; 256 * BLOCK_LEN];
        for start in (0..BLOCKS).step_by(256) {
            disk.read_exact_at(&mut bytes, u64::from(start) * BLOCK_LEN as u64)
                .unwrap();
            assert_eq!(reference.first_difference(start, &bytes), None);
        }
    });
}

/// The guest sees an error, and everything that fits goes on working.
#[test]
fn a_full_host_disk_is_an_io_error_for_the_guest() {
    RealKvm::new().as_root().run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let small = SmallFileSystem::mount(dir.path(), "8m");
        let path = small.0.join("disk.raw");
        make_disk(&path, 64 * MIB);
        let ended = run_with_disk(
            &images,
            path.to_str().unwrap(),
            "dd if=/dev/zero of=/dev/vda bs=1M count=4 oflag=direct 2>/dev/null && echo first: fine; \
             dd if=/dev/urandom of=/dev/vda bs=1M seek=4 count=16 oflag=direct; \
             echo second: status $?; \
             dd if=/dev/urandom of=/dev/vda bs=1M count=1 oflag=direct conv=notrunc 2>/dev/null \
             && echo third: fine; \
             blkdiscard /dev/vda && dd if=/dev/urandom of=/dev/vda bs=1M seek=8 count=4 \
             oflag=direct 2>/dev/null && echo fourth: fine",
        );
        let console = &ended.console;
        assert!(console.contains("first: fine"), "{console}");
        assert!(console.contains("second: status 1"), "{console}");
        assert!(console.contains("third: fine"), "{console}");
        assert!(console.contains("fourth: fine"), "{console}");
        // The host really was full, not the guest's disk.
        assert!(fs::metadata(&path).unwrap().len() == 64 * MIB);
    });
}

/// A file system of a few megabytes.
struct SmallFileSystem<'a>(&'a Path);

impl<'a> SmallFileSystem<'a> {
    fn mount(place: &'a Path, size: &str) -> Self {
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(place)
            .status();
        assert!(mount.unwrap().success());
        Self(place)
    }
}

impl Drop for SmallFileSystem<'_> {
    fn drop(&mut self) {
        // What is left mounted goes with the lab.
        let _ = Command::new("umount").arg(self.0).status();
    }
}
