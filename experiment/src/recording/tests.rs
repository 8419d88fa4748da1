use muster_scheduler::sim::gantt::{GanttSpec, gantt};

use super::*;

fn experiment() -> Experiment {
    let text = "name = \"t\"\nabout = \"a\"\nbaselines = [\"host\"]\nschedules = [\"gang:quantum=10ms\"]\n\
        [[vm]]\nname = \"A\"\nvcpus = 2\nworkload = \"hog\"\n\
        [[vm]]\nname = \"web-1\"\nvcpus = 2\nworkload = \"hog\"\n[[metric]]\n";
    Experiment::parse(text).unwrap()
}

fn switch(done_ns: Nanos, cpu: u16, vcpu: &str) -> SwitchRecord {
    SwitchRecord {
        planned_ns: done_ns,
        done_ns,
        cpu,
        vcpu: Some(vcpu.to_owned()).filter(|vcpu| !vcpu.is_empty()),
        level: Some("slot".to_owned()),
    }
}

fn picture(switches: Vec<SwitchRecord>) -> Picture {
    Picture {
        from_ns: 100 * MS,
        to_ns: 200 * MS,
        switches,
    }
}

#[test]
fn switches_become_spans_that_fill_the_round() {
    let switches = vec![
        // Out of order, from before the round, of CPUs and vCPUs that there are not, and after it.
        switch(150 * MS, 0, "web-1/1"),
        switch(90 * MS, 0, "A/0"),
        switch(160 * MS, 0, ""),
        switch(120 * MS, 7, "A/1"),
        switch(170 * MS, 1, "A/9"),
        switch(180 * MS, 1, "web-1/1"),
        switch(250 * MS, 0, "A/0"),
    ];
    let recording = recording(&experiment(), 1, &picture(switches), 2);
    let spans = recording.spans.iter().map(|span| {
        let vcpu = span.vcpu.unwrap();
        (
            span.cpu.0,
            vcpu.vm,
            vcpu.index,
            span.start_ns / MS,
            span.end_ns / MS,
        )
    });
    assert_eq!(
        spans.collect::<Vec<_>>(),
        [(0, 0, 0, 0, 50), (0, 1, 1, 50, 60), (1, 1, 1, 80, 100)]
    );
    assert!(recording.runstates.is_sorted_by_key(|change| change.at_ns));
    let moved = MarkKind::Migrate(VcpuRef { vm: 1, index: 1 }, CpuId(1));
    assert_eq!(
        recording.marks,
        [Mark {
            at_ns: 80 * MS,
            kind: moved
        }]
    );
}

#[test]
fn a_chart_shows_a_dozen_turns() {
    let switches = vec![switch(110 * MS, 0, "A/0"), switch(110 * MS, 1, "A/1")];
    let picture = picture(switches);
    let experiment = experiment();
    let policy: PolicySpec = "gang:quantum=5ms".parse().unwrap();
    let window = window(&picture, Some(&policy));
    assert_eq!((window.from_ns, window.to_ns), (0, 60 * MS));
    assert_eq!(super::window(&picture, None).to_ns, 100 * MS);
    let recording = recording(&experiment, 1, &picture, 2);
    let chart = gantt(&recording, &GanttSpec { window, number: 0 });
    assert!(chart.body.contains("A0") && chart.body.contains("gang:quantum=10ms"));
}
