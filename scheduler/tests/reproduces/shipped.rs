//! Running shipped scenarios.

use muster_scheduler::sim::record::{Activity, Keep, Recording, VmOutcome};
use muster_scheduler::sim::{self, Scenario, shipped};
use muster_scheduler::{CpuId, Nanos, SECOND};

/// A shipped scenario.
pub fn scenario(name: &str) -> Scenario {
    let shipped = shipped::find(name).unwrap_or_else(|| panic!("no scenario {name}"));
    Scenario::parse(shipped.text).unwrap()
}

/// What a scenario records under one of its policies.
pub fn record(name: &str, policy: &str, keep: Keep) -> Recording {
    record_for(&scenario(name), policy, keep)
}

/// The same for a scenario that may have been changed.
pub fn record_for(scenario: &Scenario, policy: &str, keep: Keep) -> Recording {
    let mut policies = scenario.policies.iter();
    let found = policies.find(|spec| spec.to_string() == policy);
    let spec =
        found.unwrap_or_else(|| panic!("{}: {policy} is not among its policies", scenario.name));
    sim::run(scenario, spec, scenario.seed, keep).unwrap()
}

/// The VM of this name.
pub fn vm<'a>(recording: &'a Recording, name: &str) -> &'a VmOutcome {
    let found = recording.vms.iter().find(|vm| vm.name == name);
    found.unwrap_or_else(|| panic!("no VM {name}"))
}

/// Operations of one VM per second.
pub fn throughput_of(recording: &Recording, name: &str) -> f64 {
    vm(recording, name).ops as f64 * SECOND as f64 / recording.duration_ns as f64
}

/// Who is on a CPU at a moment, such as `A0`; nobody is `-`.
pub fn occupant(recording: &Recording, cpu: u16, at: Nanos) -> String {
    let mut spans = recording.spans.iter();
    let found = spans.find(|span| {
        span.cpu == CpuId(cpu)
            && (span.start_ns..span.end_ns).contains(&at)
            && span.activity != Activity::Switch
    });
    match found.and_then(|span| span.vcpu) {
        Some(vcpu) => format!("{}{}", recording.vms[vcpu.vm as usize].name, vcpu.index),
        None => "-".to_owned(),
    }
}

/// Who is on each CPU at a moment.
pub fn occupants(recording: &Recording, at: Nanos) -> Vec<String> {
    let cpus = 0..recording.cpus as u16;
    cpus.map(|cpu| occupant(recording, cpu, at)).collect()
}

/// Operations of all VMs.
pub fn ops(recording: &Recording) -> u64 {
    recording.vms.iter().map(|vm| vm.ops).sum()
}

/// The operations of all VMs under Linux. Phases of ticks decide how it does where vCPUs spin, so that
/// five are tried: this is the middle one.
pub fn median_ops_under_linux(name: &str) -> u64 {
    let seeds = [
        "linux",
        "linux:seed=2",
        "linux:seed=3",
        "linux:seed=4",
        "linux:seed=5",
    ];
    let mut values = seeds.map(|policy| ops(&record(name, policy, Keep::Totals)));
    values.sort_unstable();
    values[2]
}
