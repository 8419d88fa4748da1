//! The central server: who may use how many CPUs, and which.

use super::shares::{Claimant, share_out};
use super::{Dynamic, Place, Team};
use crate::{CpuSet, MS, Nanos, Plan, VcpuId, View, VmId};

/// How long a VM that wants more than it has is left waiting, so that many such are heard together.
const HEARING: Nanos = 10 * MS;

impl Dynamic {
    pub(super) fn arrive(&mut self, now: Nanos, vm: VmId, view: &View, plan: &mut Plan) {
        self.places.resize(view.vcpu_ids(), Place::Off);
        self.active.resize(view.vcpu_ids(), false);
        if self.teams.len() <= vm.index() {
            self.teams.resize_with(vm.index() + 1, || None);
        }
        let served = self.teams.iter().flatten().map(|team| team.served).min();
        let state = view.vm(vm);
        self.teams[vm.index()] = Some(Team {
            // It is taken to want all until it is known better.
            peak_before: state.spec.vcpus,
            served: served.unwrap_or(0),
            ..Team::default()
        });
        for vcpu in state.vcpus().filter(|&vcpu| view.vcpu(vcpu).runnable()) {
            self.set_active(vcpu, vm, true);
        }
        self.share_out(now, view, plan);
        let ready = state.vcpus().filter(|vcpu| self.active[vcpu.index()]);
        for vcpu in ready.collect::<Vec<_>>() {
            self.admit(vcpu, view);
        }
        if self.interval_end.is_none() {
            self.interval_end = Some(now + self.interval_ns);
            plan.tick(now + self.interval_ns);
        }
    }

    pub(super) fn dissolve(&mut self, vm: VmId) {
        let team = self.teams[vm.index()].take().expect("it has arrived");
        self.unowned = self.unowned | team.cpus;
        for cpu in team.cpus.iter() {
            self.cpus[cpu.index()].owner = None;
        }
    }

    pub(super) fn ask_for_hearing(&mut self, now: Nanos, plan: &mut Plan) {
        if self.hearing_at.is_none() {
            self.hearing_at = Some(now + HEARING);
            plan.tick(now + HEARING);
        }
    }

    pub(super) fn tick(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let is_due = |at: Option<Nanos>| at.is_some_and(|at| at <= now);
        let (interval, lease) = (is_due(self.interval_end), is_due(self.lease_end));
        let hearing = is_due(self.hearing_at);
        if interval {
            for team in self.teams.iter_mut().flatten() {
                team.peak_before = std::mem::replace(&mut team.peak, team.active);
            }
            self.interval_end = None;
            if self.teams.iter().any(Option::is_some) {
                self.interval_end = Some(now + self.interval_ns);
                plan.tick(now + self.interval_ns);
            }
        }
        if hearing {
            self.hearing_at = None;
        }
        if interval || lease || hearing {
            self.share_out(now, view, plan);
        }
    }

    /// Decides anew who may use what.
    pub(super) fn share_out(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        self.charge_leases(now, view);
        let vms: Vec<VmId> = (0..self.teams.len() as u32).map(VmId).collect();
        let vms: Vec<VmId> = vms
            .into_iter()
            .filter(|vm| self.teams[vm.index()].is_some())
            .collect();
        let reaches: Vec<CpuSet> = vms.iter().map(|&vm| reach(vm, view)).collect();
        let targets = self.targets(now, &vms, &reaches, view, plan);
        for (&vm, &target) in vms.iter().zip(&targets) {
            let team = self.team(vm);
            team.target = target;
            // One that has no lease now should be ready for one CPU.
            if std::mem::replace(&mut team.told, target.max(1)) != target.max(1) {
                plan.advise(vm, target.max(1));
            }
        }
        let short = self.short_of_choice(&vms, &reaches, view);
        for (&vm, reach) in vms.iter().zip(&reaches) {
            let narrower = short.iter().filter(|other| other.len() < reach.len());
            let usable = narrower.fold(*reach, |usable, other| usable - *other);
            self.shrink(vm, &usable);
        }
        // Who has the least choice chooses first.
        let mut order: Vec<(usize, VmId, CpuSet)> = Vec::new();
        for (&vm, &reach) in vms.iter().zip(&reaches) {
            order.push((reach.len(), vm, reach));
        }
        order.sort_unstable_by_key(|&(width, vm, _)| (width, vm));
        for (_, vm, reach) in order {
            self.grow(vm, &reach, view);
        }
        self.readmit(&vms, view);
    }

