//! From an experiment to a scenario.

use std::fmt::Write as _;

use muster_node::Schedule;
use muster_scheduler::params::format_duration;
use muster_scheduler::{MS, Nanos, PolicySpec, SECOND};

use crate::spec::{Experiment, Guest, Row, RowKind, VmSpec};
use crate::workload::{LockKind, Wait, Work};

/// The longest that is simulated.
const DURATION_MAX: Nanos = 2 * SECOND;
const WARM_UP_MAX: Nanos = 200 * MS;
/// The shortest exchange that is simulated: several real ones then are one. Against slices of
/// milliseconds both are nothing.
const EXCHANGE_MIN_NS: f64 = 4_000.0;
/// What the model takes for moving a message to another CPU.
const HANDOFF_NS: f64 = 100.0;

/// Why it cannot be simulated, if so.
pub(super) fn missing_model(experiment: &Experiment) -> Option<String> {
    experiment.vms.iter().find_map(|vm| match &vm.guest {
        Guest::Kernel { .. } => Some(format!("there is no model of the kernel in {}", vm.name)),
        Guest::Bench(workload) if workload.work == Work::Message => {
            Some(format!("there is no model of {workload} in {}", vm.name))
        }
        Guest::Bench(_) => None,
    })
}

/// The policy that stands for a schedule.
pub(super) fn policy(schedule: &Schedule) -> PolicySpec {
    let text = match schedule {
        Schedule::Policy(policy) => return policy.clone(),
        Schedule::Host(host) => {
            let slice = host
                .slice_ns
                .map(|slice| format!("slice={}", format_duration(slice)));
            let pin = host.pin.then(|| "pin".to_owned());
            let words: Vec<String> = slice.into_iter().chain(pin).collect();
            if words.is_empty() {
                "linux".to_owned()
            } else {
                format!("linux:{}", words.join(","))
            }
        }
    };
    text.parse()
        .expect("the model of the host's scheduler is a policy")
}

/// The scenario of a row. `exchange_ns`: how long an exchange takes, if that is known.
pub(super) fn text(
    experiment: &Experiment,
    row: &Row,
    cpus: usize,
    exchange_ns: Option<f64>,
) -> String {
    let duration = experiment.round_ns.min(DURATION_MAX);
    let warm_up = experiment.settle_ns.min(WARM_UP_MAX);
    let mut out = format!(
        "name = {:?}\nabout = \"made from the experiment of this name\"\nduration = \"{}\"\n\
         warm-up = \"{}\"\nbaseline = \"linux\"\npolicies = [{}]\nhost.topology = \"{cpus}\"\n",
        experiment.name,
        format_duration(duration),
        format_duration(warm_up),
        policies(experiment).join(", ")
    );
    for (index, vm) in experiment.vms.iter().enumerate() {
        if !matches!(row.kind, RowKind::Alone(alone) if alone != index) {
            vm_text(vm, exchange_ns, &mut out);
        }
    }
    if let RowKind::Swap { between, every_ns } = &row.kind {
        let swaps = (warm_up + duration) / every_ns;
        for swap in 1..=swaps.min(1000) {
            let policy = policy(&between[swap as usize % between.len()]);
            let at = format_duration(swap * every_ns);
            let _ = write!(out, "\n[[swap]]\nat = \"{at}\"\npolicy = \"{policy}\"\n");
        }
    }
    out
}

/// The rows that are schedules, for whoever runs the scenario.
fn policies(experiment: &Experiment) -> Vec<String> {
    let schedules = experiment.rows.iter().filter_map(|row| match &row.kind {
        RowKind::Schedule(schedule) => Some(format!("\"{}\"", policy(schedule))),
        _ => None,
    });
    schedules.collect()
}

fn vm_text(vm: &VmSpec, exchange_ns: Option<f64>, out: &mut String) {
    let Guest::Bench(workload) = &vm.guest else {
        unreachable!("there is a model for it");
    };
    let _ = write!(
        out,
        "\n[[vm]]\nname = {:?}\nvcpus = {}\nweight = {}\n",
        vm.name, vm.vcpus, vm.weight
    );
    if let Some(cap) = vm.cap_percent {
        let _ = writeln!(out, "cap = {cap}");
    }
    if workload.obey {
        out.push_str("cooperative = true\n");
    }
    if let Work::Compute { set_bytes } = workload.work {
        let _ = writeln!(out, "working-set = \"{}KiB\"", set_bytes >> 10);
    }
    let model = model(workload.work, vm.vcpus, exchange_ns);
    let _ = writeln!(out, "workload = {{ {model} }}");
}

/// The model of a workload.
fn model(work: Work, vcpus: u32, exchange_ns: Option<f64>) -> String {
    // Nothing takes no time at all.
    let time = |time: Nanos| format!("\"{}\"", format_duration(time.max(1)));
    let wait = |wait| match wait {
        Wait::Spin => "spin",
        Wait::Halt => "halt",
    };
    let exchange = |waits: &str, total_ns: f64| {
        let part = time((total_ns / 2.0 - HANDOFF_NS).max(1.0) as Nanos);
        format!("kind = \"request-reply\", wait = \"{waits}\", think = {part}, reply = {part}")
    };
    match work {
        // A vCPU without a partner asks itself.
        Work::RequestReply { .. } | Work::PingPong if vcpus % 2 == 1 => {
            "kind = \"compute\", grain = \"1ms\"".to_owned()
        }
        Work::RequestReply { wait: Wait::Spin } => {
            let total_ns = exchange_ns.unwrap_or(EXCHANGE_MIN_NS);
            exchange("spin", total_ns.clamp(EXCHANGE_MIN_NS, 1e9))
        }
        Work::RequestReply { wait: Wait::Halt } | Work::PingPong => exchange("halt", 2_000.0),
        Work::Barrier {
            wait: how,
            grain_ns,
        } => {
            let (how, grain) = (wait(how), time(grain_ns.max(100)));
            format!("kind = \"barrier\", wait = \"{how}\", grain = {grain}")
        }
        Work::Lock {
            kind,
            critical_ns,
            outside_ns,
        } => {
            let kind = match kind {
                LockKind::Tas => "tas",
                LockKind::Ticket => "ticket",
                LockKind::Queue => "queue",
            };
            let (critical, outside) = (time(critical_ns), time(outside_ns));
            format!(
                "kind = \"lock\", lock = \"{kind}\", critical = {critical}, outside = {outside}, \
                 spread = \"fixed\""
            )
        }
        Work::Compute { .. } | Work::Hog => "kind = \"compute\", grain = \"1ms\"".to_owned(),
        Work::Timer { period_ns, busy_ns } => {
            let (period, work) = (time(period_ns), time(busy_ns.max(1_000)));
            format!("kind = \"timer\", period = {period}, work = {work}")
        }
        Work::Phases { run_ns, rest_ns } => {
            let (run, rest) = (time(run_ns), time(rest_ns));
            format!("kind = \"io\", compute = {run}, wait = {rest}, spread = \"fixed\"")
        }
        Work::Message => unreachable!("there is no model for it"),
    }
}
