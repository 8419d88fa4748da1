//! Time is accounted to the nanosecond: what the engine charges is what the CPUs did.

use muster_scheduler::sim::record::{Activity, Recording, VcpuRef};
use muster_scheduler::{Nanos, Runstate};

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline, without};

/// The property's name.
pub const NAME: &str = "time is accounted exactly";

/// Each vCPU's runstates fill its life; it runs exactly while a CPU serves it; the engine's sums and
/// the VMs' totals agree with both.
pub fn check(line: &Timeline<'_>, _: &Facts) -> Result<u64, Broken> {
    for &vcpu in line.vcpus.keys() {
        let life = line.life(vcpu.vm);
        if let Err((at_ns, seen)) = check_vcpu(line, vcpu, life) {
            return Err(Broken {
                property: NAME,
                at_ns,
                seen: format!("{}: {seen}", name(vcpu)),
            });
        }
    }
    check_totals(line.recording)?;
    Ok(line.vcpus.len() as u64)
}

fn check_vcpu(line: &Timeline<'_>, vcpu: VcpuRef, life: Stretch) -> Result<(), (Nanos, String)> {
    let of = &line.vcpus[&vcpu];
    let mut from = life.start;
    for &(state, time) in &of.states {
        if time.start != from {
            return Err((from, format!("is in no runstate until {state:?} {time:?}")));
        }
        from = time.end;
    }
    if from != life.end {
        return Err((from, format!("is in no runstate until {}", life.end)));
    }
    let halted: Vec<Stretch> = of.in_state(Runstate::Halted).collect();
    let awake = without(&of.on_cpu, &halted);
    let mut served = awake.iter();
    for charged in of.in_state(Runstate::Running) {
        let served = served.next();
        if served != Some(&charged) {
            let seen = format!("is charged for {charged:?}, is served in {served:?}");
            return Err((charged.start, seen));
        }
    }
    if let Some(served) = served.next() {
        return Err((served.start, format!("is not charged for {served:?}")));
    }
    let awake = without(&of.active, &halted);
    let same = awake.iter().zip(&of.active).take_while(|(a, b)| a == b);
    if let Some(both) = of.active.get(same.count()) {
        return Err((both.start, format!("is halted while it works in {both:?}")));
    }
    let times = &line.recording.vms[vcpu.vm as usize].times[vcpu.index as usize];
    for state in Runstate::ALL {
        let observed: Nanos = of.in_state(state).map(Stretch::len).sum();
        if times[state] != observed {
            let seen = format!("{state:?} for {observed}, the engine says {}", times[state]);
            return Err((life.end, seen));
        }
    }
    Ok(())
}

/// The sums over spans are the totals that reports print.
fn check_totals(recording: &Recording) -> Result<(), Broken> {
    let sum = |of: Option<u32>, activity: Activity| -> Nanos {
        let spans = recording.spans.iter();
        let spans = spans.filter(|span| span.activity == activity);
        let spans = spans.filter(|span| of.is_none() || span.vcpu.map(|vcpu| vcpu.vm) == of);
        spans.map(|span| span.end_ns - span.start_ns).sum()
    };
    let totals = &recording.cpu_totals;
    let mut pairs = vec![
        (None, Activity::Held, totals.held_ns),
        (None, Activity::Switch, totals.switch_ns),
        (None, Activity::Stolen, totals.stolen_ns),
    ];
    for (vm, outcome) in recording.vms.iter().enumerate() {
        let vm = Some(vm as u32);
        pairs.push((vm, Activity::Work, outcome.work_ns));
        pairs.push((vm, Activity::Spin, outcome.spin_ns));
        pairs.push((vm, Activity::Refill, outcome.refill_ns));
    }
    for (vm, activity, total) in pairs {
        let spans = sum(vm, activity);
        if spans != total {
            let of = vm.map_or("the host".to_owned(), |vm| format!("VM {vm}"));
            return Err(Broken {
                property: NAME,
                at_ns: recording.duration_ns,
                seen: format!("{activity:?} of {of}: {spans} ns in spans, {total} ns in total"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
