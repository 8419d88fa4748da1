use super::cells::cells;
use super::*;
use crate::sim::example;
use crate::sim::palette::colour;
use crate::sim::record::{Mark, MarkKind, Source};
use crate::sim::svg::stack;
use crate::{Level, MS};

fn window(from: Nanos, to: Nanos) -> Window {
    Window {
        from_ns: from * MS,
        to_ns: to * MS,
    }
}

fn chart(recording: &Recording, from: Nanos, to: Nanos) -> String {
    let spec = GanttSpec {
        window: window(from, to),
        number: 3,
    };
    stack(&[gantt(recording, &spec)])
}

/// Nobody has counted a host's holes, and it has no seed.
#[test]
fn a_hosts_chart_claims_nothing_that_is_not_known() {
    let simulated = chart(&example::gangs(), 0, 60);
    assert!(simulated.contains("seed 1") && simulated.contains("holes took"));
    let mut recording = example::gangs();
    recording.source = Source::Host;
    let measured = chart(&recording, 0, 60);
    assert!(!measured.contains("seed") && !measured.contains("holes took"));
    assert!(measured.contains("as a host&#39;s vCPUs were switched"));
}

#[test]
fn slots_names_and_time_can_be_read() {
    let text = chart(&example::gangs(), 0, 60);
    for word in [
        ">slot 0<",
        ">slot 5<",
        ">CPU 0<",
        ">CPU 5<",
        ">A5<",
        ">B0<",
        ">E6<",
        ">50<",
        "time in ms",
        "holes took 2.8 %",
        "spinning",
        "filling caches",
        "held for a halted vCPU",
        "switching",
        "stolen",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    assert!(!text.contains(">E0<"), "nobody ran E0");
    // Slot 4 is slot 0 again.
    assert_eq!(text.matches(">A0<").count(), 2);
}

#[test]
fn only_the_window_is_drawn() {
    let text = chart(&example::gangs(), 20, 30);
    assert!(text.contains(">D4<") && text.contains(">slot 2<"));
    assert!(!text.contains(">A0<") && !text.contains(">slot 1<"));
    // Its own lane ends where the window ends: 1100 pixels are 10 ms.
    assert!(text.contains("d=\"M64.00 92h1100.00v"), "{text}");
}

#[test]
fn a_vm_cannot_name_itself_into_the_markup() {
    let mut recording = example::gangs();
    recording.vms[0].name = "<script>\"&".to_owned();
    recording.policy = "</text><x>".to_owned();
    let text = chart(&recording, 0, 60);
    assert!(text.contains("A = &lt;script&gt;&quot;&amp;"));
    assert!(!text.contains("<script") && !text.contains("<x>"));
}

/// 1 CPU, a million spans of 1 us: work for 600 ns and spinning for 400 ns in the first half, nearly
/// nothing in the second.
fn crowd() -> Recording {
    let mut recording = example::recording("linux", 1, 1000 * MS);
    recording.vms.push(example::vm("A", 1, 1000 * MS));
    for number in 0..1_000_000 {
        let start = number * 1000;
        let work = if number < 500_000 { 600 } else { 10 };
        example::ran(
            &mut recording,
            0,
            (0, 0),
            Activity::Work,
            [start, start + work],
        );
        let spin = [
            start + 600,
            start + if number < 500_000 { 1000 } else { 610 },
        ];
        example::ran(&mut recording, 0, (0, 0), Activity::Spin, spin);
    }
    recording
}

#[test]
fn too_many_spans_are_merged_and_the_picture_says_so() {
    let recording = crowd();
    let merged = cells(&recording, window(0, 1000), CELLS_MAX);
    assert_eq!(merged.columns, Some((MS, 2_000_000)));
    // Work prevails in the first half, idling in the second.
    let shown: Vec<_> = merged
        .cells
        .iter()
        .map(|cell| (cell.start_ns, cell.end_ns))
        .collect();
    assert_eq!(shown, [(0, 500 * MS)]);
    assert_eq!(merged.cells[0].look.activity, Activity::Work);
    let text = chart(&recording, 0, 1000);
    assert!(
        text.contains("2000000 spans are too many to draw: every 1.00 ms shows"),
        "{text}"
    );
    assert!(text.len() < 20_000);
    // A shorter window shows all of it.
    assert_eq!(cells(&recording, window(0, 1), CELLS_MAX).cells.len(), 2000);
}

#[test]
fn a_picture_of_1024_busy_cpus_stays_small() {
    let mut recording = example::recording("linux", 1024, 10 * MS);
    recording.vms.push(example::vm("A", 1024, 10 * MS));
    for cpu in 0..1024_u16 {
        for number in 0..50 {
            let start = number * 200_000;
            example::ran(
                &mut recording,
                cpu,
                (0, cpu.into()),
                Activity::Work,
                [start, start + 150_000],
            );
        }
    }
    let text = chart(&recording, 0, 10);
    assert!(text.len() < 4_000_000, "{} bytes", text.len());
    assert!(text.contains("too many to draw"));
}

#[test]
fn a_run_whose_spans_were_not_all_kept_says_so() {
    let mut recording = example::gangs();
    assert!(!chart(&recording, 0, 60).contains("not kept"));
    recording.spans_lost = 12;
    assert!(chart(&recording, 0, 60).contains("The last 12 spans of the run were not kept"));
}

#[test]
fn an_empty_run_is_a_picture_of_holes() {
    let text = chart(&example::recording("linux", 2, MS), 0, 1);
    assert!(text.contains("CPU 1") && text.contains("idle: a hole"));
}

/// Where lines between slots are, in pixels from the left.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.split("<line class=\"slot\" x1=\"").skip(1);
    lines.map(|line| line.split('"').next().unwrap()).collect()
}

