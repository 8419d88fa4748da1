//! Runs against closed forms.

use super::*;
use crate::sim::record::{Activity, MarkKind, Span};
use crate::{MS, Runstate, SECOND, US};

/// A host on which nothing but the guests' work takes time.
const FREE: &str = "\n[host]\ncosts = { actuation = \"0us\", jitter = \"0us\", switch = \"0us\", \
                    ipi = \"0us\", handoff = \"0us\" }\n";

fn scenario(text: &str) -> Scenario {
    Scenario::parse(&format!("name = \"test\"\n{text}")).unwrap()
}

fn run_under(text: &str, policy: &str) -> Recording {
    let scenario = scenario(text);
    run(&scenario, &policy.parse().unwrap(), 1, Keep::Spans).unwrap()
}

/// One second on a free host with `cpus`.
fn free(cpus: u32, vms: &str, policy: &str) -> Recording {
    let host = FREE.replace("[host]", &format!("[host]\ntopology = \"{cpus}\""));
    run_under(&format!("{host}{vms}"), policy)
}

fn running(recording: &Recording, vm: usize) -> Nanos {
    let times = recording.vms[vm].times.iter();
    times.map(|times| times[Runstate::Running]).sum()
}

#[test]
fn computing_alone_takes_the_whole_time() {
    let recording = free(1, "[[vm]]", "pinned");
    assert_eq!(recording.vms[0].work_ns, SECOND);
    assert_eq!(running(&recording, 0), SECOND);
    // The last of a hundred ends when the time is over.
    assert_eq!(recording.vms[0].ops, 99);
    assert_eq!(recording.spans.len(), 1);
}

#[test]
fn two_on_one_cpu_have_half_each() {
    let recording = free(1, "[[vm]]\ncount = 2", "pinned");
    for vm in 0..2 {
        assert_eq!(running(&recording, vm), SECOND / 2);
    }
    assert_eq!(recording.cpu_totals.hole_ns, 0);
}

#[test]
fn out_of_phase_an_exchange_takes_two_slices() {
    // VM 0 has CPU 0 while VM 1 has CPU 1 and the other way round: each CPU's first is another VM's.
    let vms = r#"
        [[vm]]
        name = "b"
        hard-affinity = "1"
        leave = "50ms"
        [[vm]]
        name = "a"
        vcpus = 2
        workload = { kind = "request-reply", wait = "spin" }
        [[vm]]
        name = "c"
        hard-affinity = "0"
        [[vm]]
        name = "d"
        hard-affinity = "1"
    "#;
    // b keeps a's second vCPU from CPU 1 for 50 ms and then has its turn ended: out of step by half
    // a slice, a's vCPUs still meet, so an exchange costs nothing.
    let meeting = free(2, vms, "pinned:quantum=100ms");
    assert!(meeting.vms[1].ops > 100_000, "{}", meeting.vms[1].ops);
    let antiphase = vms.replace("leave = \"50ms\"", "leave = \"100ms\"");
    let host = FREE.replace("[host]", "[host]\ntopology = \"2\"");
    let text = format!("duration = \"20s\"{host}{antiphase}");
    let antiphase = run_under(&text, "pinned:quantum=100ms");
    let per_second = antiphase.vms[1].ops as f64 / 20.0;
    assert!((4.9..=5.1).contains(&per_second), "{per_second}");
}

#[test]
fn a_barrier_opens_once_per_grain() {
    let vms = "[[vm]]\nvcpus = 4\nworkload = { kind = \"barrier\", grain = \"100us\" }";
    let recording = free(4, vms, "pinned");
    assert_eq!(recording.vms[0].ops, 9_999);
    assert_eq!(recording.vms[0].spin_ns, 0);
    // On half the CPUs it is all waiting for the other half: they take turns of 10 ms.
    let halved = free(2, vms, "pinned");
    assert!(
        (90..110).contains(&halved.vms[0].ops),
        "{}",
        halved.vms[0].ops
    );
    assert!(halved.vms[0].spin_ns > SECOND, "{}", halved.vms[0].spin_ns);
}

