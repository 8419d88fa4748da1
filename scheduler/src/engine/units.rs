//! What is scheduled at once.
//!
//! A gang's members must all be able to run at the same time, each on a CPU that it is allowed. A VM
//! that is wider than its CPUs becomes several gangs: as many vCPUs as can run together, from the
//! highest number down, until a narrower rest is left, which goes first.

use super::Engine;
use super::vms::grow;
use crate::view::UnitView;
use crate::{CpuId, CpuSet, Granularity, UnitId, VcpuId, VmId};

impl Engine {
    /// Forms a VM's units anew. Where they change, its vCPUs lose their turns, and the policy hears
    /// of the CPUs that are free now. Tells whether they have changed.
    pub(super) fn form_units(&mut self, vm: VmId) -> bool {
        let vcpus = self.view.vm(vm).vcpus();
        let allowed: Vec<(VcpuId, CpuSet)> = vcpus
            .map(|vcpu| (vcpu, self.view.vcpu(vcpu).allowed))
            .collect();
        let wanted = match self.policy.granularity() {
            Granularity::Vcpu => allowed.iter().map(|&(vcpu, _)| vec![vcpu]).collect(),
            Granularity::Gang => gangs(&allowed),
        };
        let present = self.view.vm(vm).units.iter();
        if present
            .map(|&unit| &self.view.unit(unit).members)
            .eq(wanted.iter())
        {
            return false;
        }
        for &(vcpu, _) in &allowed {
            if let Some(cpu) = self.view.vcpu(vcpu).turn {
                self.set_turn(cpu, None);
                self.events.push_back(crate::Event::Idle { cpu });
            }
        }
        for unit in self.view.vm(vm).units.clone() {
            self.view.units[unit.index()] = None;
        }
        let mut units = Vec::with_capacity(wanted.len());
        let mut free = 0;
        for members in wanted {
            while self.view.units.get(free).is_some_and(Option::is_some) {
                free += 1;
            }
            grow(&mut self.view.units, free + 1);
            let unit = UnitId(free as u32);
            for &member in &members {
                self.view.vcpu_mut(member).unit = unit;
            }
            self.view.units[free] = Some(UnitView { vm, members });
            units.push(unit);
        }
        let state = self.view.vms[vm.index()].as_mut().expect("it is known");
        state.units = units;
        self.view.revision += 1;
        true
    }
}

/// Splits vCPUs, each with the CPUs that it is allowed, into gangs that can run whole.
fn gangs(vcpus: &[(VcpuId, CpuSet)]) -> Vec<Vec<VcpuId>> {
    let mut gangs = Vec::new();
    let mut left = vcpus.to_vec();
    while !left.is_empty() {
        let together = runnable_together(&left);
        let (gang, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .zip(together)
            .partition(|&(_, together)| together);
        let mut gang: Vec<VcpuId> = gang.into_iter().map(|((vcpu, _), _)| vcpu).collect();
        left = rest.into_iter().map(|(vcpu, _)| vcpu).collect();
        if gang.is_empty() {
            // Whoever is left has no CPU at all, and waits alone.
            gangs.extend(left.drain(..).rev().map(|(vcpu, _)| vec![vcpu]));
        } else {
            gang.sort_unstable();
            gangs.push(gang);
        }
    }
    gangs.reverse();
    gangs
}

/// A largest set of vCPUs that can run at once, preferring high numbers: Kuhn's algorithm for
/// matchings in bipartite graphs.
fn runnable_together(vcpus: &[(VcpuId, CpuSet)]) -> Vec<bool> {
    let same = vcpus.windows(2).all(|pair| pair[0].1 == pair[1].1);
    if same {
        let width = vcpus[0].1.len();
        let first = vcpus.len().saturating_sub(width);
        return (0..vcpus.len()).map(|index| index >= first).collect();
    }
    let mut owner: Vec<Option<usize>> = vec![None; crate::cpu_set::CPUS_MAX];
    let mut matched = vec![false; vcpus.len()];
    for index in (0..vcpus.len()).rev() {
        let mut tried = CpuSet::EMPTY;
        matched[index] = place(index, vcpus, &mut owner, &mut tried);
    }
    matched
}

/// Finds `index` a CPU, moving others out of the way along one path. Depth is bounded by the number
/// of CPUs.
fn place(
    index: usize,
    vcpus: &[(VcpuId, CpuSet)],
    owner: &mut [Option<usize>],
    tried: &mut CpuSet,
) -> bool {
    let candidates: Vec<CpuId> = (vcpus[index].1 - *tried).iter().collect();
    // Free ones first, so that paths are short.
    if let Some(&free) = candidates.iter().find(|cpu| owner[cpu.index()].is_none()) {
        owner[free.index()] = Some(index);
        return true;
    }
    for cpu in candidates {
        if tried.contains(cpu) {
            continue;
        }
        tried.insert(cpu);
        let other = owner[cpu.index()].expect("a free one would have been taken");
        if place(other, vcpus, owner, tried) {
            owner[cpu.index()] = Some(index);
            return true;
        }
    }
    false
}
