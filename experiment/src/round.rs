//! A round: what happened between two looks at the VMs.

use muster_node::snapshot::{Snapshot, VcpuSnapshot, VmSnapshot};
use muster_scheduler::Nanos;
use serde::Serialize;
use thiserror::Error;

/// A round, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// The row's label.
    pub row: String,
    /// Which repetition, from 0 on.
    pub repetition: u32,
    /// When it began: since the node manager started.
    pub start_ns: Nanos,
    /// How long it was.
    pub length_ns: Nanos,
    /// How much of the host's CPU time was taken by what is below it, in percent.
    pub steal_percent: f64,
    /// How much of it was used by programs that are not part of the experiment, in percent.
    pub foreign_percent: f64,
    /// Whether it counts: it was not repeated for its steal.
    pub counts: bool,
    /// The metrics, in the experiment's order; `None` where there is nothing to tell.
    pub values: Vec<Option<f64>>,
    /// What each VM did.
    pub vms: Vec<VmRound>,
    /// What the node manager did and cost.
    pub manager: ManagerRound,
}

/// What a VM did in a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmRound {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Its vCPUs, in order.
    pub vcpus: Vec<VcpuRound>,
}

/// What a vCPU did in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VcpuRound {
    /// On a CPU.
    pub run_ns: Nanos,
    /// Waiting for one.
    pub ready_ns: Nanos,
    /// Held back.
    pub co_stop_ns: Nanos,
    /// Without anything to do.
    pub halted_ns: Nanos,
    /// How often it was stopped.
    pub preemptions: u64,
    /// How often while it held a lock.
    pub holder_preemptions: u64,
    /// By how much its counters grew; zeros at the end are left out.
    pub counters: Vec<u64>,
    /// The same of its histogram.
    pub histogram: Vec<u64>,
}

/// What the node manager did in a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ManagerRound {
    /// CPU time of all its threads, in percent of a CPU.
    pub cpu_percent: f64,
    /// Decisions of the policy.
    pub decisions: u64,
    /// Switches carried out.
    pub switches: u64,
    /// The last switches took so long, in the middle.
    pub switch_p50_ns: Nanos,
    /// And 99 % of them at most so long.
    pub switch_p99_ns: Nanos,
    /// The CPUs of the last rows switched so far apart, in the middle.
    pub row_skew_p50_ns: Nanos,
    /// And 99 % of them at most so far.
    pub row_skew_p99_ns: Nanos,
    /// vCPUs that did not stop in time.
    pub late_stops: u64,
    /// Plans that broke a rule.
    pub illegal_plans: u64,
}

/// Two looks do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RoundError {
    /// A VM is not there.
    #[error("the VM {0} has left the node manager during a round")]
    Gone(String),
    /// Time stands still.
    #[error("the node manager's clock stands still")]
    NoTime,
}

/// The plain facts of a round.
#[derive(Debug)]
pub struct Facts {
    /// See [`Round`].
    pub length_ns: Nanos,
    /// See [`Round`].
    pub steal_percent: f64,
    /// The VMs, in the order of their names as asked for.
    pub vms: Vec<VmRound>,
    /// See [`Round`].
    pub manager: ManagerRound,
}

impl Facts {
    /// What is left of the time that everybody on the host used, in percent of all CPUs.
    pub fn foreign_percent(&self, busy_ns: Nanos, cpus: usize) -> f64 {
        let vcpus = self.vms.iter().flat_map(|vm| &vm.vcpus);
        let own_ns: f64 = vcpus.map(|vcpu| vcpu.run_ns as f64).sum();
        let length_ns = self.length_ns as f64;
        let manager_ns = self.manager.cpu_percent / 100.0 * length_ns;
        let foreign_ns = (busy_ns as f64 - own_ns - manager_ns).max(0.0);
        100.0 * foreign_ns / (length_ns * cpus.max(1) as f64)
    }
}

/// What happened between two snapshots to these VMs.
pub fn between(before: &Snapshot, after: &Snapshot, names: &[String]) -> Result<Facts, RoundError> {
    let length_ns = after.at_ns.saturating_sub(before.at_ns);
    if length_ns == 0 {
        return Err(RoundError::NoTime);
    }
    let vms = names.iter().map(|name| vm_between(before, after, name));
    let vms = vms.collect::<Result<_, _>>()?;
    let stolen = |snapshot: &Snapshot| -> Nanos {
        let cpus = snapshot.cpus.iter();
        cpus.map(|cpu| cpu.stolen_ns).sum()
    };
    let stolen_ns = stolen(after).saturating_sub(stolen(before));
    let whole = length_ns as f64 * after.cpus.len().max(1) as f64;
    let (was, is) = (&before.manager, &after.manager);
    let manager = ManagerRound {
        cpu_percent: 100.0 * is.cpu_ns.saturating_sub(was.cpu_ns) as f64 / length_ns as f64,
        decisions: is.decisions.saturating_sub(was.decisions),
        switches: is.switches.saturating_sub(was.switches),
        switch_p50_ns: is.switch_p50_ns,
        switch_p99_ns: is.switch_p99_ns,
        row_skew_p50_ns: is.row_skew_p50_ns,
        row_skew_p99_ns: is.row_skew_p99_ns,
        late_stops: is.late_stops.saturating_sub(was.late_stops),
        illegal_plans: is.illegal_plans.saturating_sub(was.illegal_plans),
    };
    Ok(Facts {
        length_ns,
        steal_percent: 100.0 * stolen_ns as f64 / whole,
        vms,
        manager,
    })
}

fn vm_between(before: &Snapshot, after: &Snapshot, name: &str) -> Result<VmRound, RoundError> {
    let find = |snapshot| find_vm(snapshot, name).ok_or_else(|| RoundError::Gone(name.to_owned()));
    let (was, is) = (find(before)?, find(after)?);
    // It has begun again, and so did all that adds up.
    if was.pid != is.pid || was.joined_ns != is.joined_ns {
        return Err(RoundError::Gone(name.to_owned()));
    }
    let vcpus = was.vcpus.iter().zip(&is.vcpus);
    Ok(VmRound {
        name: name.to_owned(),
        weight: is.weight,
        vcpus: vcpus.map(|(was, is)| vcpu_between(was, is)).collect(),
    })
}

/// The VM of this name.
pub fn find_vm<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a VmSnapshot> {
    snapshot.vms.iter().find(|vm| vm.name == name)
}

fn vcpu_between(was: &VcpuSnapshot, is: &VcpuSnapshot) -> VcpuRound {
    VcpuRound {
        run_ns: is.run_ns.saturating_sub(was.run_ns),
        ready_ns: is.ready_ns.saturating_sub(was.ready_ns),
        co_stop_ns: is.co_stop_ns.saturating_sub(was.co_stop_ns),
        halted_ns: is.halted_ns.saturating_sub(was.halted_ns),
        preemptions: is.preemptions.saturating_sub(was.preemptions),
        holder_preemptions: is.holder_preemptions.saturating_sub(was.holder_preemptions),
        counters: grown(&was.counters, &is.counters),
        histogram: grown(&was.histogram, &is.histogram),
    }
}

/// By how much numbers grew. They are a guest's, which may write what it likes: what did not grow is
/// none.
fn grown(was: &[u64], is: &[u64]) -> Vec<u64> {
    let growth = was.iter().zip(is);
    let mut growth: Vec<u64> = growth.map(|(was, is)| is.saturating_sub(*was)).collect();
    let length = growth.iter().rposition(|&number| number != 0);
    growth.truncate(length.map_or(0, |last| last + 1));
    growth
}

#[cfg(test)]
pub(crate) mod tests;
