//! An unmodified Debian kernel boots, with every number of processors and amount of memory that a
//! user is likely to choose.

use muster_tests::images::GuestImages;
use muster_tests::place::RealKvm;
use muster_tests::vm::VmCommand;

/// Prints what the guest's kernel thinks of its machine, one fact per line.
const FACTS: &str = "\
    echo release=$(uname -r); \
    echo cpus=$(nproc); \
    echo memory_mib=$(($(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) / 1024)); \
    echo clock=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource); \
    echo warnings=$(dmesg -r | grep -c '^<[0-3]>')";

/// Boots a guest and gives its facts.
fn facts(command: VmCommand) -> Vec<(String, String)> {
    let ended = command.exec(FACTS).run();
    assert_eq!(ended.status, 0, "{}{}", ended.console, ended.stderr);
    assert_eq!(
        ended.stderr, "",
        "muster has nothing to say about a guest that works"
    );
    let pairs = ended
        .console
        .lines()
        .filter_map(|line| line.trim().split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn fact<'a>(facts: &'a [(String, String)], name: &str) -> &'a str {
    let fact = facts.iter().find(|(known, _)| known == name);
    &fact
        .unwrap_or_else(|| panic!("the guest told no {name}: {facts:?}"))
        .1
}

fn boots_with(cpus: u32, memory: &str, memory_mib_min: u32) {
    let images = GuestImages::here().unwrap();
    let command = VmCommand::debian(&images)
        .arg("--cpus", cpus.to_string())
        .arg("--memory", memory);
    let facts = facts(command);
    assert_eq!(fact(&facts, "cpus"), cpus.to_string());
    let memory_mib: u32 = fact(&facts, "memory_mib").parse().unwrap();
    assert!(memory_mib >= memory_mib_min, "{facts:?}");
    // A clock that the guest reads without leaving.
    assert!(
        matches!(fact(&facts, "clock"), "tsc" | "kvm-clock"),
        "{facts:?}"
    );
}

#[test]
fn one_vcpu() {
    RealKvm::new().run(|| boots_with(1, "128M", 64));
}

#[test]
fn two_vcpus() {
    RealKvm::new().run(|| boots_with(2, "512M", 400));
}

#[test]
fn four_vcpus() {
    RealKvm::new().run(|| boots_with(4, "512M", 400));
}

/// The most that a guest can have.
#[test]
fn sixty_four_vcpus() {
    RealKvm::new().run(|| boots_with(64, "1G", 850));
}

/// Memory goes on above the hole below 4 GiB.
#[test]
fn five_gib() {
    RealKvm::new()
        .memory_mib(7168)
        .run(|| boots_with(2, "5G", 4800));
}

/// As distributions ship it: the kernel unpacks itself first.
#[test]
fn packaged_bzimage() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let command = VmCommand::bare()
            .arg("--kernel", &images.vmlinuz)
            .arg("--initrd", &images.initramfs)
            .arg("--cmdline", "quiet");
        assert!(fact(&facts(command), "release").ends_with("-cloud-amd64"));
    });
}

/// The entry that Xen's PVH defines.
#[test]
fn pvh_entry() {
    RealKvm::new().run(|| {
        let images = GuestImages::here().unwrap();
        let command = VmCommand::debian(&images).arg("--boot-protocol", "pvh");
        assert_eq!(fact(&facts(command), "cpus"), "1");
    });
}

/// Nobody needs to be root: membership in group kvm is enough.
#[test]
fn ordinary_user() {
    RealKvm::new().as_user().run(|| {
        assert!(!nix::unistd::geteuid().is_root());
        boots_with(1, "128M", 64);
    });
}
