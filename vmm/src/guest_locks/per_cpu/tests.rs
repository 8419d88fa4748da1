use super::super::testing::{self, BtfBuilder, COUNT as AT, OWN_OFFSET as OWN_AT, kernel_types};
use super::*;

const FOUND: PerCpu = PerCpu {
    count: AT,
    own_offset: OWN_AT,
    task: None,
};
const TASK_AT: Task = Task {
    current: testing::CURRENT,
    number: testing::NUMBER,
};

#[test]
fn the_variable_is_found() {
    let found = PerCpu {
        task: Some(TASK_AT),
        ..FOUND
    };
    assert_eq!(PerCpu::find(&kernel_types().bytes()), Ok(found));
}

#[test]
fn the_member_of_the_hot_structure_is_found() {
    let mut btf = BtfBuilder::new();
    btf.function("preempt_schedule");
    let (task, count) = (btf.name("current_task"), btf.name("preempt_count"));
    btf.record("pcpu_hot", 4, 2, &[task, 1, 0, count, 1, 64]);
    // The section may come before its variables.
    btf.section(".data..percpu", &[(4, OWN_AT), (5, AT - 8)]);
    btf.variable("this_cpu_off");
    btf.variable("pcpu_hot");
    assert_eq!(PerCpu::find(&btf.bytes()), Ok(FOUND));
    let number = btf.name("pid");
    btf.record("task_struct", 4, 1, &[number, 1, 800]);
    let found = PerCpu::find(&btf.bytes()).unwrap();
    let (current, number) = (AT - 8, 100);
    assert_eq!(found.task, Some(Task { current, number }));
}

#[test]
fn a_kernel_that_does_not_count_says_so() {
    let mut btf = BtfBuilder::new();
    let count = btf.variable("__preempt_count");
    let own_offset = btf.variable("this_cpu_off");
    btf.section(".data..percpu", &[(own_offset, OWN_AT), (count, AT)]);
    assert_eq!(PerCpu::find(&btf.bytes()), Err(Unseen::NoPreemption));
    btf.variable("preempt_schedule");
    assert_eq!(PerCpu::find(&btf.bytes()), Err(Unseen::NoPreemption));
    btf.function("preempt_schedule");
    assert_eq!(PerCpu::find(&btf.bytes()), Ok(FOUND));
}

#[test]
fn places_that_cannot_be_are_none() {
    for (count, own_offset) in [
        (AT + 2, OWN_AT),
        (AT, OWN_AT + 4),
        (SECTION_LEN_MAX, OWN_AT),
        (AT, u32::MAX - 7),
    ] {
        let mut btf = BtfBuilder::new();
        btf.function("preempt_schedule");
        let variables = [
            btf.variable("__preempt_count"),
            btf.variable("this_cpu_off"),
        ];
        btf.section(
            ".data..percpu",
            &[(variables[0], count), (variables[1], own_offset)],
        );
        assert_eq!(PerCpu::find(&btf.bytes()), Err(Unseen::NoVariable));
    }
}

#[test]
fn variables_of_other_sections_are_not_per_cpu() {
    let mut btf = BtfBuilder::new();
    btf.function("preempt_schedule");
    let count = btf.variable("__preempt_count");
    let own_offset = btf.variable("this_cpu_off");
    btf.section(".data", &[(own_offset, OWN_AT), (count, AT)]);
    assert_eq!(PerCpu::find(&btf.bytes()), Err(Unseen::NoVariable));
    assert_eq!(PerCpu::find(b"no types"), Err(Unseen::NoTypes));
}
