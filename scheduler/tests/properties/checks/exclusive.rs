//! No CPU does two things at once, no vCPU is on two CPUs at once.

use muster_scheduler::Nanos;

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::Timeline;

/// The one property's name.
pub const CPU: &str = "a CPU does one thing at a time";
/// The other's.
pub const VCPU: &str = "a vCPU is on one CPU at a time";

/// Spans of a CPU do not overlap, are not empty, and lie within the run.
pub fn one_thing_per_cpu(line: &Timeline<'_>, _: &Facts) -> Result<u64, Broken> {
    let recording = line.recording;
    let mut free_from: Vec<Nanos> = vec![0; recording.cpus as usize];
    for span in &recording.spans {
        let broken = |seen: String| Broken {
            property: CPU,
            at_ns: span.start_ns,
            seen,
        };
        let Some(free) = free_from.get_mut(span.cpu.index()) else {
            return Err(broken(format!("{span:?}: there is no such CPU")));
        };
        if span.start_ns < *free {
            return Err(broken(format!("{span:?} begins before {free}")));
        }
        if span.start_ns >= span.end_ns || span.end_ns > recording.duration_ns {
            return Err(broken(format!("{span:?} is empty or ends after the run")));
        }
        *free = span.end_ns;
    }
    Ok(recording.spans.len() as u64)
}

/// Stays of a vCPU do not overlap.
pub fn one_cpu_per_vcpu(line: &Timeline<'_>, _: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    for (&vcpu, of) in &line.vcpus {
        for pair in of.stays.windows(2) {
            seen += 1;
            if pair[1].time.start < pair[0].time.end {
                return Err(Broken {
                    property: VCPU,
                    at_ns: pair[1].time.start,
                    seen: format!("{}: {:?} and {:?}", name(vcpu), pair[0], pair[1]),
                });
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
