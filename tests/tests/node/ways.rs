//! The ways in which the host is made to obey, and who may use which.

use std::sync::Arc;

use muster_tests::ordinary::Ordinary;
use muster_tests::vm::Vm;
use nix::sys::signal::Signal;

use super::harness::{self, Host, affinity, affinity_here, cpu_ns, kvm_is_here, policy, until};

/// CPU time of both VMs together in which shares are looked at.
const SHARE_NS: u64 = 3_000_000_000;
const VCPUS: [&str; 2] = ["vcpu0", "vcpu1"];
/// SCHED_IDLE.
const IDLE: u32 = 5;

/// A user who is not root, or a word why there is none.
fn ordinary() -> Option<Arc<Ordinary>> {
    match Ordinary::new() {
        Ok(user) => Some(Arc::new(user)),
        Err(error) => {
            eprintln!("SKIPPED, no ordinary user: {error}");
            None
        }
    }
}

/// Waits until a VM's threads are scheduled as if nobody had ever touched them.
fn until_given_back(vm: &Vm) {
    until("a VM has its classes and affinities back", || {
        VCPUS
            .iter()
            .all(|vcpu| policy(vm.pid(), vcpu) == 0 && affinity(vm.pid(), vcpu) == affinity_here())
    });
}

fn until_it_runs(vm: &Vm) {
    let before = cpu_ns(vm.pid());
    until("a VM runs", || cpu_ns(vm.pid()) > before + 100_000_000);
}

/// Has two VMs of weights 2 and 1 run; gives what the first one got of each part of the other.
fn ratio(host: &Host) -> f64 {
    host.sched(&["weight", "web", "512"]);
    let before = [host.run_ns("web"), host.run_ns("db")];
    let mut got = [0; 2];
    until("both have run for a while", || {
        got = [
            host.run_ns("web") - before[0],
            host.run_ns("db") - before[1],
        ];
        got[0] + got[1] > SHARE_NS
    });
    got[0] as f64 / got[1] as f64
}

#[test]
fn an_ordinary_user_schedules_own_vms_by_gates() {
    if !kvm_is_here() {
        return;
    }
    let Some(user) = ordinary() else { return };
    let mut host = Host::start_with("gang:quantum=10ms", &[], Some(user));
    let said = &host.line;
    assert!(
        said.contains("(gate, switched by ordinary threads)"),
        "{said}"
    );
    assert!(said.contains("neither real-time priority"), "{said}");
    let (web, db) = (host.vm("web", "hog"), host.vm("db", "request-reply"));
    host.until_vms(2);
    until("both get on", || {
        host.run_ns("web") > 300_000_000 && host.run_ns("db") > 300_000_000
    });
    let shown = host.shown();
    assert_eq!(shown["enforcement"], "gate");
    assert!(
        shown["manager"]["switches"].as_u64().unwrap() > 20,
        "{shown}"
    );
    assert!(host.sched(&["show"]).contains("enforced by gate"));
    let got = ratio(&host);
    assert!((1.4..2.8).contains(&got), "shares 2 to 1 are {got:.2}");
    assert_eq!(host.end(Signal::SIGTERM), Some(0));
    for vm in [&web, &db] {
        until_given_back(vm);
        until_it_runs(vm);
    }
}

#[test]
fn an_ordinary_user_asks_for_pulses_in_vain() {
    let Some(user) = ordinary() else { return };
    let mut command = harness::node(Some(&user), user.dir(), "gang", &["--enforce", "pulse"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("`pulse` needs real-time priority 10"),
        "{said}"
    );
}

#[test]
fn pulses_share_by_weight_and_are_undone() {
    if !kvm_is_here() {
        return;
    }
    if !muster_node_may_pulse() {
        eprintln!("SKIPPED, no leave for real-time classes");
        return;
    }
    let options = ["--enforce", "pulse"];
    let mut host = Host::start_with("gang:quantum=10ms", &options, None);
    let (web, db) = (host.vm("web", "hog"), host.vm("db", "hog"));
    host.until_vms(2);
    until("who has no turn goes on at SCHED_IDLE", || {
        [&web, &db]
            .iter()
            .any(|vm| policy(vm.pid(), "vcpu0") == IDLE)
    });
    let got = ratio(&host);
    assert!((1.4..2.8).contains(&got), "shares 2 to 1 are {got:.2}");
    // The kernel's own way, and back.
    host.sched(&["set", "host"]);
    for vm in [&web, &db] {
        until_given_back(vm);
    }
    host.sched(&["set", "gang"]);
    until("pulses are back", || {
        [&web, &db]
            .iter()
            .any(|vm| policy(vm.pid(), "vcpu0") == IDLE)
    });
    // One of its threads is killed: the kernel ends all of it.
    host.kill_thread("agent0");
    assert_eq!(host.wait(), None);
    for vm in [&web, &db] {
        until_given_back(vm);
        until_it_runs(vm);
    }
    host.start_again_with("gang", &options);
    host.until_vms(2);
    until("it schedules again", || {
        [&web, &db]
            .iter()
            .any(|vm| policy(vm.pid(), "vcpu0") == IDLE)
    });
    assert_eq!(host.end(Signal::SIGTERM), Some(0));
    for vm in [&web, &db] {
        until_given_back(vm);
    }
}

#[test]
fn affinity_binds_and_is_undone() {
    if !kvm_is_here() {
        return;
    }
    let mut host = Host::start_with("affinity", &["--enforce", "affinity"], None);
    let (web, db) = (host.vm("web", "hog"), host.vm("db", "hog"));
    host.until_vms(2);
    // With one CPU there is nothing to bind to.
    if affinity_here().contains(['-', ',']) {
        until("vCPUs are bound", || {
            let is_bound = |vm: &Vm| affinity(vm.pid(), "vcpu0").parse::<u32>().is_ok();
            is_bound(&web) && is_bound(&db)
        });
    }
    // The kernel shares: weights count for where a vCPU is, not for how much it gets.
    let got = ratio(&host);
    assert!((0.3..4.0).contains(&got), "one got {got:.2} of the other");
    for vm in [&web, &db] {
        assert!(VCPUS.iter().all(|vcpu| policy(vm.pid(), vcpu) == 0));
    }
    assert_eq!(host.shown()["enforcement"], "affinity");
    host.end(Signal::SIGKILL);
    for vm in [&web, &db] {
        until_given_back(vm);
        until_it_runs(vm);
    }
}

/// Whether this test's user may use pulses.
fn muster_node_may_pulse() -> bool {
    muster_vmm::host::scheduling().rt_priority_max >= 10
        && muster_vmm::host::scheduling().rt_runtime_us != Some(0)
}