#[test]
fn imbalance_is_waited_for() {
    let vms =
        "[[vm]]\nvcpus = 2\nworkload = { kind = \"barrier\", grain = \"1ms\", imbalance = 50 }";
    let recording = free(2, vms, "pinned");
    // The longer of two draws from 0.5 to 1.5 is 7/6 on average.
    let expected = 1000.0 * 6.0 / 7.0;
    let ops = recording.vms[0].ops as f64;
    assert!((ops / expected - 1.0).abs() < 0.02, "{ops}");
}

#[test]
fn waiting_for_a_single_server_is_as_pollaczek_and_khinchine_say() {
    // Poisson arrivals, service 500 us, load one half: the mean wait is half a service.
    let vms = "[[vm]]\nworkload = { kind = \"timer\", period = \"1ms\", work = \"500us\", \
               spread = \"exponential\" }";
    let text = format!("duration = \"100s\"{FREE}{vms}");
    let recording = run_under(&text, "pinned");
    let latencies = &recording.vms[0].wake_latencies_ns;
    let mean = latencies.iter().sum::<Nanos>() / latencies.len() as Nanos;
    assert!(mean.abs_diff(250 * US) < 20 * US, "{mean}");
    let busy = running(&recording, 0);
    assert!(busy.abs_diff(50 * SECOND) < SECOND, "{busy}");
}

#[test]
fn one_client_and_one_server_are_a_closed_loop() {
    let vms = "[[vm]]\nworkload = { kind = \"io\", compute = \"1ms\", wait = \"3ms\", \
               spread = \"fixed\" }";
    let recording = free(1, vms, "pinned");
    assert_eq!(recording.vms[0].ops, 249);
    assert_eq!(running(&recording, 0), 250 * MS);
}

#[test]
fn a_cap_is_kept() {
    let recording = free(1, "[[vm]]\ncap = 30", "pinned");
    assert_eq!(running(&recording, 0), 300 * MS);
}

#[test]
fn stolen_time_is_nobodys() {
    let text =
        format!("duration = \"20s\"{FREE}steal = {{ every = \"9ms\", length = \"1ms\" }}\n[[vm]]");
    let recording = run_under(&text, "pinned");
    let stolen = recording.cpu_totals.stolen_ns as f64 / recording.duration_ns as f64 / 2.0;
    assert!((stolen - 0.1).abs() < 0.01, "{stolen}");
    // The VM is charged for it, and has done less.
    assert_eq!(running(&recording, 0), recording.duration_ns);
    let of_vm = recording.spans.iter();
    let of_vm = of_vm.filter(|span| span.vcpu.is_some() && span.activity == Activity::Stolen);
    let lost: Nanos = of_vm.map(|span| span.end_ns - span.start_ns).sum();
    assert_eq!(recording.vms[0].work_ns + lost, recording.duration_ns);
}

#[test]
fn of_k_vms_pinned_apart_all_p_vcpus_meet_a_kth_to_the_p() {
    // Independent phases: each CPU has other hogs, whose turns differ.
    for vcpus in [1_u32, 2, 3] {
        let mut vms = format!(
            "[[vm]]\nvcpus = {vcpus}\nworkload = {{ kind = \"barrier\", grain = \"10us\" }}\n"
        );
        for cpu in 0..vcpus {
            vms += &format!(
                "[[vm]]\nhard-affinity = \"{cpu}\"\nworkload = {{ kind = \"io\", compute = \"{}us\", \
                 wait = \"1ns\", spread = \"exponential\" }}\n",
                7_000 + 1_300 * cpu
            );
        }
        let text = format!(
            "duration = \"20s\"{}{vms}",
            FREE.replace("[host]", &format!("[host]\ntopology = \"{vcpus}\""))
        );
        let recording = run_under(&text, "pinned:quantum=7ms");
        let met = recording.vms[0].ops as f64 * 10_000.0 / recording.duration_ns as f64;
        // Who computes for a random time and gives up its turn has less than half.
        let each = running(&recording, 0) as f64 / f64::from(vcpus) / recording.duration_ns as f64;
        let expected = libm::pow(each, f64::from(vcpus));
        assert!(
            (met / expected - 1.0).abs() < 0.1,
            "{vcpus}: {met} {expected}"
        );
    }
}

