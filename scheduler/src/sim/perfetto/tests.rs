use std::collections::BTreeMap;

use super::*;
use crate::sim::example;
use crate::sim::record::RunstateChange;
use crate::{CpuId, MS};

fn window(from: Nanos, to: Nanos) -> Window {
    Window {
        from_ns: from * MS,
        to_ns: to * MS,
    }
}

/// The trace, after checks that hold for every trace.
fn trace(recording: &Recording, window: Window, max: usize) -> Vec<Value> {
    let mut trace = Trace::default();
    trace.add_at_most(recording, window, max);
    let whole: Value = serde_json::from_str(&trace.json()).unwrap();
    assert_eq!(whole["displayTimeUnit"], "ms");
    let events = whole["traceEvents"].as_array().unwrap().clone();
    let mut ends: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    for event in &events {
        assert!(!event["name"].as_str().unwrap().is_empty(), "{event}");
        let track = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
        );
        let ts = event["ts"].as_f64().unwrap();
        match event["ph"].as_str().unwrap() {
            "X" => {
                let dur = event["dur"].as_f64().unwrap();
                assert!(dur > 0.0, "{event}");
                // Slices of a track must not overlap, or the viewer nests them.
                let end = ends.insert(track, ts + dur);
                assert!(
                    end.is_none_or(|end| end <= ts),
                    "{event} begins before {end:?}"
                );
                assert!(ts >= micros(window.from_ns) && ts + dur <= micros(window.to_ns));
            }
            "C" => assert!(event["args"].is_object(), "{event}"),
            "i" => assert!(["g", "p", "t"].contains(&event["s"].as_str().unwrap())),
            "M" => assert!(event["args"].is_object(), "{event}"),
            other => panic!("{other}: {event}"),
        }
    }
    events
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["name"] == name)
        .collect()
}

#[test]
fn cpus_and_vcpus_have_tracks() {
    let events = trace(&example::gangs(), window(0, 60), EVENTS_MAX);
    let names: Vec<&str> = named(&events, "thread_name")
        .iter()
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..2], ["CPU 0", "CPU 1"]);
    assert_eq!(names.len(), 6 + 24);
    assert!(names.contains(&"E6"));
    // A0 runs in slots 0 and 4 on CPU 0, 10 ms each.
    let a0 = named(&events, "A0");
    let times: Vec<f64> = a0
        .iter()
        .map(|event| event["ts"].as_f64().unwrap())
        .collect();
    assert_eq!(times, [0.0, 40_000.0]);
    assert_eq!(a0[0]["dur"], 10_000.0);
    assert_eq!(named(&events, "B0 spin").len(), 1);
    assert_eq!(named(&events, "arrives").len(), 5);
}

#[test]
fn runstates_follow_each_other_until_the_vm_leaves() {
    let mut recording = example::recording("linux", 1, 10 * MS);
    recording.vms.push(example::vm("A", 1, 10 * MS));
    let vcpu = VcpuRef { vm: 0, index: 0 };
    for (at, state) in [
        (1, Some(Runstate::Ready)),
        (3, Some(Runstate::Running)),
        (6, Some(Runstate::Halted)),
        (8, None),
    ] {
        let at_ns = at * MS;
        recording
            .runstates
            .push(RunstateChange { at_ns, vcpu, state });
    }
    let events = trace(&recording, window(0, 10), EVENTS_MAX);
    let of = |name: &str| {
        let slices = named(&events, name);
        assert_eq!(slices.len(), 1, "{name}");
        (
            slices[0]["ts"].as_f64().unwrap(),
            slices[0]["dur"].as_f64().unwrap(),
        )
    };
    assert_eq!(of("ready"), (1000.0, 2000.0));
    assert_eq!(of("running"), (3000.0, 3000.0));
    assert_eq!(of("halted"), (6000.0, 2000.0));
    let ready = named(&events, "vCPUs");
    let ready: Vec<u64> = ready
        .iter()
        .map(|event| event["args"]["ready"].as_u64().unwrap())
        .collect();
    assert_eq!(ready, [1, 0, 0, 0]);
    // A window cuts them, and knows what held before it.
    let events = trace(&recording, window(2, 5), EVENTS_MAX);
    assert_eq!(named(&events, "ready")[0]["dur"], 1000.0);
    assert_eq!(named(&events, "running")[0]["dur"], 2000.0);
    assert!(named(&events, "halted").is_empty());
}

#[test]
fn marks_are_on_the_tracks_that_they_are_about() {
    let mut recording = example::gangs();
    let (vcpu, cpu) = (VcpuRef { vm: 1, index: 2 }, CpuId(3));
    let kinds = [
        MarkKind::HolderPreempted(vcpu),
        MarkKind::Grace {
            vcpu,
            used_ns: 5000,
            turn: None,
        },
        MarkKind::CoStop(vcpu),
        MarkKind::Migrate(vcpu, cpu),
        MarkKind::Online(cpu, false),
        MarkKind::Online(cpu, true),
        MarkKind::PolicyChange,
        MarkKind::Leave { vm: 1 },
    ];
    recording.marks = kinds.map(|kind| Mark { at_ns: MS, kind }).to_vec();
    let events = trace(&recording, window(0, 60), EVENTS_MAX);
    let track = |name: &str| {
        let events = named(&events, name);
        (
            events[0]["pid"].as_u64().unwrap(),
            events[0]["tid"].as_u64().unwrap(),
        )
    };
    assert_eq!(track("stopped while it holds a lock"), (3, 3));
    assert_eq!(track("stayed 5 us for its lock"), (3, 3));
    assert_eq!(track("moves to CPU 3"), (3, 3));
    assert_eq!(track("goes away"), (1, 4));
    assert_eq!(track("policy changes"), (1, 0));
    assert_eq!(track("leaves"), (3, 0));
}

#[test]
fn too_many_events_are_merged_then_cut_and_the_trace_says_so() {
    let mut recording = example::gangs();
    recording.runstates.clear();
    recording.marks.clear();
    let slices = |events: &[Value]| events.iter().filter(|event| event["ph"] == "X").count();
    let all = trace(&recording, window(0, 60), 40);
    let turns = trace(&recording, window(0, 60), 39);
    let fewer = trace(&recording, window(0, 60), 20);
    assert_eq!(
        [&all, &turns, &fewer].map(|events| slices(events)),
        [40, 35, 20]
    );
    let note = |events: &[Value], text: &str| {
        events
            .iter()
            .any(|event| event["name"].as_str().unwrap().contains(text))
    };
    assert!(!note(&all, "too many"));
    assert!(note(&turns, "within a turn is left out") && !note(&turns, "cut off"));
    assert!(note(&fewer, "cut off at 30000 us"), "{fewer:#?}");
}

#[test]
fn policies_have_processes_of_their_own() {
    let mut trace = Trace::default();
    for _ in 0..2 {
        trace.add(&example::gangs(), window(0, 60));
    }
    let whole: Value = serde_json::from_str(&trace.json()).unwrap();
    let events = whole["traceEvents"].as_array().unwrap();
    let pids: Vec<u64> = named(events, "process_name")
        .iter()
        .map(|event| event["pid"].as_u64().unwrap())
        .collect();
    let mut unique = pids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 2 * 6);
}
