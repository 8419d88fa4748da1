//! How fast the simulator is, and how much memory a vCPU takes.
//!
//! Half of the VMs meet at barriers, half compute and wait: several kinds of events, and many of them
//! per simulated second.

use std::fs;
use std::time::Instant;

use muster_scheduler::sim::{self, Keep, Scenario};
use muster_scheduler::{MS, Nanos, PolicySpec};

/// vCPUs of each VM.
const VM_VCPUS: u32 = 4;
/// Simulated for the memory, and to begin with for the speed.
const SHORT: Nanos = 5 * MS;
/// A run counts if it takes this long.
const ENOUGH_S: f64 = 0.4;

pub struct Speed {
    pub events_per_s: f64,
    pub events: u64,
    pub bytes_per_vcpu: u64,
}

pub fn measure(policy: &PolicySpec, cpus: usize, vcpus: u32) -> Speed {
    let before = peak_bytes();
    run(policy, cpus, vcpus, SHORT);
    let bytes_per_vcpu = (peak_bytes() - before) / u64::from(vcpus);
    let mut duration = SHORT;
    loop {
        let start = Instant::now();
        let events = run(policy, cpus, vcpus, duration);
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed >= ENOUGH_S {
            return Speed {
                events_per_s: events as f64 / elapsed,
                events,
                bytes_per_vcpu,
            };
        }
        duration *= 2;
    }
}

/// Gives the number of simulated events.
fn run(policy: &PolicySpec, cpus: usize, vcpus: u32, duration: Nanos) -> u64 {
    let vms = (vcpus / VM_VCPUS).max(2);
    let scenario = format!(
        r#"
        name = "throughput"
        duration = "{duration}ns"
        host.topology = "{cpus}"
        [[vm]]
        name = "barriers"
        count = {barriers}
        vcpus = {VM_VCPUS}
        workload = {{ kind = "barrier", grain = "100us" }}
        [[vm]]
        name = "io"
        count = {io}
        vcpus = {VM_VCPUS}
        workload = {{ kind = "io", compute = "200us", wait = "200us" }}
        "#,
        barriers = vms / 2,
        io = vms - vms / 2,
    );
    let scenario = Scenario::parse(&scenario).expect("the scenario above is right");
    let recording = sim::run(&scenario, policy, 1, Keep::Totals);
    recording.expect("shipped policies make legal plans").events
}

/// The most memory that this process has had so far.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number of KiB")
        << 10
}
