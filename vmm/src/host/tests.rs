//! Whole hosts, made up from a folder of files and a few answers.

use std::collections::BTreeSet;
use std::fs;

use nix::errno::Errno;
use tempfile::TempDir;

use super::Status::{Problem, Warning};
use super::answers::{Answers, KvmAnswer, NodeMode, PriorityLimits};
use super::*;

/// A made-up host.
struct FakeHost {
    root: TempDir,
    answers: Answers,
}

impl FakeHost {
    /// A host without a fault: Intel, KVM, and an ordinary user who has been given everything.
    fn sound() -> Self {
        let host = Self {
            root: tempfile::tempdir().unwrap(),
            answers: Answers {
                kvm: Ok(KvmAnswer {
                    api_version: 12,
                    vcpus_max: 1024,
                    creates_vm: Ok(()),
                    lacks_required: vec![],
                    lacks_wanted: vec![],
                }),
                kvm_node: Some(NodeMode {
                    gid: 104,
                    mode: 0o020_660,
                }),
                tun: Ok(()),
                vhost_net: Err(Errno::EACCES),
                userfaultfd: Ok(()),
                priorities: PriorityLimits {
                    real_time: 10,
                    nice: 30,
                },
                cgroup_writable: true,
            },
        };
        host.cpu("vmx")
            .file("/dev/kvm", "")
            .file("/etc/group", "root:x:0:\nkvm:x:104:alice\n")
            .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
            .file("/proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n")
            .file("/proc/self/cgroup", "0::/user.slice/run.scope\n")
            .file("/proc/self/mounts", "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
            .file("/proc/self/status", "Uid:\t1000\t1000\nGid:\t1000\t1000\nGroups:\t27 104\nCapEff:\t0\nCpus_allowed_list:\t0-3\n")
            .file("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
            .file("/proc/sys/kernel/sched_autogroup_enabled", "0\n")
            .file("/proc/sys/kernel/sched_rt_period_us", "1000000\n")
            .file("/proc/sys/kernel/sched_rt_runtime_us", "950000\n")
            .file("/proc/sys/vm/unprivileged_userfaultfd", "0\n")
            .file("/sys/fs/cgroup/user.slice/run.scope/cgroup.controllers", "cpuset cpu io memory pids\n")
            .file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
            .file("/sys/module/kvm_intel/parameters/ept", "Y\n")
            .file("/sys/devices/system/cpu/online", "0-3\n")
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = HostFiles::below(self.root.path()).locate(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        let path = HostFiles::below(self.root.path()).locate(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    fn cpu(self, features: &str) -> Self {
        let cpu =
            format!("model name\t: Test CPU\nflags\t\t: fpu {features} lm\nvmx flags\t: vnmi\n");
        self.file("/proc/cpuinfo", &cpu)
    }

    fn answer(mut self, change: impl FnOnce(&mut Answers)) -> Self {
        change(&mut self.answers);
        self
    }

    /// `/dev/kvm` does not open.
    fn refused(self, errno: Errno) -> Self {
        self.answer(|answers| answers.kvm = Err(errno))
    }

    /// KVM's answer is changed.
    fn kvm(self, change: impl FnOnce(&mut KvmAnswer)) -> Self {
        self.answer(|answers| change(answers.kvm.as_mut().unwrap()))
    }

    /// No `/dev/kvm`, and no module behind it.
    fn no_kvm(self) -> Self {
        self.without("/dev/kvm")
            .without("/sys/module")
            .refused(Errno::ENOENT)
    }

    fn report(&self) -> HostReport {
        judge(&HostFiles::below(self.root.path()), &self.answers)
    }

    /// Checks which guests run here, and the exact text of all that is not as it should be.
    #[track_caller]
    fn expect(self, guests: Guests, faults: &[(Status, &str, &str, &str)]) {
        let report = self.report();
        check_form(&report);
        let found: Vec<(Status, &str, &str, &str)> = report
            .facts
            .iter()
            .filter(|fact| fact.status != Status::Ok)
            .map(|fact| {
                (
                    fact.status,
                    fact.id,
                    &*fact.summary,
                    fact.advice.as_deref().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, faults);
        assert_eq!(report.guests, guests);
    }
}

/// What every report keeps to.
#[track_caller]
fn check_form(report: &HostReport) {
    let mut ids = BTreeSet::new();
    for fact in &report.facts {
        assert!(ids.insert(fact.id), "{} appears twice", fact.id);
        assert_eq!(fact.advice.is_some(), fact.status != Status::Ok, "{fact:?}");
        for line in [Some(&fact.summary), fact.advice.as_ref()]
            .into_iter()
            .flatten()
        {
            assert!(
                !line.is_empty() && !line.contains('\n') && !line.ends_with('.'),
                "{fact:?}"
            );
            assert_eq!(line.matches('`').count() % 2, 0, "{fact:?}");
        }
    }
    assert!(
        report.facts.is_sorted_by_key(|fact| fact.area),
        "areas are mixed"
    );
    let problem = report.facts.iter().any(|fact| fact.status == Problem);
    assert_eq!(report.guests == Guests::None, problem);
}

#[test]
fn a_sound_host_has_no_faults() {
    FakeHost::sound().expect(Guests::All, &[]);
}

#[test]
fn amd_with_modules_not_loaded() {
    FakeHost::sound().no_kvm().cpu("svm").expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "the processor has AMD-V, but its KVM module is not loaded",
            "`sudo modprobe kvm_amd`; if it says \"not supported\", switch AMD-V on in the firmware's setup",
        )],
    );
}

#[test]
fn a_device_node_without_a_module_behind_it_is_no_kvm() {
    let host = FakeHost::sound()
        .without("/sys/module")
        .refused(Errno::ENODEV);
    let fact = host.report().facts.remove(0);
    assert_eq!(
        fact.summary,
        "the processor has Intel VT-x, but its KVM module is not loaded"
    );
}

#[test]
fn a_module_without_its_device_node() {
    FakeHost::sound().without("/dev/kvm").refused(Errno::ENOENT).expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "kvm_intel is loaded, but /dev/kvm is missing",
            "`sudo mknod /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`",
        )],
    );
}

#[test]
fn virtualization_switched_off_in_the_firmware() {
    FakeHost::sound().no_kvm().cpu("").expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "the processor offers no virtualization: it has none, or the firmware has switched it off",
            "switch Intel VT-x (AMD: SVM) on in the firmware's setup; otherwise use the lab host: `cargo xtask lab`",
        )],
    );
}

