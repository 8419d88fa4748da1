//! In a whole Debian system.

use muster_guest_images::{Cache, Kernel, RootDisk, cmdline};

use crate::machine::{Machine, disk_options, init};

/// A copy of the root disk, and the QEMU options that attach it.
fn disk() -> (tempfile::TempDir, [String; 2]) {
    let cache = Cache::open_default().unwrap();
    let kernel = Kernel::debian_cloud(&cache).unwrap();
    let disk = RootDisk::debian(&cache, &kernel, init()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("disk");
    disk.copy_to(&copy).unwrap();
    (dir, disk_options(&copy))
}

#[test]
fn a_command_runs_in_debian() {
    let (_dir, options) = disk();
    let options = options.each_ref().map(String::as_str);
    let command = "stat -f -c %T /; ps -o comm= 1; systemctl show -p ConditionResult --value muster-exec; \
        findmnt -n -o SOURCE,LABEL,OPTIONS /; touch /root/x && modprobe loop && ls -d /sys/module/loop; \
        hostname; systemctl --failed --no-legend --plain; exit 7";
    let words = format!("{} {}", cmdline::root("/dev/vda"), cmdline::exec(command));
    let (code, output) = Machine::boot(&words, &options).end();
    assert_eq!(code.map(|code| code >> 1), Some(7), "{output}");
    for line in ["ext2/ext3", "systemd", "/sys/module/loop", "muster"] {
        assert!(
            output.lines().any(|found| found == line),
            "no {line:?} in\n{output}"
        );
    }
}

#[test]
fn the_console_logs_in_and_poweroff_is_clean() {
    let (_dir, options) = disk();
    let options = options.each_ref().map(String::as_str);
    let mut machine = Machine::boot(&cmdline::root("/dev/vda"), &options);
    machine.expect("automatic login");
    machine.enter("id -u; tty; echo user=$USER");
    machine.expect("user=root");
    machine.enter("poweroff");
    let (code, output) = machine.end();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("reboot: Power down"), "{output}");
}
