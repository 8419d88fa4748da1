//! Unmodified Linux guests under a node manager: they boot under it, run on under every policy, and
//! none of them takes harm.

use std::time::Duration;

use muster_tests::images::GuestImages;
use muster_tests::place::RealKvm;
use muster_tests::vm::{Vm, VmCommand};

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

/// Starts a guest of two vCPUs under `host`, and waits for its shell.
fn boot(host: &Host, images: &GuestImages, name: &str) -> Vm {
    let socket = host.dir().join("node.sock");
    VmCommand::debian(images)
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
        let mut guests = ["web", "db"].map(|name| (name, boot(&host, &images, name)));
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

/// How long each vCPU of a VM has run.
fn ran(host: &Host, vm: &str) -> Vec<u64> {
    let shown = host.shown();
    let vcpus = host.vm_of(&shown, vm)["vcpus"].as_array().unwrap().iter();
    { vcpus }
        .map(|vcpu| vcpu["run_ns"].as_u64().unwrap())
        .collect()
}