#[test]
fn a_virtual_machine_without_nested_virtualization() {
    FakeHost::sound().no_kvm().cpu("hypervisor").expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "this is a virtual machine without nested virtualization",
            "give it the host's processor (QEMU: `-cpu host`; clouds: ask for nesting), or use the lab host: `cargo xtask lab`",
        )],
    );
}

#[test]
fn a_container_without_dev_kvm() {
    FakeHost::sound().without("/dev/kvm").refused(Errno::ENOENT).file("/.dockerenv", "").expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "this container has no /dev/kvm",
            "start the container with `--device /dev/kvm`, on a host that `muster doctor` approves",
        )],
    );
}

#[test]
fn a_container_whose_rules_forbid_dev_kvm() {
    FakeHost::sound().refused(Errno::EPERM).expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "the rules of a container forbid /dev/kvm",
            "start the container with `--device /dev/kvm`",
        )],
    );
}

#[test]
fn dev_kvm_is_for_another_group() {
    let status = "Uid:\t1000\t1000\nGroups:\t27\nCapEff:\t0\n";
    FakeHost::sound()
        .refused(Errno::EACCES)
        .file("/proc/self/status", status)
        .expect(
            Guests::None,
            &[(
                Problem,
                "kvm",
                "no permission to open /dev/kvm: it is for group kvm",
                "`sudo usermod -aG kvm $USER`, then log in again",
            )],
        );
}

#[test]
fn the_user_joined_the_group_after_login() {
    let status = "Uid:\t1000\t1000\nGroups:\t27\nCapEff:\t0\n";
    FakeHost::sound()
        .refused(Errno::EACCES)
        .file("/proc/self/status", status)
        .file("/etc/group", "kvm:x:104:alice,bob\n")
        .expect(
            Guests::None,
            &[(
                Problem,
                "kvm",
                "no permission to open /dev/kvm: you joined group kvm after this session began",
                "log in again, or open a shell with `newgrp kvm`",
            )],
        );
}