    fn targets(
        &mut self,
        now: Nanos,
        vms: &[VmId],
        reaches: &[CpuSet],
        view: &View,
        plan: &mut Plan,
    ) -> Vec<u32> {
        let cpus = view.online().len();
        let crowded = vms.len() > cpus;
        let competes = |vm: &VmId| {
            !crowded
                || self.teams[vm.index()]
                    .as_ref()
                    .is_some_and(|team| team.active > 0)
        };
        let rivals: Vec<usize> = (0..vms.len()).filter(|&at| competes(&vms[at])).collect();
        let mut targets = vec![0; vms.len()];
        if rivals.len() > cpus {
            for at in self.lease(now, rivals, vms, cpus, plan) {
                targets[at] = 1;
            }
            return targets;
        }
        self.lease_end = None;
        let claimants: Vec<Claimant> = rivals
            .iter()
            .map(|&at| {
                let spec = &view.vm(vms[at]).spec;
                let team = self.team(vms[at]);
                let used = team.peak.max(team.peak_before);
                Claimant {
                    weight: spec.weight,
                    wanted: (used + 1).min(spec.vcpus),
                    most: spec.vcpus.min(reaches[at].len() as u32),
                }
            })
            .collect();
        for (at, share) in rivals.into_iter().zip(share_out(&claimants, cpus as u32)) {
            targets[at] = share;
        }
        targets
    }

    /// Those who get a CPU each for the time of a lease: who has one that is not over, then who has
    /// had least.
    fn lease(
        &mut self,
        now: Nanos,
        mut rivals: Vec<usize>,
        vms: &[VmId],
        cpus: usize,
        plan: &mut Plan,
    ) -> Vec<usize> {
        let running = self.lease_end.is_some_and(|end| end > now);
        rivals.sort_by_key(|&at| {
            let team = self.teams[vms[at].index()].as_ref().expect("it is there");
            (!(running && team.target > 0), team.served, vms[at])
        });
        rivals.truncate(cpus);
        if !running {
            self.lease_end = Some(now + self.lease_ns);
            plan.tick(now + self.lease_ns);
        }
        rivals
    }

    fn charge_leases(&mut self, now: Nanos, view: &View) {
        let passed = now - std::mem::replace(&mut self.shared_out_at, now);
        if self.lease_end.is_none() {
            return;
        }
        for (vm, team) in self.teams.iter_mut().enumerate() {
            let Some(team) = team.as_mut().filter(|team| team.target > 0) else {
                continue;
            };
            let weight = view.vm(VmId(vm as u32)).spec.weight;
            team.served +=
                u128::from(passed) * u128::from(crate::vm::WEIGHT_MAX) / u128::from(weight);
        }
    }

    /// Where those may run who may not run everywhere and have too little: others leave these CPUs to
    /// them, if they have more choice.
    fn short_of_choice(&self, vms: &[VmId], reaches: &[CpuSet], view: &View) -> Vec<CpuSet> {
        let short = vms.iter().zip(reaches).filter(|&(vm, reach)| {
            let team = self.teams[vm.index()].as_ref().expect("it is there");
            let has = (team.cpus & *reach).len();
            reach.len() < view.online().len() && has < team.target as usize
        });
        short.map(|(_, &reach)| reach).collect()
    }

    /// Takes from a team what it may not have: first CPUs that idle.
    fn shrink(&mut self, vm: VmId, usable: &CpuSet) {
        let idle = self.idle;
        let team = self.team(vm);
        let mut kept = team.cpus & *usable;
        while kept.len() > team.target as usize {
            let last = (kept & idle).iter().last().or_else(|| kept.iter().last());
            kept.remove(last.expect("there are more than enough"));
        }
        let lost = team.cpus - kept;
        team.cpus = kept;
        self.unowned = self.unowned | lost;
        for cpu in lost.iter() {
            self.cpus[cpu.index()].owner = None;
        }
    }

    /// Gives a team what it may have: CPUs near those that it has.
    fn grow(&mut self, vm: VmId, reach: &CpuSet, view: &View) {
        if self.team(vm).cpus.len() >= self.team(vm).target as usize {
            return;
        }
        let mut free = *reach & *view.online() & self.unowned;
        let topology = view.topology();
        let room = |cpus: &CpuSet| (free & *cpus).len();
        let widest = topology.llcs().iter().rev().max_by_key(|cpus| room(cpus));
        let start = widest.and_then(|cpus| (free & *cpus).first());
        loop {
            let team = self.team(vm);
            if team.cpus.len() >= team.target as usize {
                return;
            }
            let anchor = team.cpus.first().or(start);
            let around = anchor.map(|anchor| topology.around(anchor));
            let mut near = around.iter().flatten().map(|&domain| domain & free);
            let Some(cpu) = near.find_map(|near| near.first()) else {
                return;
            };
            free.remove(cpu);
            team.cpus.insert(cpu);
            self.unowned.remove(cpu);
            self.cpus[cpu.index()].owner = Some(vm);
        }
    }

    /// Whoever waits is looked at again, in the same order: he may have another place now.
    fn readmit(&mut self, vms: &[VmId], view: &View) {
        let mut waiting: Vec<VcpuId> = std::mem::take(&mut self.strays).into();
        for &vm in vms {
            waiting.extend(std::mem::take(&mut self.team(vm).ready));
        }
        for vcpu in waiting {
            self.admit(vcpu, view);
        }
    }
}

/// The CPUs on which at least one of its vCPUs may run.
fn reach(vm: VmId, view: &View) -> CpuSet {
    let vcpus = view.vm(vm).vcpus();
    vcpus.fold(CpuSet::EMPTY, |set, vcpu| set | view.vcpu(vcpu).allowed)
}
