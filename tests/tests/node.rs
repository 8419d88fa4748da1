//! A node manager with real VMs: they are scheduled, shown and changed, and outlive it.
//!
//! The VMs are benchmark guests, so this runs wherever /dev/kvm opens.

use std::fs;
use std::time::Duration;

use muster_tests::vm::VmCommand;
use nix::sys::signal::Signal;
use serde_json::Value;

use harness::{Host, kvm_is_here, until};

#[path = "node/faults.rs"]
mod faults;
#[path = "node/harness.rs"]
mod harness;
#[path = "node/linux.rs"]
mod linux;
#[path = "node/ways.rs"]
mod ways;

/// Real time that every vCPU is given before its share is looked at.
const RUN_NS: u64 = 300_000_000;

#[test]
fn vms_are_scheduled_and_shown() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang:quantum=10ms");
    let (_web, _db) = (host.vm("web", "barrier"), host.vm("db", "request-reply"));
    let shown = host.until_shown(|shown| {
        let vms = shown["vms"].as_array().unwrap();
        let ran = |vm: &Value| {
            let vcpus = vm["vcpus"].as_array().unwrap();
            vcpus
                .iter()
                .all(|vcpu| vcpu["run_ns"].as_u64().unwrap() > RUN_NS)
        };
        vms.len() == 2 && vms.iter().all(ran)
    });
    // What they got done shows, too: they tell it through the guest page.
    for vm in shown["vms"].as_array().unwrap() {
        let work = vm["vcpus"][0]["counters"][0].as_u64().unwrap();
        assert!(work > 0, "{vm}");
    }
    let page = host.sched(&["show"]);
    for row in ["web ", "db ", "web/0", "web/1", "db/0", "db/1"] {
        assert!(
            page.lines().any(|line| line.starts_with(row)),
            "no {row}in\n{page}"
        );
    }
    let why = host.sched(&["why", "8"]);
    assert_eq!(why.lines().count(), 8, "{why}");
    assert!(why.contains("web/") && why.contains("db/"), "{why}");
}

#[test]
fn policies_weights_and_caps_change_while_vms_run() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang");
    let (web, _db) = (host.vm("web", "hog"), host.vm("db", "hog"));
    host.until_vms(2);
    for schedule in ["affinity", "host", "gang:quantum=5ms+smart"] {
        host.sched(&["set", schedule]);
        assert_eq!(host.shown()["schedule"], schedule);
        let before = host.run_ns("web");
        until("web runs on", || host.run_ns("web") > before);
    }
    host.sched(&["weight", "web", "512"]);
    host.sched(&["cap", "web", "50"]);
    let shown = host.shown();
    assert_eq!(host.vm_of(&shown, "web")["weight"], 512);
    assert_eq!(host.vm_of(&shown, "web")["cap_percent"], 50);
    host.sched(&["cap", "web", "none"]);
    assert_eq!(host.vm_of(&host.shown(), "web")["cap_percent"], Value::Null);
    assert_eq!(
        host.status(&["weight", "mail", "5"]),
        (2, "web, db".to_owned())
    );
    // Who ends is gone from the page.
    drop(web);
    host.until_vms(1);
}

#[test]
fn vcpus_are_bound_and_what_cannot_be_done_is_taken_back() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("host");
    let web = host.vm("web", "hog");
    host.until_vms(1);
    let allowed = || host.vm_of(&host.shown(), "web")["vcpus"][1]["allowed"].clone();
    host.sched(&["pin", "web/1", "0"]);
    assert_eq!(allowed(), "0");
    assert_eq!(harness::affinity(web.pid(), "vcpu1"), "0");
    assert_ne!(host.status(&["pin", "web/1", "1023"]).0, 0);
    assert_eq!(allowed(), "0");
    assert_eq!(harness::affinity(web.pid(), "vcpu1"), "0");
    assert_eq!(
        host.status(&["pin", "web/2", "0"]),
        (2, "no vCPU 2".to_owned())
    );
}

#[test]
fn a_trace_shows_who_was_where() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang:quantum=10ms");
    let (_web, _db) = (host.vm("web", "hog"), host.vm("db", "hog"));
    host.until_vms(2);
    let (trace, svg) = (host.dir().join("t.json"), host.dir().join("t.svg"));
    let paths = [&trace, &svg].map(|path| path.to_str().unwrap());
    host.sched(&["trace", "--seconds", "1", "-o", paths[0], "--svg", paths[1]]);
    let trace: Value = serde_json::from_str(&fs::read_to_string(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let turns = |vcpu: &str| {
        let of = |event: &&Value| event["ph"] == "X" && event["name"] == vcpu;
        let durations = events
            .iter()
            .filter(of)
            .map(|event| event["dur"].as_f64().unwrap());
        durations.sum::<f64>()
    };
    // Two gangs that never halt share the time; a busy host may leave holes.
    for vcpu in ["A0", "A1", "db0", "db1"] {
        let micros = turns(vcpu);
        assert!((200_000.0..800_000.0).contains(&micros), "{vcpu}: {micros}");
    }
    let svg = fs::read_to_string(svg).unwrap();
    assert!(
        svg.contains(">A = web<") && svg.contains(">db<"),
        "the chart names no VMs"
    );
}

#[test]
fn vms_outlive_the_node_manager_and_join_the_next() {
    if !kvm_is_here() {
        return;
    }
    let mut host = Host::start("gang");
    let mut web = host.vm("web", "hog");
    let mut db = host.vm("db", "hog");
    host.until_vms(2);
    host.end(Signal::SIGKILL);
    for vm in [&web, &db] {
        let before = harness::cpu_ns(vm.pid());
        until("a VM runs without its node manager", || {
            harness::cpu_ns(vm.pid()) > before + RUN_NS
        });
    }
    host.start_again("gang");
    host.until_vms(2);
    let before = host.run_ns("db");
    until("db is scheduled again", || host.run_ns("db") > before);
    // Ended properly, it gives back what it took.
    assert_eq!(host.end(Signal::SIGTERM), Some(0));
    for vm in [&web, &db] {
        until("a vCPU may run anywhere, in no special class", || {
            ["vcpu0", "vcpu1"].iter().all(|vcpu| {
                harness::affinity(vm.pid(), vcpu) == harness::affinity_here()
                    && harness::policy(vm.pid(), vcpu) == 0
            })
        });
    }
    assert!(!host.dir().join("node.sock").exists());
    for vm in [&mut web, &mut db] {
        // Two of one kind could be delivered as one. Either may be the second.
        vm.signal(Signal::SIGTERM);
        vm.signal(Signal::SIGINT);
        let status = vm.wait_within(Duration::from_secs(60)).status;
        assert!([130, 143].contains(&status), "{status}");
    }
}

#[test]
fn a_vm_needs_a_node_manager_that_is_there_and_a_name_of_its_own() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang");
    let _web = host.vm("web", "hog");
    host.until_vms(1);
    let twin: VmCommand = host.vm_command("web", "hog");
    let ended = twin.run();
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains("refused the VM"), "{}", ended.stderr);
    host.until_vms(1);
}
