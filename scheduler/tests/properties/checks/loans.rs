//! Loans of CPUs and graces for holders of locks are bounded.

use muster_scheduler::plan::{GRACE_MAX, LOAN_MAX};
use muster_scheduler::sim::record::{MarkKind, VcpuRef};
use muster_scheduler::{CpuId, Level, Nanos};

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::Timeline;

/// The property's name.
pub const NAME: &str = "boosts are bounded";

/// No loan or grace is longer than the longest, and nobody is on a CPU at the level of loans without
/// one.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let mut seen = 0;
    let mut loans: Vec<(VcpuRef, CpuId, Nanos, Nanos)> = Vec::new();
    for mark in &line.recording.marks {
        let broken = |seen: String| Broken {
            property: NAME,
            at_ns: mark.at_ns,
            seen,
        };
        match mark.kind {
            MarkKind::Grace {
                vcpu,
                used_ns: used,
                ..
            } => {
                seen += 1;
                // Time may be stolen while it lasts.
                if used > GRACE_MAX + facts.late_ns {
                    return Err(broken(format!("{} had a grace of {used} ns", name(vcpu))));
                }
            }
            MarkKind::Loan {
                cpu, to, until_ns, ..
            } => {
                seen += 1;
                if until_ns > mark.at_ns + LOAN_MAX || until_ns <= mark.at_ns {
                    return Err(broken(format!("{cpu} is lent until {until_ns}")));
                }
                loans.extend(to.map(|vcpu| (vcpu, cpu, mark.at_ns, until_ns)));
            }
            _ => {}
        }
    }
    loans.sort_unstable();
    let slack = facts.switch_ns + facts.late_ns + GRACE_MAX;
    for (&vcpu, of) in &line.vcpus {
        for stay in of.stays.iter().filter(|s| s.level == Some(Level::Boosted)) {
            let first = loans.partition_point(|loan| *loan < (vcpu, stay.cpu, 0, 0));
            let own = loans[first..].iter();
            let own = own.take_while(|loan| (loan.0, loan.1) == (vcpu, stay.cpu));
            let covered = own.fold(stay.time.start, |covered, &(_, _, from, until)| {
                if from <= covered {
                    covered.max(until + slack)
                } else {
                    covered
                }
            });
            // What is lent and taken back at one moment leaves no mark, but the switch may have begun.
            let unmarked = covered == stay.time.start;
            if unmarked && stay.time.len() <= 2 * (facts.switch_ns + facts.late_ns) {
                continue;
            }
            if covered < stay.time.end {
                return Err(Broken {
                    property: NAME,
                    at_ns: stay.time.start,
                    seen: format!("{} stays longer than it was lent: {stay:?}", name(vcpu)),
                });
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
