mod rows;

use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Nanos, Topology, VcpuId, VmId, VmSpec};

const SLOT: Nanos = 20 * MS;

/// What is on each CPU, as the matrix is drawn.
fn row(host: &Host) -> String {
    let name = |occupant: Option<(u32, u32)>| match occupant {
        Some((vm, index)) => format!("{}{index}", char::from(b'A' + vm as u8)),
        None => "..".to_owned(),
    };
    let cpus: Vec<String> = host.on_cpus().into_iter().map(name).collect();
    cpus.join(" ")
}

/// The next `count` slots, looked at in their middle.
fn slots(host: &mut Host, count: u64) -> Vec<String> {
    let begin = host.now;
    let mut rows = Vec::new();
    for slot in 0..count {
        host.run_until(begin + slot * SLOT + SLOT / 2);
        rows.push(row(host));
    }
    host.run_until(begin + count * SLOT);
    rows
}

/// The matrix in the textbook's manner: `A/0` is A0 there.
fn matrix(host: &Host) -> String {
    let drawn = host.engine.policy().describe(host.engine.view());
    let line = |line: &str| {
        let cells: Vec<String> = line
            .split_whitespace()
            .map(|cell| cell.replace('/', ""))
            .collect();
        cells.join(" ") + "\n"
    };
    drawn.lines().map(line).collect()
}

fn weighted(vcpus: u32, weight: u32) -> VmSpec {
    VmSpec {
        weight,
        ..VmSpec::new("vm", vcpus)
    }
}

/// CPU time in milliseconds, by VM.
fn shares(host: &Host) -> Vec<u64> {
    let vms = host.engine.view().vms().map(|(vm, _)| vm);
    vms.map(|vm| host.running_ns(vm) / MS).collect()
}

/// The textbook's figure has 24 threads on six CPUs, and calls A's threads A0 to A6. Seven can't run
/// on six CPUs at once, and 24 leaves A six, so that A is read as A0 to A5.
#[test]
fn the_textbooks_five_processes_fill_four_slots() {
    let mut host = Host::new(6, "gang");
    for vcpus in [6, 3, 3, 5, 7] {
        host.arrive(vcpus);
    }
    let expected = [
        "A0 A1 A2 A3 A4 A5",
        "B0 B1 B2 C0 C1 C2",
        "D0 D1 D2 D3 D4 E0",
        "E1 E2 E3 E4 E5 E6",
    ];
    assert_eq!(matrix(&host), expected.join("\n") + "\n");
    let seen = slots(&mut host, 12);
    for (slot, seen) in seen.iter().enumerate() {
        assert_eq!(seen, expected[slot % 4], "slot {slot}");
    }
}

#[test]
fn two_and_one_and_one_leave_no_hole_on_two_cpus() {
    let mut host = Host::new(2, "gang");
    for vcpus in [2, 1, 1] {
        host.arrive(vcpus);
    }
    assert_eq!(slots(&mut host, 4), ["A0 A1", "B0 C0", "A0 A1", "B0 C0"]);
}

#[test]
fn two_and_one_leave_a_quarter_of_two_cpus_idle() {
    let mut host = Host::new(2, "gang");
    host.arrive(2);
    host.arrive(1);
    assert_eq!(slots(&mut host, 4), ["A0 A1", "B0 ..", "A0 A1", "B0 .."]);
    assert_eq!(shares(&host), [80, 40]);
}

#[test]
fn a_hole_is_filled_with_half_a_gang_if_that_is_asked_for() {
    let mut host = Host::new(2, "gang:backfill");
    host.arrive(2);
    host.arrive(1);
    assert_eq!(slots(&mut host, 4), ["A0 A1", "B0 A1", "A0 A1", "B0 A1"]);
}

#[test]
fn a_gang_runs_in_every_row_that_has_room() {
    let mut host = Host::new(4, "gang");
    for vcpus in [3, 2, 1] {
        host.arrive(vcpus);
    }
    assert_eq!(matrix(&host), "A0 A1 A2 C0\nB0 B1 .. ..\n");
    assert_eq!(slots(&mut host, 2), ["A0 A1 A2 C0", "B0 B1 .. C0"]);
}

/// Errors of CPU time against what weights and vCPUs allow, in thousandths of the whole.
fn assert_shares(host: &Host, expected: &[u64]) {
    let got = shares(host);
    let (all, due): (u64, u64) = (got.iter().sum(), expected.iter().sum());
    for (vm, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let (got, expected) = (got * due, expected * all);
        assert!(
            got.abs_diff(expected) * 50 <= expected,
            "VM {vm}: {got} for {expected} in {:?}",
            shares(host)
        );
    }
}

