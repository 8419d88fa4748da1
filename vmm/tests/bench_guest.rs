//! The benchmark guest on the host's real KVM: every workload runs, and what it counts makes sense.

use std::fs;
use std::thread;
use std::time::Duration;

use muster_guest_images::{BenchGuest, Cache};
use muster_vmm::boot::Protocol;
use muster_vmm::lifecycle::{self, GuestEnd};
use muster_vmm::{ConsoleSpec, OnReboot, VmSpec};
use serde_json::Value;

use page::Page;

#[path = "bench_guest/page.rs"]
mod page;

/// Far more than the guest takes.
const SIZE_MAX: u64 = 256 << 10;
const CPUS: [u32; 3] = [1, 2, 4];
/// How long a run is at first, and how often it is made four times as long if a busy host has let
/// somebody do nothing.
const MILLISECONDS: u32 = 200;
const ATTEMPTS: u32 = 4;

// The counters, as in docs/bench-guest.md.
const WORK: usize = 0;
const SPINS: usize = 1;
const HALTS: usize = 2;
const WAKES: usize = 3;
const LATE_NS: usize = 6;
const MISSED: usize = 7;

/// Whether KVM can be tried here. Where it cannot, the test says so, or fails if KVM is required.
fn kvm_is_here() -> bool {
    let Err(error) = muster_vmm::kvm::open() else {
        return true;
    };
    assert!(
        std::env::var_os("MUSTER_REQUIRE_KVM").is_none(),
        "KVM is required: {error}"
    );
    eprintln!("SKIPPED, no KVM: {error}");
    false
}

/// Runs the guest to its end; gives its status and its console.
fn run(cpus: u32, cmdline: &str) -> (u8, String) {
    let cache = Cache::open_default().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let console = dir.path().join("console");
    let spec = VmSpec {
        cpus,
        memory_bytes: 64 << 20,
        kernel: BenchGuest::build(&cache).unwrap().path,
        protocol: Protocol::Auto,
        initrd: None,
        cmdline: cmdline.to_owned(),
        disks: Vec::new(),
        console: ConsoleSpec::File(console.clone()),
        on_reboot: OnReboot::Exit,
        node: None,
    };
    let end = lifecycle::run(&spec).unwrap();
    let said = fs::read_to_string(console).unwrap();
    let GuestEnd::PowerOff { status } = end else {
        panic!("{cmdline:?} with {cpus} vCPUs: {end:?}: {said}");
    };
    (status, said)
}

/// What a guest has reported.
struct Report {
    elapsed_ns: u64,
    protected: u64,
    counters: Vec<Vec<u64>>,
    histogram_sums: Vec<u64>,
}

impl Report {
    fn of(cpus: u32, cmdline: &str) -> Self {
        let (status, said) = run(cpus, cmdline);
        assert_eq!(status, 0, "{said}");
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(report["cmdline"], cmdline);
        assert_eq!(report["page"], true);
        let vcpus = report["vcpus"].as_array().unwrap();
        assert_eq!(vcpus.len(), cpus as usize);
        let numbers = |value: &Value| -> Vec<u64> {
            let numbers = value.as_array().into_iter().flatten();
            numbers.map(|number| number.as_u64().unwrap()).collect()
        };
        let histogram_sum = |vcpu: &Value| numbers(&vcpu["histogram"]).iter().sum();
        Self {
            elapsed_ns: report["elapsed_ns"].as_u64().unwrap(),
            protected: report["protected"].as_u64().unwrap(),
            counters: vcpus
                .iter()
                .map(|vcpu| numbers(&vcpu["counters"]))
                .collect(),
            histogram_sums: vcpus.iter().map(histogram_sum).collect(),
        }
    }

    fn each(&self, counter: usize) -> Vec<u64> {
        self.counters
            .iter()
            .map(|of_vcpu| of_vcpu[counter])
            .collect()
    }

    fn sum(&self, counter: usize) -> u64 {
        self.each(counter).iter().sum()
    }
}

/// Runs a workload with 1, 2 and 4 vCPUs, for so long that each has done something, and checks each
/// report.
fn check(workload: &str, check: impl Fn(&Report)) {
    check_with(
        &CPUS,
        workload,
        |report| report.each(WORK).iter().all(|work| *work > 0),
        check,
    );
}

fn check_with(
    cpus: &[u32],
    workload: &str,
    enough: impl Fn(&Report) -> bool,
    check: impl Fn(&Report),
) {
    if !kvm_is_here() {
        return;
    }
    for &cpus in cpus {
        let found = (0..ATTEMPTS).any(|attempt| {
            let milliseconds = MILLISECONDS << (2 * attempt);
            let seconds = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
            let report = Report::of(cpus, &format!("{workload} seconds={seconds}"));
            assert!(report.elapsed_ns >= u64::from(milliseconds) * 1_000_000);
            check(&report);
            enough(&report)
        });
        assert!(found, "{workload} with {cpus} vCPUs: a vCPU does nothing");
    }
}

/// The two vCPUs of each pair.
fn pairs(values: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    values.chunks_exact(2).map(|pair| (pair[0], pair[1]))
}

fn is_request_reply(report: &Report) {
    for (asked, answered) in pairs(&report.each(WORK)) {
        assert!(
            answered == asked || answered == asked + 1,
            "{asked} {answered}"
        );
    }
}

#[test]
fn it_is_small() {
    let guest = BenchGuest::build(&Cache::open_default().unwrap()).unwrap();
    assert!(fs::metadata(guest.path).unwrap().len() < SIZE_MAX);
}

