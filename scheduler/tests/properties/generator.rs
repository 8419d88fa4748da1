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

use muster_scheduler::topology::TopologySpec;
use muster_scheduler::{MS, Nanos, PolicySpec, SECOND, US};

use crate::draw::Draw;

/// How often another policy is drawn where one shall be fair.
const FAIR_TRIES: u32 = 5;

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
    let policy = match mood {
        Mood::Calm => fair_policy(draw, host),
        Mood::Mixed | Mood::Faulty => policies::any(draw),
    };
    // Until when VMs come and go on a calm host.
    let unsettled = if draw.chance(40) {
        draw.scale(MS, 6 * SECOND)
    } else {
        0
    };
    let duration = match mood {
        Mood::Calm => unsettled + calm_duration(draw, host, &policy),
        Mood::Mixed | Mood::Faulty => {
            let longest = (2 * SECOND / host.cpus).min(400 * MS);
            draw.between(20 * MS, longest.max(21 * MS))
        }
    };
    let mut text = String::new();
    let out = &mut text;
    let TopologySpec {
        nodes,
        llcs,
        cores,
        threads,
    } = host.shape;
    let _ = writeln!(out, "name = \"seed {seed}\"");
    let _ = writeln!(out, "duration = \"{duration}ns\"");
    let _ = writeln!(out, "[host]");
    let _ = writeln!(
        out,
        "topology = \"nodes={nodes},llcs={llcs},cores={cores},threads={threads}\""
    );
    costs(draw, out);
    match mood {
        Mood::Calm => vms::busy(draw, host, unsettled, out),
        Mood::Mixed | Mood::Faulty => vms::any(draw, host, duration, out),
    }
    if mood == Mood::Faulty {
        faults(draw, host, duration, out);
    }
    Case {
        scenario: text,
        policy,
    }
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

/// A policy that promises to be fair, if one is found soon.
fn fair_policy(draw: &mut Draw, host: Host) -> String {
    let mut policy = policies::any(draw);
    for _ in 0..FAIR_TRIES {
        if fair_within(host, &policy).is_some() {
            break;
        }
        policy = policies::any(draw);
    }
    policy
}

/// In which time a policy promises to be fair.
fn fair_within(host: Host, policy: &str) -> Option<Nanos> {
    let spec: PolicySpec = policy.parse().expect("a policy that was drawn");
    let topology = host.shape.build().expect("a host that was drawn");
    spec.build(&topology).claims().fair_within_ns
}

/// Long enough to test the promise, if that is not too long.
fn calm_duration(draw: &mut Draw, host: Host, policy: &str) -> Nanos {
    let window = fair_within(host, policy).unwrap_or(100 * MS);
    let window = window.min(20 * SECOND);
    window + draw.between(MS, window / 2 + 2 * MS)
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