#[test]
fn dev_kvm_is_for_root_only() {
    // Whether root's group may open it makes no difference: nobody should join that.
    for mode in [0o020_600, 0o020_660] {
        FakeHost::sound()
            .refused(Errno::EACCES)
            .answer(|answers| answers.kvm_node = Some(NodeMode { gid: 0, mode }))
            .file("/etc/group", "root:x:0:\n")
            .expect(
                Guests::None,
                &[(
                    Problem,
                    "kvm",
                    "no permission to open /dev/kvm: it is for root only",
                    "`sudo groupadd --system kvm && sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm $USER`, then log in again",
                )],
            );
    }
}

#[test]
fn a_member_of_the_group_is_refused_all_the_same() {
    FakeHost::sound().refused(Errno::EACCES).expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "no permission to open /dev/kvm, although you are in group kvm",
            "a security module forbids it: see `sudo dmesg | grep -iE 'apparmor|avc'`",
        )],
    );
}

#[test]
fn kvm_pvm_runs_bare_metal_guests() {
    let host = FakeHost::sound()
        .cpu("hypervisor")
        .without("/sys/module")
        .file("/sys/module/kvm_pvm/x", "");
    assert_eq!(host.report().kvm.kind, KvmKind::Pvm);
    host.expect(
        Guests::BareMetal,
        &[(
            Warning,
            "kvm",
            "kvm-pvm, no hardware virtualization: bare-metal guests run, stock Linux does not",
            "for stock Linux use a host with Intel VT-x or AMD-V, or the lab host: `cargo xtask lab`",
        )],
    );
}

#[test]
fn the_kind_of_kvm() {
    let kind = |host: FakeHost| host.report().kvm.kind;
    let pvm = |host: FakeHost| host.file("/sys/module/kvm_pvm/x", "");
    assert_eq!(kind(FakeHost::sound()), KvmKind::Hardware(Extension::Vmx));
    assert_eq!(
        kind(FakeHost::sound().cpu("svm")),
        KvmKind::Hardware(Extension::Svm)
    );
    // Both modules can be loaded; one of them has the device, and hardware comes first.
    assert_eq!(
        kind(pvm(FakeHost::sound())),
        KvmKind::Hardware(Extension::Vmx)
    );
    assert_eq!(
        kind(pvm(FakeHost::sound().without("/sys/module"))),
        KvmKind::Pvm
    );
    assert_eq!(kind(FakeHost::sound().cpu("vmxx")), KvmKind::Other);
    assert_eq!(
        kind(pvm(FakeHost::sound()).without("/dev/kvm")),
        KvmKind::None
    );
}

#[test]
fn kvm_of_an_unknown_kind_gets_its_chance() {
    FakeHost::sound().cpu("").expect(
        Guests::All,
        &[(
            Warning,
            "kvm",
            "neither Intel VT-x nor AMD-V, yet /dev/kvm opens: API 12, up to 1024 vCPUs in a guest",
            "try a guest; if it hangs, `ls -d /sys/module/kvm*` tells what implements KVM here",
        )],
    );
}

#[test]
fn another_hypervisor_has_the_processor() {
    FakeHost::sound()
        .kvm(|kvm| kvm.creates_vm = Err(Errno::EBUSY))
        .expect(
            Guests::None,
            &[(
                Problem,
                "kvm",
                "KVM creates no VM: another hypervisor uses the processor's virtualization",
                "stop the other one (VirtualBox, VMware), then `sudo modprobe -r vboxdrv vmmon`",
            )],
        );
}

#[test]
fn a_kvm_that_is_too_old_or_poorly_built() {
    FakeHost::sound().kvm(|kvm| kvm.api_version = 11).expect(
        Guests::None,
        &[(
            Problem,
            "kvm",
            "/dev/kvm speaks API version 11, muster speaks 12",
            "boot a stock kernel: every Linux since 2.6.22 speaks version 12",
        )],
    );
    let poor = FakeHost::sound().kvm(|kvm| {
        kvm.lacks_required = vec!["irqfd", "ioeventfd"];
        kvm.lacks_wanted = vec!["TSC frequency"];
    });
    assert_eq!(
        poor.report().kvm.missing_capabilities,
        ["irqfd", "ioeventfd", "TSC frequency"]
    );
    poor.expect(
        Guests::None,
        &[(
            Problem,
            "kvm-capabilities",
            "missing, and needed: irqfd, ioeventfd",
            "boot a newer kernel, one that was built with CONFIG_KVM and CONFIG_EVENTFD",
        )],
    );
    FakeHost::sound()
        .kvm(|kvm| kvm.lacks_wanted = vec!["TSC deadline timer"])
        .expect(
            Guests::All,
            &[(
                Warning,
                "kvm-capabilities",
                "missing, and good to have: TSC deadline timer",
                "boot a newer kernel: guests keep time less well without",
            )],
        );
}

