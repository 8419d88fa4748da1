//! From a seed: a host, VMs, policies, and what goes wrong.
//!
//! Problem: properties that promise something of time hold only under conditions that are rare among
//! all hosts; and policies that will be written later must be covered, too.
//!
//! Approach: each seed is of one of three kinds: *calm* (busy VMs that may run anywhere, a promise of
//! fairness is put to the test), *mixed* (all workloads, affinities, caps, arrivals) and *faulty* (and
//! everything goes wrong). Policies and their parameters are drawn from the registry. A scenario is
//! drawn as the text of a file, which a person can read and run.

mod policies;
mod vms;

use std::fmt::Write;

use muster_scheduler::policy::Load;
use muster_scheduler::sim::Scenario;
use muster_scheduler::topology::TopologySpec;
use muster_scheduler::{MS, Nanos, PolicySpec, SECOND, US};

use crate::draw::Draw;
use crate::promises;

/// How often another policy is drawn where one shall be fair.
const FAIR_TRIES: u32 = 6;
/// The longest time that is spent on a promise.
const PROMISE_MAX: Nanos = 20 * SECOND;

/// For draws of its own.
const LOCK_SALT: u64 = 0x6c6f_636b;

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Case {
    /// The scenario's file.
    pub scenario: String,
    /// The policy at the beginning.
    pub policy: String,
}

/// What a seed is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Calm,
    Mixed,
    Faulty,
}

/// A host as it is drawn.
#[derive(Debug, Clone, Copy)]
struct Host {
    shape: TopologySpec,
    cpus: u64,
}

/// A policy with layers and parameters.
pub fn policy(draw: &mut Draw) -> String {
    policies::any(draw)
}

/// The run of a seed.
pub fn case(seed: u64) -> Case {
    let draw = &mut Draw::new(seed);
    let mood = [Mood::Calm, Mood::Mixed, Mood::Faulty][(seed % 3) as usize];
    let host = host(draw);
    let mut body = String::new();
    let TopologySpec {
        nodes,
        llcs,
        cores,
        threads,
    } = host.shape;
    let _ = writeln!(
        body,
        "[host]\ntopology = \"nodes={nodes},llcs={llcs},cores={cores},threads={threads}\""
    );
    costs(draw, &mut body);
    let (policy, duration) = match mood {
        Mood::Calm => calm(draw, host, &mut body),
        Mood::Mixed | Mood::Faulty => {
            let policy = policies::any(draw);
            let longest = (2 * SECOND / host.cpus).min(400 * MS);
            let duration = draw.between(20 * MS, longest.max(21 * MS));
            vms::any(draw, host, duration, &mut body);
            (policy, duration)
        }
    };
    if mood == Mood::Faulty {
        faults(draw, host, duration, &mut body);
    }
    let scenario = file(&format!("seed {seed}"), duration, &body);
    Case { scenario, policy }
}

fn file(name: &str, duration: Nanos, body: &str) -> String {
    format!("name = \"{name}\"\nduration = \"{duration}ns\"\n{body}")
}

/// A run of a seed in which holders of locks borrow much time: small hosts, VMs that contend for locks.
pub fn lock_case(seed: u64) -> Case {
    let draw = &mut Draw::new(seed ^ LOCK_SALT);
    let host = Host {
        shape: TopologySpec {
            nodes: 1,
            llcs: 1,
            cores: draw.between(1, 5) as usize,
            threads: 1,
        },
        cpus: 0,
    };
    let cpus = host.shape.cores as u64;
    let host = Host { cpus, ..host };
    let duration = draw.between(200 * MS, 500 * MS);
    let policy = policies::with_layer(draw, "smart");
    let mut scenario = String::new();
    let out = &mut scenario;
    let _ = writeln!(out, "name = \"locks {seed}\"");
    let _ = writeln!(out, "duration = \"{duration}ns\"");
    let _ = writeln!(out, "[host]");
    let _ = writeln!(out, "topology = \"{cpus}\"");
    costs(draw, out);
    vms::contending(draw, host, out);
    if draw.chance(30) {
        let _ = writeln!(out, "[[swap]]");
        let _ = writeln!(out, "at = \"{}ns\"", draw.between(1, duration - 1));
        let policy = policies::with_layer(draw, "smart");
        let _ = writeln!(out, "policy = \"{policy}\"");
    }
    if draw.chance(30) {
        faults(draw, host, duration, out);
    }
    Case { scenario, policy }
}

/// From 1 to 64 CPUs, small hosts more often.
fn host(draw: &mut Draw) -> Host {
    loop {
        let shape = TopologySpec {
            nodes: if draw.chance(20) { 2 } else { 1 },
            llcs: if draw.chance(30) { 2 } else { 1 },
            cores: draw.scale(1, 32) as usize,
            threads: if draw.chance(25) { 2 } else { 1 },
        };
        let cpus = shape.nodes * shape.llcs * shape.cores * shape.threads;
        if cpus <= 64 {
            let cpus = cpus as u64;
            return Host { shape, cpus };
        }
    }
}