#[test]
fn lines_are_where_slots_began_and_nowhere_else() {
    let mut recording = example::gangs();
    let slots = [(0, 0), (4, 1), (24, 2), (25, 3)];
    recording.marks.clear();
    for (at, number) in slots {
        let kind = MarkKind::Slot { number };
        recording.marks.push(Mark {
            at_ns: at * MS,
            kind,
        });
    }
    let text = chart(&recording, 0, 50);
    assert_eq!(lines(&text), ["64.00", "152.00", "592.00", "614.00"]);
    assert!(text.contains(">slot 1<") && text.contains(">2<") && !text.contains(">slot 2<"));
    // The slot that had begun before is named, without a line.
    let text = chart(&recording, 10, 20);
    assert!(lines(&text).is_empty() && text.contains(">slot 1<"));
    // A policy without slots has none, nor does the time after one was put in charge.
    let kind = MarkKind::PolicyChange;
    recording.marks.push(Mark {
        at_ns: 30 * MS,
        kind,
    });
    let text = chart(&recording, 30, 50);
    assert!(!text.contains("slot 3") && lines(&text) == ["64.00"]);
    recording.marks.clear();
    assert!(lines(&chart(&recording, 0, 50)).is_empty());
}

#[test]
fn who_fills_a_hole_looks_different() {
    let mut recording = example::gangs();
    assert!(!chart(&recording, 20, 30).contains("in a hole, without"));
    let e0 = VcpuRef { vm: 4, index: 0 };
    example::ran(
        &mut recording,
        5,
        (4, 0),
        Activity::Work,
        [20 * MS, 30 * MS],
    );
    recording.spans.last_mut().unwrap().level = Some(Level::Backfill);
    let text = chart(&recording, 20, 30);
    assert!(text.contains("in a hole, without") && text.contains(">E0<"));
    let striped = text.contains("<path fill=\"url(#g3fills4)\" d=\"M64.00 282h1100.00v");
    assert!(striped, "{text}");
    // Nobody else is striped, and a loan to E0 is not either.
    assert_eq!(text.matches("fill=\"url(#g3fills").count(), 2);
    let span = recording.spans.last_mut().unwrap();
    assert_eq!(span.vcpu, Some(e0));
    span.level = Some(Level::Boosted);
    assert!(!chart(&recording, 20, 30).contains("g3fills"));
}

#[test]
fn of_many_vms_those_that_can_be_seen_are_named() {
    let mut recording = example::recording("linux", 2, 10 * MS);
    for number in 0..60 {
        let vm = example::vm(&format!("vm-{number}"), 1, 10 * MS);
        recording.vms.push(vm);
    }
    for (cpu, vm) in [(0, 57), (1, 59)] {
        example::ran(&mut recording, cpu, (vm, 0), Activity::Work, [0, 10 * MS]);
    }
    let text = chart(&recording, 0, 10);
    for word in [
        "A = vm-0<",
        "AT = vm-45<",
        "BF = vm-57<",
        "BH = vm-59<",
        "and 12 more VMs",
        "After 24 VMs the colours come again",
        ">BF0<",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    assert!(!text.contains("vm-46<") && !text.contains("vm-58<"));
    // As in every other picture.
    let entry = format!(
        "height=\"15\" fill=\"{}\"/>\n<text class=\"ink\"",
        colour(57)
    );
    assert!(text.contains(&entry));
    recording.vms.truncate(24);
    recording.spans.clear();
    let text = chart(&recording, 0, 10);
    assert!(
        text.contains("X = vm-23<") && !text.contains("more VMs") && !text.contains("come again")
    );
}

#[test]
fn who_fills_a_hole_is_named_there_and_in_its_own_slot() {
    let mut recording = example::gangs();
    recording.spans.clear();
    for times in [[20 * MS, 30 * MS], [30 * MS, 40 * MS]] {
        example::ran(&mut recording, 5, (4, 0), Activity::Work, times);
    }
    assert_eq!(chart(&recording, 20, 40).matches(">E0<").count(), 1);
    recording.spans[0].level = Some(Level::Backfill);
    assert_eq!(chart(&recording, 20, 40).matches(">E0<").count(), 2);
}
