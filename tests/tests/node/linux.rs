//! Unmodified Linux guests under a node manager: they boot under it, run on under every policy, none
//! of them takes harm, and it is seen what their vCPUs hold.

use std::path::Path;
use std::time::Duration;

use muster_tests::images::GuestImages;
use muster_tests::place::RealKvm;
use muster_tests::vm::{Vm, VmCommand};
use serde_json::Value;

use super::harness::{Host, until};

/// What a guest's vCPUs are to run before a policy has shown that it lets them: long enough for many
/// turns of each, even where all share one CPU.
const RUN_NS: u64 = 300_000_000;

/// Policies that decide in different ways, and the host's own scheduler. All of them have to take over
/// from each other while guests run.
const SCHEDULES: [&str; 5] = [
    "gang:quantum=20ms",
    "affinity",
    "host",
    "central+relaxed",
    "gang:quantum=10ms+smart",
];

/// What a kernel says that has been held back for too long, as a pattern.
const HARM: &str = "lockup|stall|blocked for more";

/// Keeps both vCPUs of a guest busy, in user mode and in the kernel, and tells how many there are. One
/// that is held back while it comes up is left out by its kernel.
const LOAD: &str = "(while :; do :; done) & dd if=/dev/zero of=/dev/null bs=512 2>/dev/null & \
                    echo cpus=$(nproc)=\n";

/// Keeps both vCPUs in the kernel for much of the time, under locks of many kinds.
const FORKS: &str = "(while :; do (:); done) & (while :; do (:); done) & echo forks-$((6*7))\n";
/// Keeps both vCPUs in user mode.
const LOOPS: &str = "(while :; do :; done) & (while :; do :; done) & echo loops-$((6*7))\n";

/// So often both vCPUs of a VM together are stopped before it is judged what they held.
const STOPS: u64 = 200;

/// A guest of two vCPUs that is to join `host`.
fn guest(host: &Host, images: &GuestImages, name: &str, kernel: &Path) -> Vm {
    let socket = host.dir().join("node.sock");
    VmCommand::bare()
        .arg("--kernel", kernel)
        .arg("--initrd", &images.initramfs)
        .arg("--cmdline", "quiet")
        .arg("--cpus", "2")
        .arg("--memory", "256M")
        .arg("--name", name)
        .word(format!("--node={}", socket.display()))
        .start()
}

#[test]
fn they_boot_and_run_on_under_every_policy() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let host = Host::start(SCHEDULES[0]);
        let mut guests =
            ["web", "db"].map(|name| (name, guest(&host, &images, name, &images.vmlinux)));
        host.until_vms(2);
        for (_, guest) in &mut guests {
            guest.expect("# ");
            guest.send(LOAD);
            guest.expect("cpus=2=");
        }
        for schedule in SCHEDULES {
            host.sched(&["set", schedule]);
            let shown = host.shown();
            assert_eq!(shown["schedule"], schedule);
            for (name, guest) in &mut guests {
                let before = ran(&host, name);
                until("both vCPUs run", || {
                    let now = ran(&host, name);
                    now.iter()
                        .zip(&before)
                        .all(|(now, before)| now - before > RUN_NS)
                });
                // The shell answers beside the load.
                guest.send("echo alive-$((6*7))\n");
                guest.expect("alive-42");
            }
            assert_eq!(host.shown()["manager"]["illegal_plans"], 0, "{schedule}");
        }
        for (_, guest) in &mut guests {
            guest.send(&format!(
                "dmesg | grep -iE '{HARM}'; echo harm-$?; poweroff\n"
            ));
            // There is no such line.
            guest.expect("harm-1");
            assert_eq!(guest.wait_within(Duration::from_secs(60)).status, 0);
        }
    });
}

#[test]
fn what_their_vcpus_hold_is_seen() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let host = Host::start("host");
        // One has been put somewhere by its own decompressor, the other is where its file says.
        let mut forks = guest(&host, &images, "forks", &images.vmlinuz);
        let mut loops = guest(&host, &images, "loops", &images.vmlinux);
        for (guest, load, answer) in [
            (&mut forks, FORKS, "forks-42"),
            (&mut loops, LOOPS, "loops-42"),
        ] {
            guest.expect("# ");
            guest.send(load);
            guest.expect(answer);
        }
        // Who is never stopped is never looked at.
        let locks = |shown: &Value, vm| host.vm_of(shown, vm)["locks"].clone();
        assert_eq!(locks(&host.shown(), "forks"), "awaited");
        host.sched(&["set", "gang:quantum=10ms"]);
        host.until_shown(|shown| {
            ["forks", "loops"]
                .iter()
                .all(|vm| locks(shown, vm) == "linux")
        });
        let before = host.shown();
        let stopped = |shown: &Value, vm| sum(host.vm_of(shown, vm), "preemptions");
        let after = host.until_shown(|shown| {
            let grown = |vm| stopped(shown, vm) - stopped(&before, vm);
            grown("forks") > STOPS && grown("loops") > STOPS
        });
        let percent = |vm| {
            let holding = |shown| sum(host.vm_of(shown, vm), "holder_preemptions");
            let stops = stopped(&after, vm) - stopped(&before, vm);
            (holding(&after) - holding(&before)) * 100 / stops
        };
        let (forks, loops) = (percent("forks"), percent("loops"));
        assert!(forks >= 10, "held something at {forks} % of the stops");
        // Interrupts come in user mode as well.
        assert!(loops <= 5, "held something at {loops} % of the stops");
        // Nobody lost faith meanwhile.
        let shown = host.shown();
        for vm in ["forks", "loops"] {
            assert_eq!(locks(&shown, vm), "linux");
        }
    });
}

/// A number of a VM's vCPUs, added up.
fn sum(vm: &Value, number: &str) -> u64 {
    let vcpus = vm["vcpus"].as_array().unwrap().iter();
    { vcpus }.map(|vcpu| vcpu[number].as_u64().unwrap()).sum()
}

/// How long each vCPU of a VM has run.
fn ran(host: &Host, vm: &str) -> Vec<u64> {
    let shown = host.shown();
    let vcpus = host.vm_of(&shown, vm)["vcpus"].as_array().unwrap().iter();
    { vcpus }
        .map(|vcpu| vcpu["run_ns"].as_u64().unwrap())
        .collect()
}
