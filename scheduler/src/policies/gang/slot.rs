//! Who runs in a slot.

use super::{Gang, REPACK_INTERVAL, columns};
use crate::policy::Event;
use crate::{CpuSet, Level, Nanos, Plan, UnitId, VcpuId, View};

/// How far a gang may be ahead of those that wait, or behind them, in strides of the lightest gang. Beyond, what
/// it got was room that nobody else could use, and what it missed was more than its vCPUs could use.
const STRIDES_MAX: u128 = 3;

impl Gang {
    /// A slot begins: all CPUs are given anew.
    pub(super) fn begin_slot(&mut self, now: Nanos, view: &View) {
        self.charge(now);
        for id in std::mem::take(&mut self.running) {
            self.unit_mut(id).since = None;
        }
        for cpu in view.topology().cpus().iter() {
            self.give(cpu, None);
        }
        self.taken = CpuSet::EMPTY;
        if now >= self.repack_at {
            self.repack();
            self.repack_at = now + REPACK_INTERVAL;
        }
        self.slot_end = now + self.quantum_ns;
        self.ticking = false;
        let order = self.line_up();
        if let Some(&leader) = order.first() {
            self.leader = self.unit(leader).first();
        }
        for &id in &order {
            if view.online().is_subset(&self.taken) {
                break;
            }
            self.join(now, id, view);
        }
        self.pull_along(&order);
        if self.backfill {
            self.fill_holes(&order, view);
        }
    }

    /// The gangs that wait for a slot: the leader and its row, then all by their share.
    fn line_up(&self) -> Vec<UnitId> {
        let waiting = || self.known().filter(|(_, unit)| unit.waits());
        let leader = waiting().min_by_key(|(_, unit)| (unit.pass, unit.first()));
        let Some((_, leader)) = leader else {
            return Vec::new();
        };
        let window = self.matrix.window(leader.first());
        let mut order: Vec<(u128, usize, UnitId)> = waiting()
            .map(|(id, unit)| {
                // Whoever lives in the leader's row counts as it is, the others as if they had had this
                // slot: that keeps rows together, and the leader is first.
                let mate = unit.lies_in(&window);
                let behind = if mate { 0 } else { unit.price(self.quantum_ns) };
                (unit.pass + behind, unit.first(), id)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., id)| id).collect()
    }

    /// Takes a gang into the present slot if there is room: at home, else, unless it is to stay in its
    /// row, where it has been, else on any columns.
    fn join(&mut self, now: Nanos, id: UnitId, view: &View) {
        // Columns that no gang of this slot has.
        let free = *view.online() - self.taken;
        let window = self.matrix.window(self.leader);
        let one_row = self.one_row;
        let unit = self.unit_mut(id);
        let is_elsewhere = one_row && !unit.lies_in(&window);
        if unit.members.len() > free.len() || is_elsewhere {
            return;
        }
        unit.count(view);
        if !unit.waits() {
            return;
        }
        let at = if unit.columns.is_subset(&free) {
            Some(unit.home.clone())
        } else if one_row {
            None
        } else {
            columns::assign(&unit.members, free, &unit.at)
        };
        let Some(at) = at else {
            return;
        };
        unit.since = Some(now);
        unit.at.clone_from(&at);
        let members: Vec<VcpuId> = unit.members.iter().map(|member| member.vcpu).collect();
        for (cpu, vcpu) in at.into_iter().zip(members) {
            self.taken.insert(cpu);
            self.give(cpu, Some((vcpu, Level::Slot)));
        }
        self.running.push(id);
        if self.backfill {
            self.settle(id, view);
        }
    }

    /// Takes in whoever there is room for.
    pub(super) fn join_all(&mut self, now: Nanos, view: &View) {
        for id in self.line_up() {
            self.join(now, id, view);
        }
    }

