//! As the first process of a small initramfs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use muster_guest_images::{Busybox, Cache, Initramfs, Kernel, cmdline};

use crate::machine::{Machine, PATIENCE, disk_options};

/// Runs a command in a machine of its own; the status that it reports and all output.
fn run(command: &str) -> (Option<i32>, String) {
    let (code, output) = Machine::boot(&cmdline::exec(command), &[]).end();
    (code.map(|code| code >> 1), output)
}

#[test]
fn a_command_runs_and_its_status_comes_out() {
    let command = "echo \"PID 1 is $(readlink /proc/1/exe)\"; hostname; id -u; pwd; \
        ls -1 /dev/pts/ptmx /dev/fd/0 /sys/fs/cgroup/cgroup.procs; mount | grep -c tmpfs; \
        ping -c 1 -W 5 127.0.0.1 >/dev/null && echo loopback; exit 42";
    let (status, output) = run(command);
    assert_eq!(status, Some(42), "{output}");
    let lines: Vec<_> = output.lines().collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("muster-init "))
        .expect(&output);
    assert_eq!(
        lines[first + 1..],
        [
            "PID 1 is /init",
            "muster",
            "0",
            "/root",
            "/dev/fd/0",
            "/dev/pts/ptmx",
            "/sys/fs/cgroup/cgroup.procs",
            "4",
            "loopback"
        ],
        "{output}"
    );
}

#[test]
fn a_killed_command_gives_128_and_the_signal() {
    let (status, output) = run("kill -9 $$");
    // The port has eight bits, of which QEMU keeps seven.
    assert_eq!(status, Some((128 + 9) & 0x7f), "{output}");
}

#[test]
fn a_broken_command_line_is_told() {
    let (code, output) = Machine::boot("muster.exec=50%", &[]).end();
    assert_eq!(code.map(|code| code >> 1), Some(125), "{output}");
    assert!(
        output.contains("muster-init: cannot run the command: muster.exec: \"%\""),
        "{output}"
    );
}

#[test]
fn orphans_are_reaped_and_stragglers_stopped() {
    // An orphan may have ended just now: what counts is that none stays.
    let command = "for i in 1 2 3; do (sleep 0.1 &); done; (trap '' TERM; sleep 1000) & sleep 1; \
        for i in 1 2 3 4 5 6; do left=$(ps -o stat | grep -c '^Z'); \
        test $left = 0 && break; sleep 0.5; done; echo $left; exit 0";
    let start = Instant::now();
    let (status, output) = run(command);
    assert_eq!(status, Some(0), "{output}");
    assert_eq!(output.lines().last(), Some("0"), "{output}");
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn a_shell_has_job_control_and_its_end_is_the_machines() {
    let mut machine = Machine::boot("", &[]);
    machine.expect("muster-init");
    machine.enter("cd /tmp && tty");
    machine.expect("/dev/ttyS0");
    // It says itself that it runs: the shell would say so before it has started it.
    machine.enter("sh -c 'echo star\"\"t; exec sleep 1000'");
    machine.expect("start");
    machine.enter("\x03");
    machine.enter("echo interrupte''d $?");
    machine.expect("interrupted 130");
    machine.enter("exit 3");
    let (code, output) = machine.end();
    assert_eq!(code, Some(0), "a shell's status is nobody's: {output}");
    assert!(output.contains("reboot: Power down"), "{output}");
    assert!(!output.contains("can't access tty"), "{output}");
}

#[test]
fn poweroff_and_reboot_do_what_they_say() {
    for (command, last_word) in [
        ("poweroff", "reboot: Power down"),
        ("reboot", "reboot: Restarting system"),
    ] {
        let mut machine = Machine::boot("", &[]);
        machine.expect("muster-init");
        machine.enter("trap 'echo hung up; exit' HUP");
        machine.enter(command);
        let (code, output) = machine.end();
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains(last_word), "{output}");
        assert!(
            output.lines().any(|line| line.ends_with("hung up")),
            "the shell was killed: {output}"
        );
    }
}

#[test]
fn the_power_button_ends_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("monitor");
    let monitor = format!("unix:{},server,nowait", socket.display());
    let command =
        cmdline::exec("trap 'echo asked; exit' TERM; echo wait; while :; do sleep 1; done");
    let mut machine = Machine::boot(&command, &["-monitor", &monitor]);
    machine.expect("wait");
    let mut monitor = UnixStream::connect(socket).unwrap();
    monitor.write_all(b"system_powerdown\n").unwrap();
    let (code, output) = machine.end();
    assert_eq!(
        code,
        Some(0),
        "no status is reported for a command that was stopped: {output}"
    );
    assert!(
        output.contains("asked\n") && output.contains("reboot: Power down"),
        "{output}"
    );
}

