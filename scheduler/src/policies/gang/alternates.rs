//! What runs in holes: alternate selection.
//!
//! A hole is a CPU without a runnable vCPU. Whoever fills it runs at [`Level::Backfill`], without the
//! rest of its gang, and makes way at once.

use super::Gang;
use crate::{CpuId, CpuSet, Level, Nanos, Plan, UnitId, VcpuId, View};

/// A boost is at most one part in so many of a gang's time.
const BOOST_SHARE: Nanos = 20;

impl Gang {
    /// The runnable members of a gang of the present slot have their places. Those of halted ones go
    /// to others if there are any, else they are kept for them.
    pub(super) fn settle(&mut self, id: UnitId, view: &View) {
        let unit = self.unit(id);
        let members = unit.members.iter().map(|member| member.vcpu);
        let seats: Vec<(VcpuId, CpuId)> = members.zip(unit.at.iter().copied()).collect();
        for (vcpu, cpu) in seats {
            let own = Some((vcpu, Level::Slot));
            if view.vcpu(vcpu).runnable() {
                let before = self.turns[cpu.index()];
                if before != own {
                    self.give(cpu, own);
                    if let Some((displaced, _)) = before {
                        self.seat_alternate(displaced, view);
                    }
                }
            } else if self.is_hole(cpu, view) && !self.refill(cpu, view) {
                self.give(cpu, own);
            }
        }
    }

    /// Gives a hole to a vCPU that is at home in its column, from the rows that follow. Tells whether
    /// there is one.
    pub(super) fn refill(&mut self, cpu: CpuId, view: &View) -> bool {
        let mut column = self.matrix.column(cpu, self.leader);
        let found = column.find(|&vcpu| self.is_spare(vcpu, cpu, view));
        drop(column);
        if let Some(vcpu) = found {
            self.give(cpu, Some((vcpu, Level::Backfill)));
        }
        found.is_some()
    }

    /// At the beginning of a slot: fills holes with who is at home there, then with anybody.
    pub(super) fn fill_holes(&mut self, order: &[UnitId], view: &View) {
        let mut holes = CpuSet::EMPTY;
        for cpu in view.online().iter() {
            if self.is_hole(cpu, view) && !self.refill(cpu, view) {
                holes.insert(cpu);
            }
        }
        for &id in order {
            if holes.is_empty() {
                return;
            }
            for index in 0..self.unit(id).members.len() {
                let member = self.unit(id).members[index];
                let Some(cpu) = (holes & member.allowed).first() else {
                    continue;
                };
                if self.is_spare(member.vcpu, cpu, view) {
                    self.give(cpu, Some((member.vcpu, Level::Backfill)));
                    holes.remove(cpu);
                }
            }
        }
    }

    /// Finds a runnable vCPU that has no place a hole: in its own column, else anywhere.
    pub(super) fn seat_alternate(&mut self, vcpu: VcpuId, view: &View) {
        let unit = self.unit(view.vcpu(vcpu).unit);
        let index = unit.members.iter().position(|member| member.vcpu == vcpu);
        let home = index.and_then(|index| unit.home.get(index).copied());
        let allowed = view.vcpu(vcpu).allowed;
        let mut candidates = home.into_iter().chain(allowed.iter());
        let hole =
            candidates.find(|&cpu| self.is_hole(cpu, view) && self.is_spare(vcpu, cpu, view));
        if let Some(cpu) = hole {
            self.give(cpu, Some((vcpu, Level::Backfill)));
        }
    }

    fn is_hole(&self, cpu: CpuId, view: &View) -> bool {
        let turn = self.turns[cpu.index()];
        view.online().contains(cpu) && turn.is_none_or(|(vcpu, _)| !view.vcpu(vcpu).runnable())
    }

    /// Whether a vCPU could run here and runs nowhere.
    fn is_spare(&self, vcpu: VcpuId, cpu: CpuId, view: &View) -> bool {
        let state = view.vcpu(vcpu);
        state.runnable()
            && state.allowed.contains(cpu)
            && self.places[vcpu.index()].is_none()
            && self.unit(state.unit).since.is_none()
    }

    /// A vCPU that has woken and has no place may borrow a CPU for a moment, to deal with what has
    /// woken it. Its gang pays for that.
    pub(super) fn boost(&mut self, now: Nanos, vcpu: VcpuId, view: &View, plan: &mut Plan) {
        let id = view.vcpu(vcpu).unit;
        let placed = self.places[vcpu.index()].is_some() || view.vcpu(vcpu).loan.is_some();
        let boost_ns = self.boost_ns;
        let unit = self.unit_mut(id);
        if boost_ns == 0 || placed || unit.cells.is_empty() || now < unit.boost_from {
            return;
        }
        let index = unit.members.iter().position(|member| member.vcpu == vcpu);
        let cpu = unit.home[index.expect("it is a member")];
        unit.boost_from = now + BOOST_SHARE * boost_ns;
        unit.pass += unit.price(boost_ns) / unit.members.len() as u128;
        plan.because("woken outside its slot")
            .lend(cpu, Some(vcpu), now + boost_ns);
    }
}
