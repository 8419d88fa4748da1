//! What goes wrong around VMs that are scheduled: nobody is stuck, nobody else suffers.

use std::thread;
use std::time::Duration;

use muster_tests::vm::Vm;
use nix::sys::signal::Signal;

use super::harness::{Host, affinity, affinity_here, cpu_ns, kvm_is_here, policy, until};

/// The promise: a gate is open so long after the node manager has stopped. As much again for looking.
const OPEN_WITHIN: Duration = Duration::from_millis(500);

/// CPU time that VMs get in a while.
fn progress(vms: &[&Vm], length: Duration) -> Vec<u64> {
    let before: Vec<u64> = vms.iter().map(|vm| cpu_ns(vm.pid())).collect();
    thread::sleep(length);
    let after = vms.iter().map(|vm| cpu_ns(vm.pid()));
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn a_node_manager_that_is_stopped_holds_nobody() {
    if !kvm_is_here() {
        return;
    }
    // Slots so long that without the lease one VM would wait through all of this test.
    let host = Host::start("gang:quantum=1s");
    let (web, db) = (host.vm("web", "hog"), host.vm("db", "hog"));
    host.until_vms(2);
    until("both have run", || {
        host.run_ns("web") > 0 && host.run_ns("db") > 0
    });
    host.signal(Signal::SIGSTOP);
    thread::sleep(OPEN_WITHIN);
    let here = affinity_here();
    for vm in [&web, &db] {
        until("threads are given back", || {
            affinity(vm.pid(), "vcpu0") == here
        });
        assert_eq!(policy(vm.pid(), "vcpu0"), 0);
    }
    // Over a second both get their share of the kernel, whatever else the host does.
    for got in progress(&[&web, &db], Duration::from_secs(1)) {
        assert!(got > 20_000_000, "one got {got} ns");
    }
    host.signal(Signal::SIGCONT);
    until("it schedules again", || {
        let shown = host.shown();
        let cpus = shown["cpus"].as_array().unwrap().iter();
        { cpus }.all(|cpu| cpu["vcpu"].is_string())
    });
    // With one CPU there is nothing to bind to.
    if here.contains(['-', ',']) {
        for vm in [&web, &db] {
            until("threads are bound again", || {
                affinity(vm.pid(), "vcpu0") != here
            });
        }
    }
    let (one, other) = (host.run_ns("web"), host.run_ns("db"));
    until("both run on", || {
        host.run_ns("web") > one && host.run_ns("db") > other
    });
}

#[test]
fn a_vm_that_is_killed_leaves_its_cpus_to_the_others() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang:quantum=10ms");
    let (web, db) = (host.vm("web", "barrier"), host.vm("db", "barrier"));
    host.until_vms(2);
    web.signal(Signal::SIGKILL);
    host.until_vms(1);
    let before = host.run_ns("db");
    until("the other runs on", || {
        host.run_ns("db") > before + 100_000_000
    });
    assert_eq!(host.shown()["manager"]["illegal_plans"], 0);
    drop(db);
}

#[test]
fn many_vms_on_few_cpus_all_get_on() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang:quantum=5ms+smart");
    let names: Vec<String> = (0..32).map(|index| format!("vm{index}")).collect();
    let vms: Vec<Vm> = names.iter().map(|name| host.vm(name, "hog")).collect();
    host.until_vms(vms.len());
    let all_run = |least: u64| {
        let shown = host.shown();
        let vms = shown["vms"].as_array().unwrap().iter();
        { vms }.all(|vm| {
            let vcpus = vm["vcpus"].as_array().unwrap().iter();
            { vcpus }.all(|vcpu| vcpu["run_ns"].as_u64().unwrap() > least)
        })
    };
    until("every vCPU has had a few slots", || all_run(20_000_000));
    host.sched(&["set", "affinity"]);
    host.sched(&["set", "host"]);
    assert_eq!(host.shown()["manager"]["illegal_plans"], 0);
}

#[test]
fn policies_are_swapped_as_often_as_one_likes() {
    if !kvm_is_here() {
        return;
    }
    let host = Host::start("gang");
    let (web, db) = (
        host.vm("web", "request-reply"),
        host.vm("db", "lock=ticket"),
    );
    host.until_vms(2);
    let is_long = std::env::var_os("MUSTER_LONG").is_some();
    let rounds = if is_long { 720 } else { 6 };
    let pause = Duration::from_millis(if is_long { 5000 } else { 200 });
    let all = [
        "affinity+smart",
        "host:pin",
        "gang+smart",
        "relaxed",
        "central",
        "host",
    ];
    for schedule in all.into_iter().cycle().take(rounds) {
        host.sched(&["set", schedule]);
        thread::sleep(pause);
        let (one, other) = (host.run_ns("web"), host.run_ns("db"));
        until("both run on", || {
            host.run_ns("web") > one && host.run_ns("db") > other
        });
        for vm in [&web, &db] {
            assert_eq!(policy(vm.pid(), "vcpu0"), 0, "{schedule}");
        }
    }
    let manager = &host.shown()["manager"];
    assert_eq!(manager["illegal_plans"], 0, "{manager}");
}
