//! Which CPU a vCPU belongs to: the upper of the two levels.
//!
//! Problem: two vCPUs of one VM that share a CPU never run together: one waits for a lock that the
//! other holds, while CPUs beside them do something else.
//!
//! Approach: a vCPU's home is a CPU, among those of its soft affinity, with the fewest of its
//! siblings, then the least load, then near to where it last ran. Whoever has the smallest choice
//! chooses first.
//!
//! Terms: *load*: the weights of those who are at home on a CPU, each a VM's weight over its vCPUs.
//!
//! Source: balance scheduling; Sukwong, Kim, "Is co-scheduling too expensive for SMP VMs?",
//! EuroSys 2011.

use crate::{CpuId, Topology, VcpuId, View, VmId};

/// Loads are whole numbers of this part of a weight.
const WEIGHT_UNIT: u64 = 1024;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Homes {
    /// Per vCPU: its home, and the load that it is there.
    of: Vec<Option<(CpuId, u64)>>,
    /// Per CPU.
    load: Vec<u64>,
}

impl Homes {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            of: Vec::new(),
            load: vec![0; topology.cpu_count()],
        }
    }

    pub(super) fn of(&self, vcpu: VcpuId) -> Option<CpuId> {
        let home = self.of.get(vcpu.index()).copied().flatten();
        home.map(|(cpu, _)| cpu)
    }

    /// The load that a vCPU is.
    pub(super) fn share(vcpu: VcpuId, view: &View) -> u64 {
        let spec = &view.vm(view.vcpu(vcpu).vm).spec;
        u64::from(spec.weight) * WEIGHT_UNIT / u64::from(spec.vcpus)
    }

    /// Gives a VM's vCPUs their homes.
    pub(super) fn settle_vm(&mut self, vm: VmId, view: &View) {
        let mut vcpus: Vec<VcpuId> = view.vm(vm).vcpus().collect();
        for &vcpu in &vcpus {
            self.withdraw(vcpu);
        }
        vcpus.sort_by_key(|&vcpu| (view.preferred(vcpu).len(), vcpu));
        let mut siblings = vec![0; self.load.len()];
        for vcpu in vcpus {
            if let Some((_, cpu)) = self.best(vcpu, &siblings, view) {
                siblings[cpu.index()] += 1;
                self.move_to(vcpu, cpu, view);
            }
        }
    }

    /// Gives a vCPU another home, the best that there is. Tells it, and how many siblings share it.
    pub(super) fn settle(&mut self, vcpu: VcpuId, view: &View) -> Option<(u32, CpuId)> {
        self.withdraw(vcpu);
        let siblings = self.siblings(vcpu, view);
        let (shared, cpu) = self.best(vcpu, &siblings, view)?;
        self.move_to(vcpu, cpu, view);
        Some((shared, cpu))
    }

    /// Per CPU: how many siblings of a vCPU are at home there.
    pub(super) fn siblings(&self, vcpu: VcpuId, view: &View) -> Vec<u32> {
        let mut siblings = vec![0; self.load.len()];
        for home in view.siblings(vcpu).filter_map(|sibling| self.of(sibling)) {
            siblings[home.index()] += 1;
        }
        siblings
    }

    fn best(&self, vcpu: VcpuId, siblings: &[u32], view: &View) -> Option<(u32, CpuId)> {
        let last = view.vcpu(vcpu).last_cpu;
        let distance = |cpu| last.map(|last| view.topology().distance(last, cpu));
        let choice = view.preferred(vcpu);
        let best = choice.iter().min_by_key(|&cpu| {
            let index = cpu.index();
            (siblings[index], self.load[index], distance(cpu), cpu)
        })?;
        Some((siblings[best.index()], best))
    }

    /// Makes `cpu` a vCPU's home.
    pub(super) fn move_to(&mut self, vcpu: VcpuId, cpu: CpuId, view: &View) {
        if self.of(vcpu) == Some(cpu) {
            return;
        }
        self.withdraw(vcpu);
        if self.of.len() < view.vcpu_ids() {
            self.of.resize(view.vcpu_ids(), None);
        }
        let share = Self::share(vcpu, view);
        self.of[vcpu.index()] = Some((cpu, share));
        self.load[cpu.index()] += share;
    }

    /// A vCPU has no home any more.
    pub(super) fn withdraw(&mut self, vcpu: VcpuId) {
        let home = self.of.get_mut(vcpu.index()).and_then(Option::take);
        if let Some((cpu, share)) = home {
            self.load[cpu.index()] -= share;
        }
    }

    /// A vCPU's weight has changed.
    pub(super) fn weigh_again(&mut self, vcpu: VcpuId, view: &View) {
        if let Some(cpu) = self.of(vcpu) {
            self.withdraw(vcpu);
            self.move_to(vcpu, cpu, view);
        }
    }
}
