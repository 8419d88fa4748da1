use muster_node::snapshot::{CpuSnapshot, LoadSnapshot};
use muster_scheduler::MS;

use super::*;

fn vcpu(run_ms: u64, ready_ms: u64, halted_ms: u64) -> VcpuSnapshot {
    VcpuSnapshot {
        state: VcpuState::Ready,
        cpu: None,
        allowed: "0-1".to_owned(),
        run_ns: run_ms * MS,
        ready_ns: ready_ms * MS,
        co_stop_ns: 0,
        halted_ns: halted_ms * MS,
        holder_preemptions: run_ms / 100,
        preemptions: run_ms,
        counters: Default::default(),
        histogram: [0; 64],
    }
}

fn snapshot(at_ms: u64, vcpus: Vec<VcpuSnapshot>) -> Snapshot {
    let cpu = |cpu| CpuSnapshot {
        cpu,
        vcpu: None,
        stolen_ns: at_ms * MS / 100,
    };
    Snapshot {
        at_ns: at_ms * MS,
        schedule: "gang".to_owned(),
        enforcement: "gate".to_owned(),
        policy_state: "slot 0: web\n".to_owned(),
        cpus: vec![cpu(0), cpu(1)],
        vms: vec![VmSnapshot {
            name: "web".to_owned(),
            pid: 4711,
            joined_ns: 0,
            weight: 256,
            cap_percent: None,
            locks: Locks::Linux,
            load: LoadSnapshot {
                runnable: 1.5,
                demand_cpus: 1.25,
                delivered_cpus: 0.75,
                steal_share: 0.4,
            },
            vcpus,
        }],
        manager: ManagerSnapshot {
            cpu_ns: at_ms * MS / 500,
            decisions: at_ms,
            switches: at_ms / 2,
            switch_p50_ns: 30_500,
            ..ManagerSnapshot::default()
        },
    }
}

/// The words of the line that begins so.
#[track_caller]
fn row(page: &str, name: &str) -> Vec<String> {
    let line = page.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line {name} in\n{page}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn times_are_parts_of_the_time_since_the_vm_joined() {
    let mut running = vcpu(500, 250, 250);
    (running.state, running.cpu) = (VcpuState::Running, Some(1));
    let page = page(&snapshot(1000, vec![running, vcpu(0, 0, 0)]), None, 120);
    let first = [
        "web/0", "running", "1", "0-1", "50.0", "25.0", "0.0", "25.0", "500", "5",
    ];
    assert_eq!(row(&page, "web/0"), first);
    let second = ["web/1", "ready", "-", "0-1", "-", "-", "-", "-", "0", "0"];
    assert_eq!(row(&page, "web/1"), second);
    let vm = [
        "web", "4711", "256", "-", "1.50", "1.25", "0.75", "40.0", "linux",
    ];
    assert_eq!(row(&page, "web "), vm);
    assert!(
        page.starts_with("gang on CPUs 0-1, enforced by gate\n"),
        "{page}"
    );
    assert!(
        page.contains("0.20 % of a CPU, 1000 decisions, 500 switches in 1.0 s"),
        "{page}"
    );
    assert!(page.contains("a switch takes 30.5 us"), "{page}");
    assert!(page.ends_with("\npolicy:\n  slot 0: web\n"), "{page}");
}

#[test]
fn or_of_the_time_since_the_last_look() {
    let before = snapshot(1000, vec![vcpu(500, 250, 250)]);
    let now = snapshot(2000, vec![vcpu(1400, 350, 250)]);
    let page = page(&now, Some(&before), 120);
    let expected = [
        "web/0", "ready", "-", "0-1", "90.0", "10.0", "0.0", "0.0", "900", "9",
    ];
    assert_eq!(row(&page, "web/0"), expected);
    assert!(
        page.contains("1000 decisions, 500 switches in 1.0 s"),
        "{page}"
    );
    let stolen = "gang on CPUs 0-1, enforced by gate; 1.0 % of their time stolen from the host\n";
    assert!(page.starts_with(stolen), "{page}");
}

/// A VM of the same name that has joined since is another one.
#[test]
fn a_vm_that_has_come_again_begins_anew() {
    let before = snapshot(1000, vec![vcpu(500, 250, 250)]);
    let mut now = snapshot(2000, vec![vcpu(10, 0, 30)]);
    now.vms[0].joined_ns = 1900 * MS;
    let page = page(&now, Some(&before), 120);
    assert_eq!(row(&page, "web/0")[4..8], ["25.0", "0.0", "0.0", "75.0"]);
}

#[test]
fn without_a_vm_the_page_says_how_to_start_one() {
    let mut empty = snapshot(0, Vec::new());
    empty.vms.clear();
    empty.policy_state.clear();
    let page = page(&empty, None, 80);
    assert!(page.contains("muster run --node"), "{page}");
    assert!(
        page.contains("- of a CPU") && !page.contains("policy:"),
        "{page}"
    );
}

#[test]
fn narrow_terminals_are_respected() {
    let page = page(&snapshot(1000, vec![vcpu(1, 2, 3)]), None, 60);
    let table: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("web"))
        .collect();
    assert!(table.len() > 2, "{page}");
    assert!(
        table.iter().all(|line| line.chars().count() <= 60),
        "{page}"
    );
}

#[test]
fn why_locks_are_not_seen_is_told() {
    let mut snapshot = snapshot(1000, vec![vcpu(0, 0, 0)]);
    for (locks, word) in [
        (Locks::Untold, "-"),
        (Locks::Awaited, "-"),
        (Locks::Page, "page"),
        (Locks::Unseen("its kernel is odd".to_owned()), "unseen"),
    ] {
        let is_unseen = matches!(locks, Locks::Unseen(_));
        snapshot.vms[0].locks = locks;
        let page = page(&snapshot, None, 120);
        assert_eq!(row(&page, "web ").last().unwrap(), word);
        let said = page.contains("\nweb: locks are not seen: its kernel is odd\n");
        assert_eq!(said, is_unseen, "{page}");
    }
}
