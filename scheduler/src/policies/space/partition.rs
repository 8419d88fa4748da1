//! Which CPUs a VM gets for itself.
//!
//! Problem: a VM should get CPUs that share a cache, every vCPU one that it is allowed, and no more of
//! a large hole than it needs.
//!
//! Approach: the free CPUs are put in the order in which the VM would like them: those of the
//! fullest cache that has enough, else of the fullest NUMA node, else by number. Each vCPU takes the
//! first that it may use; where only taken ones are left for it, others make room.
//!
//! Source: H. W. Kuhn, "The Hungarian Method for the assignment problem" (1955), for making room.

use crate::{CpuId, CpuSet, View, VmId};

/// Whether a VM can have a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Yes: each vCPU's CPU. None for a vCPU that may run nowhere. Two vCPUs have the same only if
    /// the VM is wider than all CPUs that it may use.
    Now(Vec<Option<CpuId>>),
    /// When others have left.
    Later,
    /// None of its vCPUs may run on any CPU that is online.
    Never,
}

/// Looks for a partition among the `free` CPUs.
pub(super) fn fit(vm: VmId, view: &View, free: &CpuSet) -> Fit {
    let vcpus = view.vm(vm).vcpus();
    let allowed: Vec<CpuSet> = vcpus.map(|vcpu| view.vcpu(vcpu).allowed).collect();
    let mut homes = seat(&allowed, &by_preference(vm, view, free));
    let seated = homes.iter().flatten().count();
    if seated < homes.len() {
        let all: Vec<CpuId> = view.online().iter().collect();
        let most = seat(&allowed, &all).iter().flatten().count();
        if most == 0 {
            return Fit::Never;
        }
        if seated < most {
            return Fit::Later;
        }
        fold(&mut homes, &allowed);
    }
    Fit::Now(homes)
}

fn by_preference(vm: VmId, view: &View, free: &CpuSet) -> Vec<CpuId> {
    let vcpus = view.vm(vm).vcpus();
    let count = vcpus.len();
    let wished = vcpus.fold(CpuSet::EMPTY, |set, vcpu| set | view.preferred(vcpu)) & *free;
    let fullest = |domains: &[CpuSet]| {
        let holes = domains.iter().map(|&domain| domain & wished);
        holes
            .filter(|hole| hole.len() >= count)
            .min_by_key(CpuSet::len)
    };
    let topology = view.topology();
    let together = fullest(topology.llcs()).or_else(|| fullest(topology.nodes()));
    let together = together.unwrap_or(CpuSet::EMPTY);
    let classes = [together, wished - together, *free - wished];
    classes.iter().flat_map(CpuSet::iter).collect()
}

/// Gives as many vCPUs as possible a CPU each, in the CPUs' order where there is a choice.
fn seat(allowed: &[CpuSet], cpus: &[CpuId]) -> Vec<Option<CpuId>> {
    let mut seats = Seats {
        allowed,
        cpus,
        homes: vec![None; allowed.len()],
        taken: vec![None; cpus.len()],
        tried: vec![false; cpus.len()],
    };
    let mut left = cpus.len();
    for vcpu in 0..allowed.len() {
        if left == 0 {
            break;
        }
        seats.tried.fill(false);
        if seats.make_room(vcpu) {
            left -= 1;
        }
    }
    seats.homes
}

struct Seats<'a> {
    allowed: &'a [CpuSet],
    cpus: &'a [CpuId],
    homes: Vec<Option<CpuId>>,
    /// Per place in `cpus`: the vCPU that has it.
    taken: Vec<Option<usize>>,
    /// Whether this search has been there.
    tried: Vec<bool>,
}

impl Seats<'_> {
    /// Seats one more, if need be by having others move on. As deep as there are CPUs at most.
    fn make_room(&mut self, vcpu: usize) -> bool {
        let may = |place: usize| self.allowed[vcpu].contains(self.cpus[place]);
        let places: Vec<usize> = (0..self.cpus.len()).filter(|&place| may(place)).collect();
        if let Some(&free) = places.iter().find(|&&place| self.taken[place].is_none()) {
            self.take(vcpu, free);
            return true;
        }
        for place in places {
            let other = self.taken[place].expect("a free one would have been taken");
            if !std::mem::replace(&mut self.tried[place], true) && self.make_room(other) {
                self.take(vcpu, place);
                return true;
            }
        }
        false
    }

    fn take(&mut self, vcpu: usize, place: usize) {
        self.taken[place] = Some(vcpu);
        self.homes[vcpu] = Some(self.cpus[place]);
    }
}

/// vCPUs without a CPU share those of the others, evenly. Nobody could be seated beside the others, so
/// that whatever CPU one of them is allowed is taken.
fn fold(homes: &mut [Option<CpuId>], allowed: &[CpuSet]) {
    let mut sharing = vec![0; crate::cpu_set::CPUS_MAX];
    let mut taken = CpuSet::EMPTY;
    for cpu in homes.iter().flatten() {
        sharing[cpu.index()] += 1;
        taken.insert(*cpu);
    }
    for (home, allowed) in homes.iter_mut().zip(allowed) {
        if home.is_none() {
            let choice = (taken & *allowed).iter();
            *home = choice.min_by_key(|cpu| sharing[cpu.index()]);
            home.iter().for_each(|cpu| sharing[cpu.index()] += 1);
        }
    }
}
