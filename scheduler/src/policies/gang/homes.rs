//! Which gangs there are, and where in the matrix they live.

use std::collections::BTreeMap;

use super::Gang;
use super::unit::Unit;
use crate::{CpuId, Nanos, UnitId, View, VmId};

impl Gang {
    /// Follows the view where VMs, gangs, affinities or CPUs have changed. Tells whether the present
    /// slot can't go on as it is.
    pub(super) fn renew(&mut self, now: Nanos, view: &View) -> bool {
        self.revision = view.revision();
        self.online = view.online().len();
        self.places
            .resize(view.vcpu_ids().max(self.places.len()), None);
        let known = self.known();
        let stale = known.filter(|(id, unit)| !unit.is_fresh(*id, view));
        let stale: Vec<UnitId> = stale.map(|(id, _)| id).collect();
        // A VM whose gangs are formed anew does not get its time back.
        let mut passes: BTreeMap<VmId, u128> = BTreeMap::new();
        self.charge(now);
        let disturbed = stale.iter().any(|&id| self.unit(id).since.is_some());
        for id in stale {
            let gone = self.forget(id);
            let pass = passes.entry(gone.vm).or_insert(self.virtual_now);
            *pass = gone.pass.max(*pass);
        }
        for (vm, state) in view.vms() {
            for &id in &state.units {
                if self.units.get(id.index()).is_none_or(Option::is_none) {
                    let pass = passes.get(&vm).copied().unwrap_or(self.virtual_now);
                    self.add(id, Unit::new(id, pass, view));
                }
                let shares = self.shares;
                self.unit_mut(id).refresh(shares, view);
            }
        }
        let lost = |cpu: &CpuId| view.cpu(*cpu).turn.is_none() && self.turns[cpu.index()].is_some();
        disturbed || view.topology().cpus().iter().any(|cpu| lost(&cpu))
    }

    fn add(&mut self, id: UnitId, mut unit: Unit) {
        if self.units.len() <= id.index() {
            self.units.resize_with(id.index() + 1, || None);
        }
        if let Some(cells) = self.matrix.place(id, &unit.members, &[]) {
            unit.settle(cells, self.turns.len());
        }
        self.units[id.index()] = Some(unit);
    }

    fn forget(&mut self, id: UnitId) -> Unit {
        let unit = self.units[id.index()].take();
        let unit = unit.expect("a gang that is known");
        self.matrix.remove(&unit.cells);
        self.running.retain(|&running| running != id);
        if unit.since.is_some() {
            unit.at.iter().for_each(|&cpu| self.taken.remove(cpu));
        }
        unit
    }

    /// A VM's gangs go. Their turns are gone already.
    pub(super) fn leave(&mut self, now: Nanos, vm: VmId, view: &View) {
        self.charge(now);
        let ids: Vec<UnitId> = self
            .known()
            .filter(|(_, unit)| unit.vm == vm)
            .map(|(id, _)| id)
            .collect();
        let mut freed = false;
        for id in ids {
            for member in self.forget(id).members {
                if let Some(cpu) = self.places[member.vcpu.index()] {
                    self.give(cpu, None);
                    freed = true;
                }
            }
        }
        self.repack();
        if freed {
            self.begin_slot(now, view);
        }
    }

    /// Places all gangs anew, the widest first, if that makes the matrix shorter.
    pub(super) fn repack(&mut self) {
        if !self.repacks {
            return;
        }
        let shortest = self.matrix.taken().div_ceil(self.turns.len());
        if self.matrix.rows() <= shortest {
            return;
        }
        let mut order: Vec<(usize, usize, UnitId)> = self
            .known()
            .filter(|(_, unit)| !unit.cells.is_empty())
            .map(|(id, unit)| (unit.members.len(), unit.first(), id))
            .collect();
        order.sort_unstable_by_key(|&(width, first, id)| (usize::MAX - width, first, id));
        let mut packed = self.matrix.emptied();
        let mut homes = Vec::with_capacity(order.len());
        for (_, _, id) in order {
            let unit = self.unit(id);
            let placed = packed.place(id, &unit.members, &unit.home);
            homes.push((id, placed.expect("it had a place before")));
        }
        if packed.rows() < self.matrix.rows() {
            self.matrix = packed;
            let columns = self.turns.len();
            for (id, cells) in homes {
                self.unit_mut(id).settle(cells, columns);
            }
        }
    }
}
