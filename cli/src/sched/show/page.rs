//! The page that people read.

use std::fmt::Write as _;

use muster_node::snapshot::{
    Locks, ManagerSnapshot, Snapshot, VcpuSnapshot, VcpuState, VmSnapshot,
};
use muster_scheduler::sim::table::Table;
use muster_scheduler::{CpuId, CpuSet, Nanos};

/// What is shown for what there is none of.
const NONE: &str = "-";

/// All of it: what happened since `before`, or since the machines joined.
pub fn page(now: &Snapshot, before: Option<&Snapshot>, width: usize) -> String {
    let mut out = headline(now, before);
    if now.vms.is_empty() {
        out.push_str("\nNo machine has joined: start one with `muster run --node`.\n");
    } else {
        out.push('\n');
        out.push_str(&vms(&now.vms).text(width));
        out.push_str(&unseen(&now.vms));
        out.push('\n');
        out.push_str(&vcpus(now, before).text(width));
    }
    out.push('\n');
    out.push_str(&manager(now, before));
    if !now.policy_state.trim().is_empty() {
        out.push_str("\npolicy:\n");
        for line in now.policy_state.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// What schedules which CPUs, and what the host itself did not get.
fn headline(now: &Snapshot, before: Option<&Snapshot>) -> String {
    let known = now.cpus.iter().map(|cpu| CpuId(cpu.cpu));
    let cpus: CpuSet = known.filter(|cpu| cpu.index() < 1024).collect();
    let (schedule, enforcement) = (&now.schedule, &now.enforcement);
    let mut out = format!("{schedule} on CPUs {cpus}, enforced by {enforcement}");
    // The kernel counts from the host's start, which nobody has asked for.
    if before.is_some() {
        let stolen = |snapshot: &Snapshot| snapshot.cpus.iter().map(|cpu| cpu.stolen_ns).sum();
        let stolen = since(now, before, stolen);
        let all = elapsed(now, before).saturating_mul(now.cpus.len() as Nanos);
        let _ = write!(
            out,
            "; {} % of their time stolen from the host",
            percent(stolen, all)
        );
    }
    out.push('\n');
    out
}

fn elapsed(now: &Snapshot, before: Option<&Snapshot>) -> Nanos {
    since(now, before, |snapshot| snapshot.at_ns)
}

/// How much something has grown.
fn since(now: &Snapshot, before: Option<&Snapshot>, of: impl Fn(&Snapshot) -> Nanos) -> Nanos {
    of(now).saturating_sub(before.map_or(0, of))
}

fn vms(vms: &[VmSnapshot]) -> Table {
    let heads = [
        "VM",
        "pid",
        "weight",
        "cap %",
        "runnable",
        "wants CPUs",
        "gets CPUs",
        "waits %",
        "locks",
    ];
    let mut table = Table::new(heads);
    for vm in vms {
        let load = vm.load;
        table.row([
            vm.name.clone(),
            vm.pid.to_string(),
            vm.weight.to_string(),
            vm.cap_percent
                .map_or(NONE.to_owned(), |cap| cap.to_string()),
            format!("{:.2}", load.runnable),
            format!("{:.2}", load.demand_cpus),
            format!("{:.2}", load.delivered_cpus),
            format!("{:.1}", load.steal_share * 100.0),
            locks(&vm.locks).to_owned(),
        ]);
    }
    table
}

/// Who tells what a VM's vCPUs hold.
fn locks(locks: &Locks) -> &'static str {
    match locks {
        Locks::Untold | Locks::Awaited => NONE,
        Locks::Page => "page",
        Locks::Linux => "linux",
        Locks::Unseen(_) => "unseen",
    }
}

/// Why nobody does, a line for each VM of which that is so.
fn unseen(vms: &[VmSnapshot]) -> String {
    let mut out = String::new();
    for vm in vms {
        if let Locks::Unseen(reason) = &vm.locks {
            let _ = writeln!(out, "{}: locks are not seen: {reason}", vm.name);
        }
    }
    out
}

fn vcpus(now: &Snapshot, before: Option<&Snapshot>) -> Table {
    let heads = [
        "vCPU",
        "state",
        "CPU",
        "allowed",
        "run %",
        "ready %",
        "co-stop %",
        "halted %",
        "stopped",
        "with a lock",
    ];
    let mut table = Table::new(heads);
    for vm in &now.vms {
        let same = |old: &&VmSnapshot| old.name == vm.name && old.joined_ns == vm.joined_ns;
        let old = before.and_then(|before| before.vms.iter().find(same));
        for (number, vcpu) in vm.vcpus.iter().enumerate() {
            let old = old.and_then(|old| old.vcpus.get(number));
            let name = format!("{}/{number}", vm.name);
            table.row([name].into_iter().chain(cells(vcpu, old)));
        }
    }
    table
}

/// A vCPU's row behind its name.
fn cells(vcpu: &VcpuSnapshot, old: Option<&VcpuSnapshot>) -> [String; 9] {
    let since = |of: fn(&VcpuSnapshot) -> u64| of(vcpu).saturating_sub(old.map_or(0, of));
    let times = [
        since(|vcpu| vcpu.run_ns),
        since(|vcpu| vcpu.ready_ns),
        since(|vcpu| vcpu.co_stop_ns),
        since(|vcpu| vcpu.halted_ns),
    ];
    let all = times.iter().sum();
    let [run, ready, co_stop, halted] = times.map(|time| percent(time, all));
    [
        state(vcpu.state).to_owned(),
        vcpu.cpu.map_or(NONE.to_owned(), |cpu| cpu.to_string()),
        vcpu.allowed.clone(),
        run,
        ready,
        co_stop,
        halted,
        since(|vcpu| vcpu.preemptions).to_string(),
        since(|vcpu| vcpu.holder_preemptions).to_string(),
    ]
}

fn state(state: VcpuState) -> &'static str {
    match state {
        VcpuState::Running => "running",
        VcpuState::Ready => "ready",
        VcpuState::CoStopped => "co-stopped",
        VcpuState::Halted => "halted",
    }
}

/// A part of a whole, without its sign.
fn percent(part: Nanos, all: Nanos) -> String {
    if all == 0 {
        return NONE.to_owned();
    }
    format!("{:.1}", part as f64 * 100.0 / all as f64)
}

/// What the node manager does and costs.
fn manager(now: &Snapshot, before: Option<&Snapshot>) -> String {
    let since = |of: fn(&ManagerSnapshot) -> u64| since(now, before, |all| of(&all.manager));
    let cpu = since(|manager| manager.cpu_ns);
    let length = elapsed(now, before);
    let share = if length == 0 {
        NONE.to_owned()
    } else {
        // A busy host's manager is to stay below half a percent: tenths would not show it.
        format!("{:.2} %", cpu as f64 * 100.0 / length as f64)
    };
    let manager = &now.manager;
    let us = |time: Nanos| format!("{:.1} us", time as f64 / 1000.0);
    format!(
        "node manager: {share} of a CPU, {} decisions, {} switches in {:.1} s\n  \
         a switch takes {} (p99 {}), the CPUs of a row switch within {} (p99 {})\n  \
         {} late stops, {} illegal plans\n",
        since(|manager| manager.decisions),
        since(|manager| manager.switches),
        length as f64 / 1e9,
        us(manager.switch_p50_ns),
        us(manager.switch_p99_ns),
        us(manager.row_skew_p50_ns),
        us(manager.row_skew_p99_ns),
        since(|manager| manager.late_stops),
        since(|manager| manager.illegal_plans),
    )
}

#[cfg(test)]
mod tests;
