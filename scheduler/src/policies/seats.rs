//! Who has which CPU, by a policy's own record.
//!
//! Problem: the view shows the host with every layer's wishes in it. A policy that may be wrapped
//! must know what it has itself given to whom, and which CPUs it could still give away.
//!
//! Approach: two tables, by CPU and by vCPU, and the set of CPUs that nobody works on. A vCPU that
//! halts keeps its seat as long as nobody else wants the CPU: it *rests* there, and wakes without a
//! switch.

use crate::{CpuId, CpuSet, Topology, VcpuId, View};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Seats {
    by_cpu: Vec<Option<VcpuId>>,
    by_vcpu: Vec<Option<CpuId>>,
    /// CPUs that are free or on which somebody rests. Offline ones may be among them.
    idle: CpuSet,
}

impl Seats {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            by_cpu: vec![None; topology.cpu_count()],
            by_vcpu: Vec::new(),
            idle: topology.cpus(),
        }
    }

    /// Who has this CPU, at work or resting.
    pub(super) fn holder(&self, cpu: CpuId) -> Option<VcpuId> {
        self.by_cpu[cpu.index()]
    }

    /// Who is at work on this CPU.
    pub(super) fn worker(&self, cpu: CpuId) -> Option<VcpuId> {
        self.holder(cpu).filter(|_| !self.idle.contains(cpu))
    }

    /// Where this vCPU has its seat.
    pub(super) fn of(&self, vcpu: VcpuId) -> Option<CpuId> {
        self.by_vcpu.get(vcpu.index()).copied().flatten()
    }

    /// Whether nobody works on this CPU.
    pub(super) fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.contains(cpu)
    }

    /// CPUs that nobody works on.
    pub(super) fn idle(&self) -> CpuSet {
        self.idle
    }

    /// Gives a CPU to a vCPU, which leaves its former seat. Whoever had the CPU has none now.
    pub(super) fn give(&mut self, cpu: CpuId, vcpu: VcpuId) {
        self.free(cpu);
        if let Some(former) = self.of(vcpu) {
            self.free(former);
        }
        if self.by_vcpu.len() <= vcpu.index() {
            self.by_vcpu.resize(vcpu.index() + 1, None);
        }
        self.by_cpu[cpu.index()] = Some(vcpu);
        self.by_vcpu[vcpu.index()] = Some(cpu);
        self.idle.remove(cpu);
    }

    /// Nobody has this CPU any more. Tells who had it.
    pub(super) fn free(&mut self, cpu: CpuId) -> Option<VcpuId> {
        let holder = self.by_cpu[cpu.index()].take();
        if let Some(vcpu) = holder {
            self.by_vcpu[vcpu.index()] = None;
        }
        self.idle.insert(cpu);
        holder
    }

    /// Whoever has this CPU rests: it keeps it until another wants it.
    pub(super) fn rest(&mut self, cpu: CpuId) {
        self.idle.insert(cpu);
    }

    /// The idle CPU that suits a vCPU best: one of its soft affinity if it can be, and then the
    /// nearest to where it last ran.
    pub(super) fn nearest_idle(&self, vcpu: VcpuId, view: &View) -> Option<CpuId> {
        let state = view.vcpu(vcpu);
        let possible = state.allowed & self.idle;
        if possible.is_empty() {
            return None;
        }
        let liked = view.preferred(vcpu) & possible;
        let choice = if liked.is_empty() { possible } else { liked };
        let Some(last) = state.last_cpu else {
            return choice.first();
        };
        if choice.contains(last) {
            return Some(last);
        }
        let around = view.topology().around(last);
        around.iter().find_map(|&domain| (domain & choice).first())
    }
}

/// Whether a vCPU that waits could run on `cpu` at once. Asked before a CPU is given away, for the
/// view may be ahead of the events.
pub(super) fn may_run(view: &View, vcpu: VcpuId, cpu: CpuId) -> bool {
    let state = view.vcpu(vcpu);
    state.runnable() && state.allowed.contains(cpu)
}