#[test]
fn weights_may_be_far_apart() {
    let mut host = Host::new(2, "gang");
    for weight in [1, 20] {
        host.arrive_as(weighted(2, weight));
    }
    let window = host.engine.policy().claims().fair_within_ns.unwrap();
    host.run_until(window);
    assert_shares(&host, &[1, 20]);
}

#[test]
fn gangs_of_a_row_may_differ_in_weight() {
    // Three rows of two gangs. All weights together are 15, two gangs run at a time: the heaviest has
    // two thirds of the slots.
    let mut host = Host::new(4, "gang");
    for weight in [1, 2, 3, 4, 5] {
        host.arrive_as(weighted(2, weight));
    }
    let window = host.engine.policy().claims().fair_within_ns.unwrap();
    host.run_until(window);
    assert_shares(&host, &[1, 2, 3, 4, 5]);
}

#[test]
fn a_gang_that_is_always_on_does_not_save_up_what_it_cannot_use() {
    let mut host = Host::new(4, "gang");
    for weight in [80, 1, 1] {
        host.arrive_as(weighted(2, weight));
    }
    host.run_until(400 * SLOT);
    assert_shares(&host, &[2, 1, 1]);
    // The newcomer needs the whole host. It gets its share of slots, 10 of 90, from the beginning.
    let wide = host.arrive_as(weighted(4, 10));
    host.run_until(490 * SLOT);
    let got = host.running_ns(wide) / (4 * SLOT);
    assert!((6..=11).contains(&got), "{got} slots");
}

#[test]
fn weights_count_slots_or_cpu_time() {
    for (policy, expected) in [("gang", [4, 1, 1, 1, 1]), ("gang:shares=time", [1; 5])] {
        let mut host = Host::new(4, policy);
        for vcpus in [4, 1, 1, 1, 1] {
            host.arrive(vcpus);
        }
        host.run_until(500 * SLOT);
        assert_shares(&host, &expected);
    }
}

#[test]
fn a_wide_and_a_narrow_vm_share_cpu_time_by_weight() {
    let mut host = Host::new(2, "gang:shares=time");
    host.arrive_as(weighted(2, 300));
    host.arrive_as(weighted(1, 100));
    host.run_until(500 * SLOT);
    assert_shares(&host, &[3, 1]);
}

#[test]
fn a_vm_wider_than_the_host_shares_its_weight_among_its_gangs() {
    let mut host = Host::new(4, "gang:shares=time");
    let wide = host.arrive(6);
    host.arrive(4);
    assert_eq!(matrix(&host), "A0 A1 .. ..\nA2 A3 A4 A5\nB0 B1 B2 B3\n");
    host.run_until(500 * SLOT);
    assert_shares(&host, &[1, 1]);
    let first = host.engine.times(host.vcpu(wide, 0))[crate::Runstate::Running];
    let last = host.engine.times(host.vcpu(wide, 5))[crate::Runstate::Running];
    assert!(first.abs_diff(last) <= SLOT, "{first} and {last}");
}

#[test]
fn a_halted_gang_is_passed_over_and_comes_back_without_credit() {
    let mut host = Host::new(2, "gang");
    let [a, b] = [host.arrive(2), host.arrive(2)];
    for vcpu in 0..2 {
        host.halt(host.vcpu(a, vcpu));
    }
    // Nobody was left in its slot, so that the next began at once.
    assert_eq!(row(&host), "B0 B1");
    assert_eq!(slots(&mut host, 10), ["B0 B1"; 10]);
    host.wake(host.vcpu(a, 1));
    host.run_until(11 * SLOT);
    let before = host.running_ns(b);
    host.wake(host.vcpu(a, 0));
    host.run_until(21 * SLOT);
    assert_eq!(host.running_ns(b) - before, 2 * 5 * SLOT);
}

#[test]
fn a_halted_member_keeps_its_cell() {
    let mut host = Host::new(2, "gang");
    let a = host.arrive(2);
    host.arrive(2);
    host.halt(host.vcpu(a, 1));
    assert_eq!(slots(&mut host, 3), ["A0 A1", "B0 B1", "A0 A1"]);
}

#[test]
fn with_backfill_a_halted_members_cell_is_used_until_it_wakes() {
    let mut host = Host::new(2, "gang:backfill");
    let a = host.arrive(2);
    let b = host.arrive(2);
    host.halt(host.vcpu(a, 1));
    assert_eq!(row(&host), "A0 B1");
    host.wake(host.vcpu(a, 1));
    assert_eq!(row(&host), "A0 A1");
    host.halt(host.vcpu(a, 1));
    host.halt(host.vcpu(b, 1));
    // Who filled the hole has halted too. No other is at home in the column.
    host.wake(host.vcpu(b, 1));
    assert_eq!(row(&host), "A0 B1");
    host.halt(host.vcpu(a, 0));
    assert_eq!(row(&host), "B0 B1");
    host.wake(host.vcpu(a, 0));
    host.wake(host.vcpu(a, 1));
    assert_eq!(slots(&mut host, 2), ["B0 B1", "A0 A1"]);
}

