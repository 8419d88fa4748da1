//! Guests come and go, and nothing of them stays.

use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_tests::images::GuestImages;
use muster_tests::is_long;
use muster_tests::place::RealKvm;
use muster_tests::vm::VmCommand;

/// Boots in a row.
fn boots() -> u32 {
    if is_long() { 200 } else { 20 }
}

fn limit() -> Duration {
    Duration::from_secs(60) * boots()
}

/// Boots that the first measurement waits for: by then everything has been used once.
const WARM_UP: u32 = 3;

/// What the allocator may keep of what it was given back.
const GROWTH_KIB_MAX: u64 = 256;

#[test]
fn restarts_in_one_process_leak_nothing() {
    RealKvm::new().timeout(limit()).run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let initramfs = dir.path().join("initramfs.cpio");
        images
            .write_minimal(&initramfs, "echo init is here\nbusybox reboot -f\n")
            .unwrap();
        let disk = dir.path().join("disk.raw");
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        let mut vm = VmCommand::bare()
            .arg("--kernel", &images.vmlinux)
            .arg("--initrd", &initramfs)
            .arg("--memory", "128M")
            .arg("--disk", disk)
            .arg("--cmdline", "quiet")
            .start();
        for _ in 0..WARM_UP {
            vm.expect("init is here");
        }
        let early = vm.footprint();
        for _ in WARM_UP..boots() {
            vm.expect("init is here");
        }
        let late = vm.footprint();
        assert_eq!((late.fds, late.threads), (early.fds, early.threads));
        assert!(
            late.mappings <= early.mappings + 2,
            "{early:?} has become {late:?}"
        );
        assert!(
            late.own_kib <= early.own_kib + GROWTH_KIB_MAX,
            "{early:?} has become {late:?}"
        );
    });
}

#[test]
fn processes_leave_nothing_behind() {
    RealKvm::new().timeout(limit()).run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let before = traces(dir.path());
        for _ in 0..boots() / 4 {
            let ended = VmCommand::debian(&images)
                .arg("--memory", "128M")
                .exec("true")
                .run();
            assert_eq!(ended.status, 0, "{}{}", ended.console, ended.stderr);
        }
        assert_eq!(traces(dir.path()), before);
    });
}

/// What a process could leave behind: files in the usual places, and processes.
fn traces(dir: &Path) -> Vec<String> {
    let mut traces = Vec::new();
    for place in [dir, Path::new("/dev/shm"), Path::new("/run")] {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        traces.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    traces.extend(names.filter(|name| name.starts_with("muster")));
    traces.sort();
    traces
}
