use muster_scheduler::MS;

use super::*;
use crate::testing;

fn of(from_ns: Nanos, to_ns: Nanos) -> Recording {
    let window = Window { from_ns, to_ns };
    recording(&testing::snapshot(), &testing::switches(), window)
}

#[test]
fn spans_go_from_switch_to_switch() {
    let recording = of(0, 9 * MS);
    let spans: Vec<_> = recording
        .spans
        .iter()
        .map(|s| (s.vcpu.unwrap(), s.start_ns))
        .collect();
    let (web, db) = (VcpuRef { vm: 0, index: 0 }, VcpuRef { vm: 1, index: 0 });
    let expected = [(web, 0), (db, 1), (web, 3), (db, 4), (web, 6), (db, 7)];
    assert_eq!(spans, expected.map(|(vcpu, ms)| (vcpu, ms * MS + 10)));
    assert!(
        recording
            .spans
            .iter()
            .all(|span| span.end_ns - span.start_ns == MS)
    );
    assert!(
        recording
            .spans
            .iter()
            .all(|span| span.level == Some(Level::Slot))
    );
    assert_eq!((recording.cpus, recording.source), (1, Source::Host));
}

#[test]
fn who_had_the_cpu_before_the_window_has_it_as_the_window_begins() {
    let recording = of(4 * MS, 4 * MS + 500_000);
    let [first, second] = &recording.spans[..] else {
        panic!("{:?}", recording.spans);
    };
    assert_eq!(
        (first.vcpu.unwrap().vm, first.start_ns, first.end_ns),
        (0, 0, 10)
    );
    assert_eq!(
        (second.vcpu.unwrap().vm, second.start_ns, second.end_ns),
        (1, 10, 500_000)
    );
}

#[test]
fn the_last_turn_lasts_to_the_end() {
    let mut switches = testing::switches();
    switches.pop();
    let window = Window {
        from_ns: 0,
        to_ns: 20 * MS,
    };
    let recording = recording(&testing::snapshot(), &switches, window);
    assert_eq!(recording.spans.last().unwrap().end_ns, 20 * MS);
}

#[test]
fn vms_that_have_left_and_nonsense_break_nothing() {
    let mut switches = testing::switches();
    switches[0].vcpu = Some("gone/5".to_owned());
    switches[1].vcpu = Some("nonsense".to_owned());
    switches[3].vcpu = Some("web/4000000000".to_owned());
    switches[4].level = Some("high".to_owned());
    switches[6].cpu = 60_000;
    let window = Window {
        from_ns: 0,
        to_ns: 9 * MS,
    };
    let recording = recording(&testing::snapshot(), &switches, window);
    assert_eq!(recording.vms[2].name, "gone");
    assert_eq!(recording.vms[2].times.len(), 6);
    assert_eq!(recording.cpus, 1);
    assert_eq!(recording.spans.len(), 3, "{:?}", recording.spans);
}