#[test]
fn a_whole_capped_gang_wakes_at_once() {
    // All members wake in one moment. The policy hears of them one by one, and must not give the first
    // its cell back alone.
    let mut host = Host::new(2, "gang:backfill");
    let capped = VmSpec {
        cap_percent: Some(50),
        ..VmSpec::new("capped", 2)
    };
    let capped = host.arrive_as(capped);
    host.arrive(2);
    host.run_until(1000 * MS);
    let got = host.running_ns(capped);
    assert!((400 * MS..=500 * MS).contains(&got), "{got}");
}

#[test]
fn a_boost_lends_a_cpu_for_a_moment_and_not_often() {
    let mut host = Host::new(1, "gang:boost=1ms");
    host.arrive(1);
    let sleeper = host.arrive(1);
    host.halt(host.vcpu(sleeper, 0));
    host.run_until(5 * MS);
    host.wake(host.vcpu(sleeper, 0));
    assert_eq!(row(&host), "B0");
    host.run_until(6 * MS);
    assert_eq!(row(&host), "A0");
    host.halt(host.vcpu(sleeper, 0));
    host.run_until(7 * MS);
    host.wake(host.vcpu(sleeper, 0));
    assert_eq!(row(&host), "A0");
}

#[test]
fn affinities_are_kept_by_moving_others() {
    let mut host = Host::new(4, "gang");
    let pinned = VmSpec {
        hard_affinity: CpuSet::first_n(2),
        ..VmSpec::new("pinned", 2)
    };
    host.arrive(2);
    host.arrive_as(pinned);
    // Both would fit beside each other, if A were not at home where B must be. B leads the second slot
    // there, and A moves over: both have all the time but the first slot.
    assert_eq!(slots(&mut host, 2), ["A0 A1 .. ..", "B0 B1 A0 A1"]);
}

#[test]
fn a_cpu_goes_and_comes_back() {
    let mut host = Host::new(4, "gang");
    host.arrive(4);
    host.arrive(2);
    host.run_until(5 * MS);
    host.input(Input::Offline(CpuId(1)));
    // A is too wide now: one of its vCPUs is a gang of its own, which B leaves room for.
    let seen = slots(&mut host, 6);
    assert!(
        seen.iter()
            .all(|row| !row.contains(' ') || row.split(' ').nth(1) == Some(".."))
    );
    for vcpu in 0..4 {
        assert!(
            seen.iter().any(|row| row.contains(&format!("A{vcpu}"))),
            "{seen:?}"
        );
    }
    host.input(Input::Online(CpuId(1)));
    let seen = slots(&mut host, 4);
    assert!(
        seen.iter().any(|row| row.contains("A0 A1 A2 A3")),
        "{seen:?}"
    );
    assert!(seen.iter().any(|row| row.contains("B0 B1")), "{seen:?}");
}

#[test]
fn changed_affinities_and_the_end_of_a_slot_may_come_together() {
    let mut host = Host::new(2, "gang:backfill");
    let a = host.arrive(2);
    let b = host.arrive(2);
    host.now = SLOT;
    host.input(Input::HardAffinity(VcpuId(0), CpuSet::only(CpuId(1))));
    host.now = 2 * SLOT;
    host.input(Input::Offline(CpuId(0)));
    host.now = 3 * SLOT;
    host.leave(a);
    let ran = host.running_ns(b);
    host.run_until(13 * SLOT);
    assert_eq!(host.running_ns(b) - ran, 10 * SLOT);
}

#[test]
fn a_host_in_use_is_taken_over() {
    let mut host = Host::new(4, "pinned");
    for vcpus in [4, 2, 2] {
        host.arrive(vcpus);
    }
    host.run_until(5 * MS);
    host.set_policy("gang");
    assert_eq!(
        slots(&mut host, 3),
        ["A0 A1 A2 A3", "B0 B1 C0 C1", "A0 A1 A2 A3"]
    );
    host.set_policy("pinned");
    host.set_policy("gang:placement=undivided,backfill");
    assert_eq!(slots(&mut host, 1), ["A0 A1 A2 A3"]);
}

#[test]
fn when_gangs_leave_the_rest_is_packed_into_fewer_rows() {
    let mut host = Host::new(4, "gang");
    let vms: Vec<VmId> = [3, 3, 2, 1, 1]
        .into_iter()
        .map(|n| host.arrive(n))
        .collect();
    assert_eq!(matrix(&host), "A0 A1 A2 D0\nB0 B1 B2 E0\nC0 C1 .. ..\n");
    host.leave(vms[0]);
    assert_eq!(matrix(&host), "B0 B1 B2 D0\nC0 C1 .. E0\n");
}