#[test]
fn nested_paging_switched_off() {
    FakeHost::sound()
        .cpu("svm")
        .file("/sys/module/kvm_amd/parameters/npt", "0\n")
        .expect(
            Guests::All,
            &[(
                Warning,
                "nested-paging",
                "off (npt): guests that change their page tables are slow",
                "`sudo modprobe -r kvm_amd && sudo modprobe kvm_amd npt=1`",
            )],
        );
}

#[test]
fn an_ordinary_user_of_a_fresh_debian() {
    FakeHost::sound()
        .answer(|answers| {
            answers.priorities.real_time = 0;
            answers.priorities.nice = 0;
            answers.cgroup_writable = false;
            answers.userfaultfd = Err(Errno::EACCES);
            answers.tun = Err(Errno::ENOENT);
        })
        .file("/proc/sys/kernel/sched_autogroup_enabled", "1\n")
        .file("/sys/fs/cgroup/user.slice/run.scope/cgroup.controllers", "memory pids\n")
        .expect(
            Guests::All,
            &[
                (Warning, "tun", "no /dev/net/tun: no TAP interfaces", "`sudo modprobe tun`"),
                (
                    Warning,
                    "userfaultfd",
                    "forbidden: guest memory cannot be filled on demand",
                    "`sudo setfacl -m u:$USER:rw /dev/userfaultfd`",
                ),
                (
                    Warning,
                    "real-time",
                    "forbidden: vCPUs cannot preempt the host's other threads",
                    "`echo \"$USER - rtprio 10\" | sudo tee -a /etc/security/limits.d/muster.conf`, then log in again",
                ),
                (
                    Warning,
                    "nice",
                    "no better than 0: a guest cannot be favoured over other processes",
                    "`echo \"$USER - nice -10\" | sudo tee -a /etc/security/limits.d/muster.conf`, then log in again",
                ),
                (
                    Warning,
                    "autogroup",
                    "on: nice values do not count between guests of different terminals",
                    "`sudo sysctl kernel.sched_autogroup_enabled=0`",
                ),
                (
                    Warning,
                    "cgroups",
                    "version 2, but you may not create groups here",
                    "start muster with `systemd-run --user --scope -p Delegate=yes muster ...`",
                ),
                (
                    Warning,
                    "cgroup-controllers",
                    "not available here: cpu, cpuset, io",
                    "`sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload`, then log in again",
                ),
            ],
        );
}

#[test]
fn limits_become_priorities() {
    let limits = |rt, nice| {
        let host = FakeHost::sound().answer(|answers| {
            answers.priorities.real_time = rt;
            answers.priorities.nice = nice;
        });
        let report = host.report().scheduling;
        (report.rt_priority_max, report.nice_min)
    };
    assert_eq!(limits(0, 0), (0, 0));
    assert_eq!(limits(10, 20), (10, 0));
    assert_eq!(limits(10, 21), (10, -1));
    assert_eq!(limits(99, 40), (99, -20));
    assert_eq!(limits(u64::MAX, u64::MAX), (99, -20));
    let privileged = FakeHost::sound()
        .answer(|answers| (answers.priorities.real_time, answers.priorities.nice) = (0, 0))
        .file("/proc/self/status", "CapEff:\t0000000000800000\n");
    assert_eq!(privileged.report().scheduling.rt_priority_max, 99);
    assert_eq!(privileged.report().scheduling.nice_min, -20);
}

#[test]
fn the_smaller_real_time_budget_counts() {
    let v1 = |group: &str| {
        FakeHost::sound()
            .file(
                "/proc/self/mounts",
                "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n",
            )
            .file("/proc/self/cgroup", "5:cpu,cpuacct:/job\n0::/\n")
            .file("/sys/fs/cgroup/cpu/job/cpu.rt_runtime_us", group)
            .report()
    };
    let budget = |report: &HostReport| report.scheduling.rt_runtime_us;
    assert_eq!(budget(&v1("100000")), Some(100_000));
    assert_eq!(budget(&v1("990000")), Some(950_000));
    let none = v1("0");
    assert_eq!(budget(&none), Some(0));
    let fact = none
        .facts
        .iter()
        .find(|fact| fact.id == "real-time-budget")
        .unwrap();
    assert_eq!(fact.summary, "none: real-time threads are refused");
}

