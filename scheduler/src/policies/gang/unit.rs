//! What the policy keeps of each gang.

use std::ops::Range;

use crate::{CpuId, CpuSet, Nanos, UnitId, VcpuId, View, VmId};

/// Virtual time of one nanosecond at weight 1.
const SCALE: u128 = 1 << 32;

/// What weights share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// Slots: a gang of twice the weight has twice as many.
    Slots,
    /// CPU time in slots: a VM of twice the weight has twice as much, however wide it is.
    Time,
}

/// A vCPU in a gang.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Who.
    pub vcpu: VcpuId,
    /// The columns that it may use.
    pub allowed: CpuSet,
    /// Those that it would rather use.
    pub preferred: CpuSet,
}

/// A gang.
#[derive(Debug)]
pub struct Unit {
    /// Whose.
    pub vm: VmId,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Its home: the members' cells in the matrix. Empty while there is no place for it.
    pub cells: Vec<usize>,
    /// The columns of these cells, by member, and as a set.
    pub home: Vec<CpuId>,
    pub columns: CpuSet,
    /// Virtual time: the slots that it has had over its weight. Who has the least is next.
    pub pass: u128,
    /// Its VM's weight.
    pub weight: u32,
    /// Virtual time per nanosecond in a slot.
    pub rate: u128,
    /// How many members are runnable.
    pub ready: usize,
    /// Since when it has a place in the present slot and is charged for it.
    pub since: Option<Nanos>,
    /// Where its members are in the present slot, or were in their last.
    pub at: Vec<CpuId>,
    /// When it may be boosted again.
    pub boost_from: Nanos,
}

impl Unit {
    /// A gang as the view shows it, without a home.
    pub fn new(id: UnitId, pass: u128, view: &View) -> Self {
        let members = view.unit(id).members.iter().map(|&vcpu| Member {
            vcpu,
            allowed: view.vcpu(vcpu).allowed,
            preferred: view.preferred(vcpu),
        });
        Self {
            vm: view.unit(id).vm,
            members: members.collect(),
            cells: Vec::new(),
            home: Vec::new(),
            columns: CpuSet::EMPTY,
            pass,
            weight: 0,
            rate: 0,
            ready: 0,
            since: None,
            at: Vec::new(),
            boost_from: 0,
        }
    }

    /// Whether the view still shows this gang, and its places are still allowed.
    pub fn is_fresh(&self, id: UnitId, view: &View) -> bool {
        let first = view.find_vcpu(self.members[0].vcpu);
        if !first.is_some_and(|vcpu| vcpu.unit == id && vcpu.vm == self.vm) {
            return false;
        }
        let members = &view.unit(id).members;
        let same = self.members.iter().map(|member| member.vcpu);
        if !same.eq(members.iter().copied()) || self.cells.is_empty() {
            return false;
        }
        let allowed = |columns: &[CpuId]| {
            let mut seated = self.members.iter().zip(columns);
            seated.all(|(member, &cpu)| view.vcpu(member.vcpu).allowed.contains(cpu))
        };
        allowed(&self.home) && (self.since.is_none() || allowed(&self.at))
    }

    /// Takes over what may change while the gang stays the same.
    pub fn refresh(&mut self, shares: Shares, view: &View) {
        for member in &mut self.members {
            member.allowed = view.vcpu(member.vcpu).allowed;
            member.preferred = view.preferred(member.vcpu);
        }
        let spec = &view.vm(self.vm).spec;
        // All gangs of a VM share its weight: each has as many slots as the others.
        let width = match shares {
            Shares::Slots => 1,
            Shares::Time => u128::from(spec.vcpus),
        };
        self.weight = spec.weight;
        self.rate = width * SCALE / u128::from(spec.weight);
        self.count(view);
    }

    /// Counts the runnable members anew.
    pub fn count(&mut self, view: &View) {
        let runnable = self.members.iter();
        let runnable = runnable.filter(|member| view.vcpu(member.vcpu).runnable());
        self.ready = runnable.count();
    }

    /// Gives it a home.
    pub fn settle(&mut self, cells: Vec<usize>, columns: usize) {
        self.home = cells
            .iter()
            .map(|cell| CpuId((cell % columns) as u16))
            .collect();
        self.columns = self.home.iter().copied().collect();
        self.cells = cells;
    }

    /// Its first cell.
    pub fn first(&self) -> usize {
        self.cells.iter().copied().min().unwrap_or(usize::MAX)
    }

    /// Whether its home lies wholly in these cells.
    pub fn lies_in(&self, window: &Range<usize>) -> bool {
        self.cells.iter().all(|cell| window.contains(cell))
    }

    /// It waits for a slot.
    pub fn waits(&self) -> bool {
        self.ready > 0 && self.since.is_none() && !self.cells.is_empty()
    }

    /// What a time in a slot costs.
    pub fn price(&self, time: Nanos) -> u128 {
        u128::from(time) * self.rate
    }
}