/// Drawn by hand. On the line: A A A B B C C D. D would fit beside A in a matrix; here it begins a row
/// of its own, and runs beside A since there is room.
#[test]
fn continuous_gangs_begin_at_any_hole() {
    let mut host = Host::new(4, "gang:placement=continuous");
    for vcpus in [3, 2, 2, 1] {
        host.arrive(vcpus);
    }
    assert_eq!(matrix(&host), "A0 A1 A2 B0\nB1 C0 C1 D0\n");
    let expected = ["A0 A1 A2 D0", "B1 C0 C1 B0"];
    assert_eq!(slots(&mut host, 4), [expected, expected].concat());
}

/// Drawn by hand: when B has left, D goes around C in the continuous form, and behind it in the
/// undivided form.
#[test]
fn undivided_gangs_are_not_split_around_others() {
    for (policy, drawn) in [
        ("gang:placement=continuous", "A0 A1 D0 C0\nD1 .. .. ..\n"),
        ("gang:placement=undivided", "A0 A1 .. C0\nD0 D1 .. ..\n"),
    ] {
        let mut host = Host::new(4, policy);
        let vms: Vec<VmId> = [2, 1, 1].into_iter().map(|n| host.arrive(n)).collect();
        host.leave(vms[1]);
        // The number of the VM that has left is used again: let nobody else have it.
        host.arrive(2);
        let drawn = drawn.replace('D', "B");
        assert_eq!(matrix(&host), drawn, "{policy}");
        assert_eq!(slots(&mut host, 1).len(), 1);
    }
}

#[test]
fn every_gang_gets_its_slot_within_the_bound() {
    let mut host = Host::with(
        Topology::flat(4),
        "gang"
            .parse::<crate::PolicySpec>()
            .unwrap()
            .build(&Topology::flat(4)),
    );
    for (vcpus, weight) in [(4, 400), (3, 100), (2, 300), (2, 100), (1, 400)] {
        host.arrive_as(weighted(vcpus, weight));
    }
    let bound = host.engine.policy().claims().ready_max_ns.unwrap();
    let vms = [(4, 400), (3, 100), (2, 300), (2, 100), (1, 400)];
    let load = crate::policy::Load::new(4, &vms).unwrap();
    let mut last = [0; 5];
    for slot in 0..500 {
        host.run_until(slot * SLOT + SLOT / 2);
        for (vm, _) in host.on_cpus().into_iter().flatten() {
            let waited = host.now - std::mem::replace(&mut last[vm as usize], host.now);
            assert!(waited <= bound(&load), "VM {vm} waited {waited} ns");
        }
    }
    assert!(last.iter().all(|&last| host.now - last <= bound(&load)));
}

#[test]
fn room_that_nobody_else_can_use_is_not_held_against_a_gang_for_ever() {
    let mut host = Host::new(3, "gang");
    let [a, b, narrow] = [2, 2, 1].map(|vcpus| host.arrive(vcpus));
    host.run_until(600 * SLOT);
    assert_eq!(host.running_ns(narrow), 600 * SLOT);
    host.arrive(3);
    host.leave(a);
    host.leave(b);
    host.run_until(620 * SLOT);
    let got = host.running_ns(narrow) / SLOT - 600;
    assert!((6..=11).contains(&got), "{got} slots of 20");
}

#[test]
fn a_gang_that_is_always_on_does_not_make_others_wait_for_its_heir() {
    let mut host = Host::new(4, "gang");
    let [heavy, light, _] = [4, 1, 1].map(|weight| host.arrive_as(weighted(2, weight)));
    host.run_until(800 * SLOT);
    host.arrive_as(weighted(4, 4));
    host.leave(heavy);
    let before = host.running_ns(light);
    host.run_until(860 * SLOT);
    assert!(host.running_ns(light) > before);
}

#[test]
fn who_wakes_beside_a_gang_that_is_always_on_begins_with_those_that_wait() {
    let mut host = Host::new(4, "gang");
    let [_, light, _, sleeper] = [6, 1, 1, 1].map(|weight| host.arrive_as(weighted(2, weight)));
    let mut got = [0, 0];
    for _ in 0..20 {
        for vcpu in 0..2 {
            host.halt(host.vcpu(sleeper, vcpu));
        }
        host.run_until(host.now + 4 * SLOT);
        for vcpu in 0..2 {
            host.wake(host.vcpu(sleeper, vcpu));
        }
        let before = [light, sleeper].map(|vm| host.running_ns(vm));
        host.run_until(host.now + 6 * SLOT);
        for (index, vm) in [light, sleeper].into_iter().enumerate() {
            got[index] += host.running_ns(vm) - before[index];
        }
    }
    // Three share two CPUs for 120 slots.
    let slots = got.map(|ns| ns / (2 * SLOT));
    assert!(slots[0].abs_diff(slots[1]) <= 6, "{slots:?}");
}
