//! VMs and what they do.

use std::fmt::Write;

use muster_scheduler::{MS, Nanos, US};

use super::Host;
use crate::draw::Draw;

/// The name of a group's VMs begins with this, which tells them from all other groups' VMs.
pub fn name(group: usize) -> String {
    format!("g{group:02}")
}

/// VMs that always want to run, anywhere, with weights. Some come or go before `unsettled` is over.
pub fn busy(draw: &mut Draw, host: Host, unsettled: Nanos, out: &mut String) {
    let widest = if draw.chance(20) {
        host.cpus * 2
    } else {
        host.cpus
    };
    // Gangs can be promised their shares if they are of one width, of which the CPUs are a multiple.
    let alike = draw.chance(30).then(|| divisor(draw, host.cpus));
    for group in 0..draw.between(2, 6) as usize {
        let vcpus = alike.unwrap_or_else(|| draw.scale(1, widest.min(32)));
        start(out, group, vcpus);
        let weight = draw.pick(&[&100, &100, &100, &200, &300, &400]);
        let _ = writeln!(out, "weight = {weight}");
        if unsettled > 0 && draw.chance(40) {
            let end = draw.pick(&["arrive", "arrive", "leave"]);
            let _ = writeln!(out, "{end} = \"{}ns\"", draw.between(1, unsettled));
        }
        let _ = writeln!(out, "workload = {{ kind = \"compute\" }}");
    }
    if draw.chance(30) {
        // Somebody sleeps beside them: holes open and close.
        start(out, 99, alike.unwrap_or_else(|| draw.scale(1, host.cpus)));
        let period = draw.scale(5 * MS, 50 * MS);
        let work = draw.scale(100 * US, 5 * MS);
        let _ = writeln!(
            out,
            "workload = {{ kind = \"io\", compute = \"{work}ns\", wait = \"{period}ns\" }}"
        );
    }
}

fn divisor(draw: &mut Draw, of: u64) -> u64 {
    let divisors: Vec<u64> = (1..=of).filter(|&width| of.is_multiple_of(width)).collect();
    divisors[draw.between(0, divisors.len() as u64 - 1) as usize]
}

/// VMs whose vCPUs spin for locks that are held for long; now and then one comes later, or leaves.
pub fn contending(draw: &mut Draw, host: Host, out: &mut String) {
    for group in 0..draw.between(2, 4) as usize {
        start(out, group, draw.between(1, host.cpus + 1));
        if draw.chance(20) {
            let _ = writeln!(out, "arrive = \"{}ns\"", draw.between(MS, 50 * MS));
        }
        if draw.chance(20) {
            let _ = writeln!(out, "leave = \"{}ns\"", draw.between(51 * MS, 200 * MS));
        }
        let lock = draw.pick(&["tas", "ticket", "queue"]);
        let wait = draw.pick(&["spin", "spin", "spin-then-halt"]);
        let critical = draw.between(20 * US, 300 * US);
        let outside = draw.between(20 * US, 300 * US);
        let _ = writeln!(
            out,
            "workload = {{ kind = \"lock\", lock = \"{lock}\", wait = \"{wait}\", \
             critical = \"{critical}ns\", outside = \"{outside}ns\" }}"
        );
    }
}