/// An ext4 disk image of 16 MiB with this directory's content, and the QEMU options that attach it.
fn disk(content: &Path, image: &Path) -> [String; 2] {
    let made = Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([content, image])
        .arg("16M")
        .status()
        .expect("this test needs mke2fs (apt-get install e2fsprogs)");
    assert!(made.success());
    disk_options(image)
}

#[test]
fn what_was_written_to_a_disk_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk");
    let content = tempfile::tempdir().unwrap();
    let options = disk(content.path(), &image);
    let options = options.each_ref().map(String::as_str);
    // Neither a process that keeps the disk busy nor what is mounted on it must cost us data.
    let command = "mount -t ext4 /dev/vda /mnt && mkdir /mnt/sub && mount -t tmpfs none /mnt/sub; \
        echo kept >/mnt/file; cd /mnt; sleep 1000 & sleep 1";
    let (code, output) = Machine::boot(&cmdline::exec(command), &options).end();
    assert_eq!(code, Some(1), "{output}");
    let dumped = Command::new("/sbin/debugfs")
        .args(["-R", "cat file"])
        .arg(&image)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&dumped.stdout),
        "kept\n",
        "{output}"
    );
    let check = Command::new("/sbin/dumpe2fs")
        .arg("-h")
        .arg(&image)
        .output()
        .unwrap();
    let header = String::from_utf8_lossy(&check.stdout);
    assert!(
        !header.contains("needs_recovery"),
        "the disk was not unmounted: {header}"
    );
}

#[test]
fn a_system_on_a_disk_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let content = tempfile::tempdir().unwrap();
    for sub in ["bin", "sbin", "dev", "proc", "sys", "run"] {
        fs::create_dir(content.path().join(sub)).unwrap();
    }
    let busybox = Busybox::debian(&Cache::open_default().unwrap()).unwrap();
    fs::copy(busybox.path, content.path().join("bin/busybox")).unwrap();
    symlink("busybox", content.path().join("bin/sh")).unwrap();
    let init = content.path().join("sbin/init");
    // Files that are only in memory count as shared or, without tmpfs, as unevictable.
    let script = "#!/bin/sh\n\
        echo \"PID $$ on $(busybox stat -f -c %T /)\"\n\
        busybox grep -c ' /proc ' /proc/mounts\n\
        busybox awk '/^(Shmem|Unevictable):/ { kib += $2 } \
            END { print kib < 1024 ? \"old root gone\" : \"old root kept, KiB: \" kib }' /proc/meminfo\n\
        busybox poweroff -f\n";
    fs::write(&init, script).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    let options = disk(content.path(), &dir.path().join("disk"));
    let options = options.each_ref().map(String::as_str);
    let (code, output) = Machine::boot(&cmdline::root("/dev/vda"), &options).end();
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains("PID 1 on ext2/ext3\n1\nold root gone\n"),
        "{output}"
    );
}

#[test]
fn without_the_disk_the_command_does_not_run() {
    let words = format!(
        "{} {}",
        cmdline::root("/dev/vdz"),
        cmdline::exec("echo wrong place")
    );
    let (code, output) = Machine::boot(&words, &[]).end();
    assert_eq!(code.map(|code| code >> 1), Some(125), "{output}");
    assert!(
        output.contains("muster-init: cannot mount /dev/vdz: "),
        "{output}"
    );
    assert!(!output.contains("wrong place"), "{output}");
}

#[test]
fn the_minimal_image_runs_its_script_and_nothing_else() {
    let cache = Cache::open_default().unwrap();
    let kernel = Kernel::debian_cloud(&cache).unwrap();
    let busybox = Busybox::debian(&cache).unwrap();
    let script =
        "echo \"PID $$, $(busybox ls -d /* | busybox tr '\\n' ' ')\"; busybox poweroff -f\n";
    let image = Initramfs::minimal(&busybox, script).unwrap();
    let image = image.build(&cache, "minimal-test").unwrap();
    let (code, output) = Machine::start(&kernel, &image, "", &[]).end();
    assert_eq!(code, Some(0), "{output}");
    // The kernel itself adds /root.
    assert!(output.contains("PID 1, /bin /dev /init /root"), "{output}");
}