    /// Charges the gangs of the slot for the time up to `now`.
    pub(super) fn charge(&mut self, now: Nanos) {
        for index in 0..self.running.len() {
            let unit = self.unit_mut(self.running[index]);
            if let Some(since) = unit.since.replace(now) {
                unit.pass += unit.price(now - since);
            }
        }
        let quantum = self.quantum_ns;
        let ready = self.known().map(|(_, unit)| unit);
        let ready = ready.filter(|unit| unit.ready > 0 && !unit.cells.is_empty());
        let (mut least, mut least_waiting, mut stride) = (u128::MAX, u128::MAX, 0);
        for unit in ready {
            least = least.min(unit.pass);
            if unit.since.is_none() {
                least_waiting = least_waiting.min(unit.pass);
            }
            stride = stride.max(unit.price(quantum));
        }
        if least < u128::MAX {
            self.virtual_now = least.max(self.virtual_now);
            self.lag_max = STRIDES_MAX * stride;
        }
        // Measured against who waits: a gang that is always on may be far behind everybody.
        let from = if least_waiting < u128::MAX {
            least_waiting
        } else {
            self.virtual_now
        };
        self.waiting_now = from;
        let most = from + self.lag_max;
        for index in 0..self.running.len() {
            let unit = self.unit_mut(self.running[index]);
            unit.pass = unit.pass.min(most);
        }
    }

    /// Gangs that are in every slot and still behind their share forget what they could not use.
    fn pull_along(&mut self, order: &[UnitId]) {
        let waiting = order.iter().map(|&id| self.unit(id));
        let waiting = waiting.filter(|unit| unit.waits());
        let Some(least) = waiting.map(|unit| unit.pass).min() else {
            return;
        };
        let least = least.saturating_sub(self.lag_max);
        for index in 0..self.running.len() {
            let unit = self.unit_mut(self.running[index]);
            unit.pass = unit.pass.max(least);
        }
    }

    /// A vCPU has become runnable.
    pub(super) fn wake(&mut self, now: Nanos, vcpu: VcpuId, view: &View) {
        let id = view.vcpu(vcpu).unit;
        if self.unit(id).ready == 0 {
            // Time spent halted is no credit, not even what a gang that is always on is behind. While nobody
            // waits the clock stands still between events.
            if !self.ticking {
                self.charge(now);
            }
            let start = self.waiting_now;
            let unit = self.unit_mut(id);
            unit.pass = unit.pass.max(start);
        }
        let unit = self.unit_mut(id);
        unit.count(view);
        if unit.since.is_some() {
            if self.backfill {
                self.settle(id, view);
            }
        } else if unit.waits() {
            self.join(now, id, view);
            if self.backfill {
                self.seat_alternate(vcpu, view);
            }
        }
    }

    /// A vCPU is runnable no more.
    pub(super) fn halt(&mut self, vcpu: VcpuId, view: &View) {
        let id = view.vcpu(vcpu).unit;
        let unit = self.unit_mut(id);
        unit.count(view);
        let runs = unit.since.is_some();
        if !self.backfill {
            return;
        }
        if runs {
            self.settle(id, view);
        } else if let Some(cpu) = self.places[vcpu.index()] {
            self.refill(cpu, view);
        }
    }

    /// Ends the slot if nobody in it can run, and sees to it that it ends in time if others wait.
    pub(super) fn watch_slot(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        let busy = self.running.iter().any(|&id| self.unit(id).ready > 0);
        // Whether the event can have brought somebody who must wait.
        let news = match *event {
            Event::Halt { .. } => false,
            Event::Wake { vcpu } => self.unit(view.vcpu(vcpu).unit).waits(),
            _ => true,
        };
        if busy && (self.ticking || !news) {
            return;
        }
        let waiting = |gang: &Self| gang.known().any(|(_, unit)| unit.waits());
        if !waiting(self) {
            return;
        }
        if !busy || now >= self.slot_end {
            self.begin_slot(now, view);
        }
        if !self.ticking && waiting(self) {
            self.ticking = true;
            plan.tick(self.slot_end);
        }
    }
}
