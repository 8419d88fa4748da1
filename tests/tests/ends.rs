//! All the ways in which a guest ends do what the words say, and muster's exit status tells which one
//! it was.

use std::thread::sleep;
use std::time::Duration;

use muster_tests::images::GuestImages;
use muster_tests::place::RealKvm;
use muster_tests::vm::VmCommand;
use nix::sys::signal::Signal;

fn small(images: &GuestImages) -> VmCommand {
    VmCommand::debian(images).arg("--memory", "128M")
}

/// Runs a command in a guest; gives muster's exit status.
fn status_after(images: &GuestImages, command: &str) -> i32 {
    let ended = small(images).arg("--on-reboot", "exit").exec(command).run();
    assert_eq!(ended.stderr.lines().count(), 0, "{}", ended.stderr);
    ended.status
}

#[test]
fn poweroff_and_the_status_that_the_guest_chose() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        assert_eq!(status_after(&images, "poweroff -f"), 0);
        assert_eq!(status_after(&images, "exit 7"), 7);
    });
}

#[test]
fn reboot_panic_and_triple_fault_have_statuses_of_their_own() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        assert_eq!(status_after(&images, "reboot -f"), 3);
        assert_eq!(
            status_after(&images, "echo c > /proc/sysrq-trigger; sleep 100"),
            3
        );
        let triple = small(&images)
            .arg("--on-reboot", "exit")
            .arg("--cmdline", "reboot=triple")
            .exec("reboot -f")
            .run();
        assert_eq!(triple.status, 4, "{}", triple.stderr);
    });
}

#[test]
fn a_reboot_starts_the_guest_again() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let mut vm = small(&images).exec("reboot -f").start_on_terminal();
        for _ in 0..3 {
            vm.expect("muster-init");
        }
        vm.send("\x01x");
        assert_eq!(vm.wait().status, 137);
    });
}

#[test]
fn a_signal_presses_the_power_button() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let mut vm = small(&images).exec("echo ready; sleep 1000").start();
            vm.expect("ready");
            vm.signal(signal);
            let ended = vm.wait();
            assert_eq!(
                ended.status, 0,
                "{signal}: {}{}",
                ended.console, ended.stderr
            );
        }
    });
}

/// This guest has no driver for the button.
#[test]
fn a_second_signal_kills_a_guest_that_does_not_listen() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let initramfs = dir.path().join("initramfs.cpio");
        images
            .write_minimal(&initramfs, "echo ready\nbusybox sleep 1000\n")
            .unwrap();
        let mut vm = VmCommand::bare()
            .arg("--kernel", &images.vmlinux)
            .arg("--initrd", &initramfs)
            .arg("--memory", "128M")
            .arg("--cmdline", "quiet")
            .start();
        vm.expect("ready");
        vm.signal(Signal::SIGTERM);
        sleep(Duration::from_secs(3));
        vm.send("still there?\n");
        vm.expect("still there?");
        vm.signal(Signal::SIGTERM);
        assert_eq!(vm.wait().status, 128 + 15);
    });
}

/// A person's terminal: raw while the guest has it, and as before afterwards, whatever the end.
#[test]
fn a_terminal_belongs_to_the_guest_and_comes_back() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let mut vm = small(&images).start_on_terminal();
        vm.expect("# ");
        assert!(!vm.terminal_is_restored());
        // Not an interrupt for muster, but a byte for the guest. The program to be interrupted says
        // itself that it runs: the shell would say so before it has started it.
        vm.send("sh -c 'echo $((1 + 1)) more; exec sleep 1000'\n");
        vm.expect("2 more");
        vm.send("\x03");
        vm.expect("^C");
        vm.send("echo $((6 * 7)) answers\n");
        vm.expect("42 answers");
        vm.send("\x01h\x01x");
        let ended = vm.wait();
        assert_eq!(ended.status, 137);
        assert!(ended.stderr.contains("Ctrl-a x"), "{}", ended.stderr);
        assert!(vm.terminal_is_restored());

        let mut vm = small(&images).start_on_terminal();
        vm.expect("# ");
        vm.signal(Signal::SIGTERM);
        assert_eq!(vm.wait().status, 0);
        assert!(vm.terminal_is_restored());
    });
}

/// A script types on the console, where no key has a meaning of its own.
#[test]
fn a_pipe_reaches_the_guest_byte_by_byte() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let mut vm = small(&images)
            .exec("stty raw -echo; echo ready; head -c 3 | od -c")
            .start();
        vm.expect("ready");
        vm.send("\x01x\x03");
        vm.expect("001   x 003");
        assert_eq!(vm.wait().status, 0);
    });
}