#[test]
fn a_control_group_for_processor_time_replaces_the_session_s() {
    let host = FakeHost::sound().file("/proc/sys/kernel/sched_autogroup_enabled", "1");
    assert!(host.report().scheduling.autogroup);
    // An ancestor's group is enough.
    let host = host.file("/sys/fs/cgroup/user.slice/cpu.weight", "100");
    assert!(!host.report().scheduling.autogroup);
}

#[test]
fn control_groups_of_every_age() {
    let none = FakeHost::sound().file("/proc/self/mounts", "proc /proc proc rw 0 0\n");
    assert_eq!(none.report().cgroups.version, None);
    none.expect(
        Guests::All,
        &[(
            Warning,
            "cgroups",
            "not mounted: guests cannot be limited",
            "`sudo mount -t cgroup2 none /sys/fs/cgroup`",
        )],
    );
    let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
    let both = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
    for mounts in [v1, both] {
        let host = FakeHost::sound()
            .file("/proc/self/mounts", mounts)
            // What nobody uses in version 1 is left to version 2.
            .file("/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
        host.expect(
            Guests::All,
            &[(
                Warning,
                "cgroups",
                "version 1: guests cannot be limited",
                "add `cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1` to the kernel's command line and boot again",
            )],
        );
    }
    // systemd's own version 1 hierarchy controls nothing.
    let named = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n\
                 cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n";
    let host = FakeHost::sound().file("/proc/self/mounts", named).file(
        "/sys/fs/cgroup/user.slice/run.scope/cgroup.controllers",
        "memory pids\n",
    );
    assert_eq!(host.report().cgroups.version, Some(2));
}

#[test]
fn device_nodes_and_switches_that_are_forbidden() {
    FakeHost::sound()
        .answer(|answers| answers.tun = Err(Errno::EACCES))
        .file("/proc/sys/kernel/io_uring_disabled", "2\n")
        .expect(
            Guests::All,
            &[
                (
                    Warning,
                    "tun",
                    "no permission to open /dev/net/tun",
                    "`sudo chmod 666 /dev/net/tun` (its usual mode); in a container: `--device /dev/net/tun`",
                ),
                (
                    Warning,
                    "io-uring",
                    "switched off for everyone",
                    "`sudo sysctl kernel.io_uring_disabled=0`",
                ),
            ],
        );
    let group = |gid: &str| {
        FakeHost::sound()
            .file("/proc/sys/kernel/io_uring_disabled", "1\n")
            .file("/proc/sys/kernel/io_uring_group", gid)
    };
    group("27").expect(Guests::All, &[]);
    group("-1").expect(
        Guests::All,
        &[(
            Warning,
            "io-uring",
            "only for the group that kernel.io_uring_group names",
            "`sudo sysctl kernel.io_uring_disabled=0`",
        )],
    );
}

#[test]
fn userfaultfd_by_switch_by_privilege_or_not_at_all() {
    let refused = |errno| FakeHost::sound().answer(move |answers| answers.userfaultfd = Err(errno));
    let switch = "/proc/sys/vm/unprivileged_userfaultfd";
    refused(Errno::EACCES)
        .file(switch, "1")
        .expect(Guests::All, &[]);
    refused(Errno::ENOENT)
        .file("/proc/self/status", "CapEff:\t80000\n")
        .expect(Guests::All, &[]);
    refused(Errno::ENOENT).expect(
        Guests::All,
        &[(
            Warning,
            "userfaultfd",
            "forbidden: guest memory cannot be filled on demand",
            "`sudo sysctl vm.unprivileged_userfaultfd=1`",
        )],
    );
    refused(Errno::ENOENT).without(switch).expect(
        Guests::All,
        &[(
            Warning,
            "userfaultfd",
            "this kernel has none: guest memory cannot be filled on demand",
            "boot a kernel built with CONFIG_USERFAULTFD",
        )],
    );
}

#[test]
fn memory_that_is_short_or_in_small_pages() {
    FakeHost::sound()
        .file(
            "/proc/meminfo",
            "MemTotal: 524288 kB\nMemAvailable: 102400 kB\n",
        )
        .file(
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]\n",
        )
        .expect(
            Guests::All,
            &[
                (
                    Warning,
                    "memory",
                    "100 MiB of 512 MiB available",
                    "see `ps -eo rss,comm --sort=-rss | head` for who has it",
                ),
                (
                    Warning,
                    "transparent-huge-pages",
                    "never: guests' memory accesses are slower",
                    "`echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`",
                ),
            ],
        );
}