#[test]
fn every_request_has_one_reply() {
    check("request-reply", is_request_reply);
    check("request-reply halt", is_request_reply);
}

#[test]
fn ping_pong_halts_and_keeps_the_times() {
    let halts_and_wakes = |report: &Report| {
        let all = |counter| report.each(counter).iter().all(|count| *count > 0);
        all(WORK) && all(HALTS) && all(WAKES)
    };
    check_with(&[2, 4], "ping-pong", halts_and_wakes, |report| {
        is_request_reply(report);
        assert_eq!(report.sum(SPINS), 0);
        for (vcpu, work) in report.each(WORK).into_iter().enumerate() {
            let timed = if vcpu % 2 == 0 { work } else { 0 };
            assert_eq!(report.histogram_sums[vcpu], timed);
        }
    });
}

#[test]
fn messages_arrive_and_the_queue_is_bounded() {
    for workload in ["message", "message halt", "message size=4096"] {
        check(workload, |report| {
            for (sent, received) in pairs(&report.each(WORK)) {
                // Either end may have stopped before it had counted its last one.
                assert!(
                    received <= sent + 1 && sent <= received + 65,
                    "{sent} {received}"
                );
            }
        });
    }
}

#[test]
fn nobody_passes_a_barrier_alone() {
    for workload in [
        "barrier",
        "barrier halt",
        "barrier grain=0ns",
        "barrier obey grain=1us",
    ] {
        check(workload, |report| {
            let passed = report.each(WORK);
            let (least, most) = (passed.iter().min().unwrap(), passed.iter().max().unwrap());
            assert!(most - least <= 1, "{passed:?}");
        });
    }
}

/// A lock without order may starve somebody, so it is enough if two have had it.
#[test]
fn locks_exclude() {
    for kind in ["tas", "ticket", "queue"] {
        for times in [
            "critical=0ns outside=0ns",
            "critical=1us outside=500ns obey",
        ] {
            let enough = |report: &Report| {
                let served = report.each(WORK).iter().filter(|work| **work > 0).count();
                served >= report.counters.len().min(2)
            };
            check_with(&CPUS, &format!("lock={kind} {times}"), enough, |report| {
                assert_eq!(report.protected, report.sum(WORK), "{kind}");
            });
        }
    }
}

#[test]
fn timers_fire_once_a_period() {
    check("timer busy=10us", |report| {
        for (vcpu, fired) in report.each(WORK).into_iter().enumerate() {
            assert_eq!(report.histogram_sums[vcpu], fired);
            let counters = &report.counters[vcpu];
            let periods = fired + counters[MISSED];
            // The last one missed may be just ahead.
            assert!(periods <= report.elapsed_ns / 1_000_000 + 1, "{counters:?}");
            assert!(counters[HALTS] >= fired && counters[LATE_NS] > 0 || fired == 0);
        }
    });
}

#[test]
fn phases_rest_in_between() {
    check("phases run=1ms rest=1ms", |report| {
        for counters in &report.counters {
            assert!(counters[HALTS] + 1 >= counters[WORK], "{counters:?}");
            assert!(
                counters[WORK] <= report.elapsed_ns / 1_000_000 + 1,
                "{counters:?}"
            );
        }
    });
}

#[test]
fn work_without_others_is_counted() {
    for workload in ["compute", "compute set=4K obey", "hog", "hog obey"] {
        check(workload, |report| assert_eq!(report.sum(SPINS), 0));
    }
}

#[test]
fn all_vcpus_start() {
    check_with(
        &[64],
        "phases run=1us rest=10ms",
        |report| report.sum(WORK) > 0,
        |_| {},
    );
}

#[test]
fn a_wrong_command_line_is_refused_with_a_line_that_helps() {
    if !kvm_is_here() {
        return;
    }
    for (cmdline, words) in [
        ("", "give one of: request-reply"),
        ("hog faster", "unknown word \"faster\""),
        ("barrier grain=10", "needs a time in range such as 100us"),
        ("hog grain=1us", "does not go with this workload"),
        ("compute set=1024M", "give the guest more memory"),
    ] {
        let (status, said) = run(2, cmdline);
        assert_eq!(status, 2, "{said}");
        assert!(
            said.starts_with("bench-guest: ") && said.contains(words),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// Process control, and counters that the host reads while the guest runs. The number of vCPUs is one
/// that no other test has, so that the machine is found among those of tests in the same process.
#[test]
fn workers_obey_the_host() {
    const CPUS: u32 = 3;
    if !kvm_is_here() {
        return;
    }
    for workload in [
        "hog",
        "lock=ticket critical=0ns outside=1us",
        "barrier halt grain=10us",
        "barrier",
    ] {
        let host = thread::spawn(move || {
            let page = Page::find(CPUS);
            let patience = Duration::from_secs(2);
            for _ in 0..2 {
                assert!(
                    (0..CPUS).all(|vcpu| page.works(vcpu, patience)),
                    "{workload}: all work"
                );
                page.advise(1);
                // They finish what they are at.
                thread::sleep(Duration::from_millis(300));
                assert!(page.works(0, patience), "{workload}: the first goes on");
                for vcpu in 1..CPUS {
                    let pause = Duration::from_millis(50);
                    assert!(!page.works(vcpu, pause), "{workload}: {vcpu} goes on, too");
                }
                page.advise(0);
            }
        });
        let (status, said) = run(CPUS, &format!("{workload} obey seconds=5"));
        assert_eq!(status, 0, "{said}");
        host.join().unwrap();
    }
}