/// Busy VMs, a policy that promises to be fair to them, if one is found soon, and a time that is long
/// enough to test the promise, if that is not too long.
fn calm(draw: &mut Draw, host: Host, body: &mut String) -> (String, Nanos) {
    // Until when VMs come and go.
    let unsettled = if draw.chance(40) {
        draw.scale(MS, 6 * SECOND)
    } else {
        0
    };
    vms::busy(draw, host, unsettled, body);
    let scenario = Scenario::parse(&file("calm", unsettled + MS, body)).expect("what was drawn");
    let mut policy = policies::any(draw);
    let mut promised = promises(&scenario, &policy);
    for _ in 1..FAIR_TRIES {
        if promised.fair_within.is_some() {
            break;
        }
        policy = policies::any(draw);
        promised = promises(&scenario, &policy);
    }
    let longest = promised.fair_within.max(promised.ready_max);
    let longest = longest.unwrap_or(100 * MS);
    let duration = unsettled + longest + draw.between(MS, longest / 2 + 2 * MS);
    (policy, duration)
}

/// In which time a policy promises something to the VMs that stay; `None` if it is too long.
#[derive(Debug, Clone, Copy)]
struct Promised {
    fair_within: Option<Nanos>,
    ready_max: Option<Nanos>,
}

fn promises(scenario: &Scenario, policy: &str) -> Promised {
    let policy: PolicySpec = policy.parse().expect("a policy that was drawn");
    let stay = || scenario.vms.iter().filter(|group| group.leave_ns.is_none());
    let specs = stay().map(|group| &group.spec);
    let claims = promises::to(specs, &policy, &scenario.topology);
    let vms = stay().map(|group| (group.spec.vcpus.into(), group.spec.weight.into()));
    let vms: Vec<(u64, u64)> = vms.collect();
    let load = Load::new(scenario.topology.cpu_count() as u64, &vms);
    let waits = claims.ready_max_ns.zip(load);
    let in_time = |time: &Nanos| *time <= PROMISE_MAX;
    Promised {
        fair_within: claims.fair_within_ns.filter(in_time),
        ready_max: waits.map(|(longest, load)| longest(&load)).filter(in_time),
    }
}

/// Everything free, the measured defaults, or something slower.
fn costs(draw: &mut Draw, out: &mut String) {
    let _ = writeln!(out, "[host.costs]");
    match draw.between(0, 2) {
        0 => {
            for key in ["actuation", "jitter", "switch", "ipi", "handoff"] {
                let _ = writeln!(out, "{key} = \"0ns\"");
            }
        }
        1 => {}
        _ => {
            let _ = writeln!(out, "actuation = \"{}ns\"", draw.between(0, 50 * US));
            let _ = writeln!(out, "jitter = \"{}ns\"", draw.between(0, 50 * US));
            let _ = writeln!(out, "switch = \"{}ns\"", draw.between(0, 30 * US));
            let _ = writeln!(out, "smt = {}", draw.between(40, 100));
        }
    }
}

/// Some of all that can go wrong.
fn faults(draw: &mut Draw, host: Host, duration: Nanos, out: &mut String) {
    if draw.chance(30) {
        let _ = writeln!(out, "[host.steal]");
        let _ = writeln!(out, "every = \"{}ns\"", draw.scale(2 * MS, 100 * MS));
        let _ = writeln!(out, "length = \"{}ns\"", draw.scale(10 * US, 5 * MS));
    }
    let _ = writeln!(out, "[faults]");
    if draw.chance(50) {
        let _ = writeln!(out, "late = {}", draw.between(1, 50));
        let _ = writeln!(out, "late-by = \"{}ns\"", draw.scale(10 * US, 10 * MS));
    }
    if draw.chance(50) {
        let _ = writeln!(out, "lost = {}", draw.between(1, 100));
        let _ = writeln!(out, "lost-for = \"{}ns\"", draw.scale(10 * US, 20 * MS));
    }
    if draw.chance(30) {
        let _ = writeln!(out, "never-halt = {}", draw.between(1, 100));
    }
    if draw.chance(40) {
        let _ = writeln!(
            out,
            "offline-every = \"{}ns\"",
            draw.scale(MS, duration.max(2 * MS))
        );
        let _ = writeln!(out, "offline-for = \"{}ns\"", draw.scale(10 * US, 20 * MS));
    }
    if draw.chance(50) {
        for _ in 0..draw.between(1, 4) {
            let _ = writeln!(out, "[[swap]]");
            let _ = writeln!(out, "at = \"{}ns\"", draw.between(1, duration - 1));
            let _ = writeln!(out, "policy = \"{}\"", policies::any(draw));
        }
    }
    if draw.chance(30) {
        for _ in 0..draw.between(1, 3) {
            let at = draw.between(0, duration - 1);
            let _ = writeln!(out, "[[offline]]");
            let _ = writeln!(out, "cpu = {}", draw.between(0, host.cpus - 1));
            let _ = writeln!(out, "at = \"{at}ns\"");
            if draw.chance(80) {
                let until = draw.between(at + 1, duration + 1);
                let _ = writeln!(out, "until = \"{until}ns\"");
            }
        }
    }
}

#[cfg(test)]
mod tests;