#[test]
fn a_switch_costs_what_it_costs() {
    let costs = "[host]\ntopology = \"1\"\ncosts = { actuation = \"10us\", jitter = \"0us\", \
                 switch = \"20us\" }\n[[vm]]\ncount = 2";
    let recording = run_under(costs, "pinned:quantum=10ms");
    let switches = recording.spans.iter();
    let switches = switches.filter(|span| span.activity == Activity::Switch);
    let lengths: Vec<Nanos> = switches.map(|span| span.end_ns - span.start_ns).collect();
    assert_eq!(lengths.len(), 100);
    assert!(lengths.iter().all(|&length| length == 20 * US));
    // Whoever has the CPU goes on until the order has arrived.
    let first = recording
        .spans
        .iter()
        .find(|span| span.activity == Activity::Work);
    assert_eq!(first.unwrap().end_ns, 10 * MS + 10 * US);
}

#[test]
fn a_message_that_comes_just_when_another_is_handled_loses_neither() {
    // All times are multiples of 5 us: they coincide all the time.
    let vms = "[[vm]]\nvcpus = 8\nworkload = { kind = \"messages\", wait = \"spin\", to = \"one\", \
               between = \"20us\", spread = \"fixed\", handle = \"5us\" }";
    let text = FREE.replace("ipi = \"0us\"", "ipi = \"5us\"");
    let text = text.replace("[host]", "[host]\ntopology = \"8\"");
    let recording = run_under(&format!("{text}{vms}"), "pinned");
    // Without any delay it would be one per 30 us and vCPU.
    let per_vcpu = recording.vms[0].ops / 8;
    assert!((15_000..33_333).contains(&per_vcpu), "{per_vcpu}");
}

#[test]
fn a_window_keeps_what_can_be_seen_in_it() {
    let scenario = Scenario::parse(
        r#"
        name = "window"
        duration = "100ms"
        host.topology = "2"
        [[vm]]
        name = "a"
        count = 3
        vcpus = 1
        workload = { kind = "io", compute = "1ms", wait = "1ms" }
        "#,
    )
    .unwrap();
    let policy: PolicySpec = "pinned:quantum=3ms".parse().unwrap();
    let (from_ns, to_ns) = (40 * MS, 50 * MS);
    let all = run(&scenario, &policy, 1, Keep::Spans).unwrap();
    let some = run(&scenario, &policy, 1, Keep::Window { from_ns, to_ns }).unwrap();
    let seen = |span: &&Span| span.start_ns < to_ns && span.end_ns > from_ns;
    let spans: Vec<Span> = all.spans.iter().filter(seen).copied().collect();
    assert_eq!(some.spans, spans);
    assert_eq!(some.hash, all.hash);
    // What every vCPU is doing at the window's beginning can be told.
    let state = |recording: &Recording, index: u32| {
        let changes = recording.runstates.iter();
        let mut before =
            changes.filter(|change| change.vcpu.vm == index && change.at_ns <= from_ns);
        before.next_back().map(|change| change.state)
    };
    for vm in 0..3 {
        assert_eq!(state(&some, vm), state(&all, vm));
        assert!(state(&some, vm).is_some());
    }
    assert!(some.runstates.len() < all.runstates.len() / 5);
}

#[test]
fn a_grace_ends_when_the_cpu_comes_back() {
    // The second VM leaves while the first stays in its turn. The CPU goes back to the first, which
    // takes the scheduler some time there.
    let vms = r#"
        [[vm]]
        name = "holder"
        workload = { kind = "lock", critical = "40ms", outside = "1us" }
        [[vm]]
        name = "next"
        leave = "10100us"
    "#;
    let recording = free(1, vms, "central:lock=10us+smart:grace=200us");
    let graces = recording.marks.iter().filter_map(|mark| match mark.kind {
        MarkKind::Grace { used_ns, .. } => Some((mark.at_ns, used_ns)),
        _ => None,
    });
    let after_a_turn = 10 * MS;
    assert_eq!(
        graces.collect::<Vec<_>>(),
        [(after_a_turn + 100 * US, 100 * US)]
    );
}
