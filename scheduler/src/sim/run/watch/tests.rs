use std::collections::BTreeMap;

use crate::sim::record::{Keep, MarkKind, Recording, VcpuRef};
use crate::sim::{Scenario, run};
use crate::{MS, Nanos, RunTimes, Runstate};

fn run_under(text: &str, policy: &str) -> Recording {
    let scenario = Scenario::parse(&format!("name = \"test\"\n{text}")).unwrap();
    run(&scenario, &policy.parse().unwrap(), 1, Keep::Spans).unwrap()
}

/// When slots begin, their numbers being 0, 1, 2, ...
fn slots(recording: &Recording) -> Vec<Nanos> {
    let marks = recording.marks.iter();
    let slots = marks.filter_map(|mark| match mark.kind {
        MarkKind::Slot { number } => Some((mark.at_ns, number)),
        _ => None,
    });
    let (times, numbers): (Vec<_>, Vec<u64>) = slots.unzip();
    assert!(numbers.into_iter().eq(0..times.len() as u64));
    times
}

const THREE_GANGS: &str = "host.topology = \"4\"\nduration = \"100ms\"\n\
    [[vm]]\ncount = 3\nvcpus = 4\n";

#[test]
fn slots_begin_where_gangs_change() {
    let recording = run_under(THREE_GANGS, "gang:quantum=20ms");
    assert_eq!(slots(&recording), [0, 20 * MS, 40 * MS, 60 * MS, 80 * MS]);
    // Who waits for nobody has one slot that does not end.
    let alone = run_under(
        "host.topology = \"4\"\n[[vm]]\nvcpus = 4",
        "gang:quantum=20ms",
    );
    assert_eq!(slots(&alone), [0]);
}

#[test]
fn a_slot_ends_early_if_all_of_it_have_halted() {
    // Its timer has fired twice before it gets its slot.
    let sleepy = "workload = { kind = \"timer\", period = \"50ms\", work = \"2ms\" }";
    for policy in ["gang:quantum=20ms", "gang:quantum=20ms,backfill"] {
        let recording = run_under(&format!("{THREE_GANGS}[[vm]]\nvcpus = 4\n{sleepy}"), policy);
        let times = slots(&recording);
        let lengths: Vec<Nanos> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let early = |length: &&Nanos| (4 * MS..5 * MS).contains(*length);
        assert_eq!(lengths.iter().filter(early).count(), 1, "{times:?}");
        let whole = |length: &&Nanos| **length == 20 * MS;
        assert_eq!(lengths.iter().filter(whole).count(), lengths.len() - 1);
    }
}

#[test]
fn members_that_halt_and_gangs_that_join_begin_no_slot() {
    let text = "host.topology = \"4\"\nduration = \"100ms\"\n[[vm]]\nvcpus = 2\n\
        workload = { kind = \"io\", compute = \"1ms\", wait = \"1ms\" }\n\
        [[vm]]\nvcpus = 2\narrive = \"5ms\"\n[[vm]]\nvcpus = 4\narrive = \"30ms\"\n";
    for policy in ["gang:quantum=20ms", "gang:quantum=20ms,backfill"] {
        let times = slots(&run_under(text, policy));
        assert_eq!(times[..2], [0, 50 * MS], "{times:?}");
    }
}

#[test]
fn where_there_are_no_gangs_there_are_no_slots() {
    for policy in [
        "affinity:quantum=20ms",
        "linux",
        "pinned:quantum=20ms",
        "central",
    ] {
        assert_eq!(slots(&run_under(THREE_GANGS, policy)), [0; 0], "{policy}");
    }
}

#[test]
fn a_policy_without_gangs_ends_the_last_slot() {
    let swap = "[[swap]]\nat = \"30ms\"\npolicy = \"linux\"\n";
    let recording = run_under(&format!("{THREE_GANGS}{swap}"), "gang:quantum=20ms");
    assert_eq!(slots(&recording), [0, 20 * MS]);
}

/// The time in each runstate, from what was written down.
fn times_written(recording: &Recording) -> BTreeMap<VcpuRef, RunTimes> {
    let mut times = BTreeMap::new();
    let mut since: BTreeMap<VcpuRef, (Runstate, Nanos)> = BTreeMap::new();
    let mut close = |vcpu: VcpuRef, before: Option<(Runstate, Nanos)>, now: Nanos| {
        if let Some((state, at)) = before {
            let times: &mut RunTimes = times.entry(vcpu).or_default();
            times[state] += now - at;
        }
    };
    for change in &recording.runstates {
        let before = match change.state {
            Some(state) => since.insert(change.vcpu, (state, change.at_ns)),
            None => since.remove(&change.vcpu),
        };
        close(change.vcpu, before, change.at_ns);
    }
    for (vcpu, before) in since {
        close(vcpu, Some(before), recording.duration_ns);
    }
    times
}

#[test]
fn no_change_of_a_runstate_is_missed() {
    let text = "host.topology = \"3\"\nduration = \"300ms\"\n\
        [[vm]]\ncount = 3\nvcpus = 2\nworkload = { kind = \"io\" }\n\
        [[vm]]\ncap = 60\nvcpus = 2\nleave = \"250ms\"\n\
        [[vm]]\nvcpus = 3\narrive = \"20ms\"\nworkload = { kind = \"lock\", critical = \"50us\" }\n\
        [[vm]]\narrivals = { every = \"10ms\" }\nvcpus = 2\nwork = \"3ms\"\n\
        [[swap]]\nat = \"200ms\"\npolicy = \"gang:backfill\"\n";
    let mut costopped = 0;
    for policy in [
        "linux+relaxed+smart",
        "gang:boost=1ms+smart",
        "affinity+relaxed",
    ] {
        let recording = run_under(text, policy);
        let written = times_written(&recording);
        for (vm, outcome) in recording.vms.iter().enumerate() {
            for (index, times) in outcome.times.iter().enumerate() {
                let (vm, index) = (vm as u32, index as u32);
                let found = written.get(&VcpuRef { vm, index });
                let found = found.copied().unwrap_or_default();
                assert_eq!(found, *times, "{policy}: vCPU {index} of VM {vm}");
                costopped += times[Runstate::CoStopped];
            }
        }
    }
    assert!(costopped > 0, "nobody was co-stopped");
}