/// VMs of all kinds.
pub fn any(draw: &mut Draw, host: Host, duration: Nanos, out: &mut String) {
    for group in 0..draw.between(1, 6) as usize {
        let workload = workload(draw);
        let mut vcpus = draw.scale(1, (host.cpus * 3 / 2).max(2));
        if matches!(workload.kind, "request-reply" | "messages") {
            vcpus = vcpus.next_multiple_of(2);
        }
        start(out, group, vcpus);
        if draw.chance(50) {
            let _ = writeln!(out, "weight = {}", draw.scale(1, 10_000));
        }
        if draw.chance(10) {
            let _ = writeln!(out, "cap = {}", draw.between(5, 100 * vcpus));
        }
        if draw.chance(15) {
            let _ = writeln!(out, "hard-affinity = \"{}\"", some_cpus(draw, host));
        }
        if draw.chance(15) {
            let _ = writeln!(out, "soft-affinity = \"{}\"", some_cpus(draw, host));
        }
        if draw.chance(20) {
            let _ = writeln!(out, "count = {}", draw.between(1, 3));
        }
        if draw.chance(30) {
            let arrive = draw.between(0, duration / 2);
            let _ = writeln!(out, "arrive = \"{arrive}ns\"");
            if draw.chance(50) {
                let leave = draw.between(arrive + 1, duration);
                let _ = writeln!(out, "leave = \"{leave}ns\"");
            }
        }
        if draw.chance(15) {
            let _ = writeln!(out, "work = \"{}ns\"", draw.scale(MS, duration));
            if draw.chance(50) {
                let _ = writeln!(out, "run-time = \"known\"");
            }
        }
        if draw.chance(20) {
            let _ = writeln!(out, "working-set = \"{}KiB\"", draw.scale(1, 8192));
        }
        let shrinks = matches!(workload.kind, "compute" | "lock" | "barrier" | "io");
        if shrinks && draw.chance(20) {
            let _ = writeln!(out, "cooperative = true");
        }
        let _ = writeln!(out, "workload = {{ {} }}", workload.text);
    }
}

fn start(out: &mut String, group: usize, vcpus: u64) {
    let _ = writeln!(out, "[[vm]]");
    let _ = writeln!(out, "name = \"{}\"", name(group));
    let _ = writeln!(out, "vcpus = {vcpus}");
}

fn some_cpus(draw: &mut Draw, host: Host) -> String {
    let first = draw.between(0, host.cpus - 1);
    let last = draw.between(first, host.cpus - 1);
    format!("{first}-{last}")
}

/// A workload with its keys.
struct Work {
    kind: &'static str,
    text: String,
}

fn workload(draw: &mut Draw) -> Work {
    let kind = draw.pick(&[
        "compute",
        "compute",
        "idle",
        "lock",
        "request-reply",
        "barrier",
        "messages",
        "timer",
        "io",
    ]);
    let mut text = format!("kind = \"{kind}\"");
    let mut time = |draw: &mut Draw, key: &str, low: Nanos, high: Nanos| {
        let value = draw.scale(low, high);
        let _ = write!(text, ", {key} = \"{value}ns\"");
    };
    match kind {
        "compute" => time(draw, "grain", 100 * US, 20 * MS),
        "lock" => {
            time(draw, "critical", US, 100 * US);
            time(draw, "outside", 50 * US, MS);
        }
        "request-reply" => {
            time(draw, "think", 20 * US, MS);
            time(draw, "reply", 20 * US, MS);
        }
        "barrier" => time(draw, "grain", 100 * US, 10 * MS),
        "messages" => time(draw, "between", 200 * US, 10 * MS),
        "timer" => {
            time(draw, "period", 500 * US, 10 * MS);
            time(draw, "work", 5 * US, MS);
        }
        "io" => {
            time(draw, "compute", 50 * US, 5 * MS);
            time(draw, "wait", 50 * US, 5 * MS);
        }
        _ => {}
    }
    if matches!(kind, "lock" | "request-reply" | "barrier" | "messages") {
        let wait = draw.pick(&["spin", "halt", "spin-then-halt"]);
        let _ = write!(text, ", wait = \"{wait}\"");
    }
    if kind == "lock" {
        let lock = draw.pick(&["tas", "ticket", "queue"]);
        let _ = write!(text, ", lock = \"{lock}\", locks = {}", draw.scale(1, 16));
    }
    if kind == "messages" {
        let to = draw.pick(&["one", "next", "all"]);
        let _ = write!(text, ", to = \"{to}\"");
    }
    Work { kind, text }
}