#[test]
fn reserved_huge_pages_are_listed_by_size() {
    let pool = |host: FakeHost, size: &str, total, free| {
        let directory = format!("/sys/kernel/mm/hugepages/hugepages-{size}kB");
        host.file(&format!("{directory}/nr_hugepages"), total)
            .file(&format!("{directory}/free_hugepages"), free)
    };
    let host = pool(
        pool(FakeHost::sound(), "1048576", "2", "1"),
        "2048",
        "512",
        "512",
    );
    let report = host.report();
    let fact = report
        .facts
        .iter()
        .find(|fact| fact.id == "reserved-huge-pages")
        .unwrap();
    assert_eq!(fact.summary, "512 of 512 x 2 MiB free, 1 of 2 x 1 GiB free");
    assert_eq!(report.memory.huge_page_pools[1].page_bytes, 1 << 30);
}

#[test]
fn an_old_kernel() {
    FakeHost::sound()
        .file("/proc/sys/kernel/osrelease", "5.10.0-28-amd64\n")
        .expect(
            Guests::All,
            &[(
                Warning,
                "kernel",
                "Linux 5.10.0-28-amd64, older than what muster is tested with",
                "boot Linux 6.1 or later",
            )],
        );
    FakeHost::sound()
        .file("/proc/sys/kernel/osrelease", "10.0.1\n")
        .expect(Guests::All, &[]);
}

#[test]
fn processors_are_counted_by_what_they_share() {
    // Two sockets of two cores of two threads; each socket has one L3.
    let mut host = FakeHost::sound().file("/sys/devices/system/cpu/online", "0-7");
    for cpu in 0..8 {
        let (package, core) = (cpu / 2 % 2, cpu % 4);
        let base = format!("/sys/devices/system/cpu/cpu{cpu}");
        let llc = if package == 0 { "0-1,4-5" } else { "2-3,6-7" };
        host = host
            .file(
                &format!("{base}/topology/physical_package_id"),
                &package.to_string(),
            )
            .file(
                &format!("{base}/topology/thread_siblings_list"),
                &format!("{core},{}", core + 4),
            )
            .file(&format!("{base}/cache/index0/level"), "1")
            .file(
                &format!("{base}/cache/index0/shared_cpu_list"),
                &format!("{core},{}", core + 4),
            )
            .file(&format!("{base}/cache/index3/level"), "3")
            .file(&format!("{base}/cache/index3/shared_cpu_list"), llc);
    }
    let host = host.file("/sys/devices/system/node/has_cpu", "0-1");
    let report = host.report();
    assert_eq!(
        report.cpus,
        CpuReport {
            model: Some("Test CPU".into()),
            online: 8,
            usable: 4,
            sockets: 2,
            cores: 4,
            threads_per_core: 2,
            last_level_caches: 2,
            numa_nodes: 2,
        }
    );
    assert_eq!(
        report.facts.last().unwrap().summary,
        "Test CPU: 8 CPUs, 2 sockets, 4 cores, 2 threads each, 2 last-level caches, 2 NUMA nodes, only 4 for this process"
    );
}

#[test]
fn cpus_that_are_offline_are_not_usable() {
    let host = FakeHost::sound().file("/proc/self/status", "Cpus_allowed_list:\t0-127\n");
    assert_eq!(host.report().cpus.usable, 4);
}

#[test]
fn device_nodes_are_asked_by_opening_them() {
    assert_eq!(answers::open("/dev/null"), Ok(()));
    assert_eq!(answers::open("/dev/null/kvm"), Err(Errno::ENOTDIR));
    assert_eq!(answers::open("/dev/no-such-device"), Err(Errno::ENOENT));
}

#[test]
fn a_host_that_hides_everything_is_described_all_the_same() {
    let host = FakeHost {
        root: tempfile::tempdir().unwrap(),
        ..FakeHost::sound()
    };
    check_form(&host.refused(Errno::ENOENT).report());
}

#[test]
fn this_very_host_is_described() {
    let report = survey();
    check_form(&report);
    assert!(report.cpus.online > 0, "{report:?}");
    assert!(report.cpus.usable > 0, "{report:?}");
}
