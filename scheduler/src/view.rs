//! What the engine knows, as policies read it.

use crate::ids::{CpuId, UnitId, VcpuId, VmId};
use crate::{CpuSet, Nanos, RunTimes, Runstate, Topology, Turn, VmSpec};

/// What is known of a vCPU's dealings with locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockState {
    /// Nothing, or it has none.
    #[default]
    Free,
    /// It holds one.
    Holding {
        /// Since when, as far as is known.
        since: Nanos,
    },
    /// It spins for one.
    Waiting,
}

/// A vCPU.
#[derive(Debug, Clone)]
pub struct VcpuView {
    /// Its VM.
    pub vm: VmId,
    /// Its number within the VM.
    pub index: u32,
    /// What it is scheduled with.
    pub unit: UnitId,
    /// Where it may run: among the online CPUs, those of its hard affinity.
    pub allowed: CpuSet,
    /// It waits for an interrupt.
    pub halted: bool,
    /// Its policy holds it back.
    pub co_stopped: bool,
    /// Its VM has used up its cap.
    pub throttled: bool,
    /// Whose turn it is: the CPU that the policy has given it.
    pub turn: Option<CpuId>,
    /// The CPU that it was lent.
    pub loan: Option<CpuId>,
    /// The CPU that it really is on, which follows what was planned after the time that a switch
    /// takes.
    pub on_cpu: Option<CpuId>,
    /// Where it last ran.
    pub last_cpu: Option<CpuId>,
    /// When it last left a CPU.
    pub left_at: Nanos,
    /// How long it has been let stay on CPUs that it was to leave, in all, because it held a lock.
    pub grace_ns: Nanos,
    /// Locks. Kept up only for policies that [want it](crate::Policy::wants_lock_hints).
    pub lock: LockState,
    /// What it has had of its loan up to `since`.
    pub(crate) borrowed_ns: Nanos,
    pub(crate) hard: CpuSet,
    pub(crate) since: Nanos,
    pub(crate) times: RunTimes,
}

impl VcpuView {
    /// Whether it would run if it had a CPU.
    pub fn runnable(&self) -> bool {
        !self.halted && self.permitted()
    }

    /// Whether it may be on a CPU, where it may halt.
    pub(crate) fn permitted(&self) -> bool {
        !self.co_stopped && !self.throttled
    }

    /// What its time is spent on at present.
    pub fn runstate(&self) -> Runstate {
        if self.halted {
            Runstate::Halted
        } else if self.on_cpu.is_some() {
            Runstate::Running
        } else if self.co_stopped {
            Runstate::CoStopped
        } else {
            Runstate::Ready
        }
    }

    /// How long it has been in each runstate up to `now`.
    pub fn times(&self, now: Nanos) -> RunTimes {
        let mut times = self.times;
        times[self.runstate()] += now - self.since;
        times
    }

    /// The CPU time that it has had up to `now`.
    pub fn running_ns(&self, now: Nanos) -> Nanos {
        let running = self.runstate() == Runstate::Running;
        self.times[Runstate::Running] + if running { now - self.since } else { 0 }
    }
}

/// A VM.
#[derive(Debug, Clone)]
pub struct VmView {
    /// What was asked for; weight, cap and affinity as they are now.
    pub spec: VmSpec,
    /// Its first vCPU.
    pub first: VcpuId,
    /// When it arrived.
    pub arrived: Nanos,
    /// What it is scheduled as.
    pub units: Vec<UnitId>,
}

impl VmView {
    /// Its vCPUs, in order.
    pub fn vcpus(&self) -> impl DoubleEndedIterator<Item = VcpuId> + ExactSizeIterator + use<> {
        let first = self.first.0;
        (first..first + self.spec.vcpus).map(VcpuId)
    }
}

/// What is scheduled at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitView {
    /// Whose.
    pub vm: VmId,
    /// Its vCPUs, by their number. They can all run at the same time, given all CPUs.
    pub members: Vec<VcpuId>,
}

/// A loan of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    /// Who has it; `None`: it idles.
    pub to: Option<VcpuId>,
    /// When it ends at the latest.
    pub until: Nanos,
    /// Who has it held a lock when the loan began: it ends as soon as that is free.
    pub for_lock: bool,
    /// The policy is told what was had of it.
    pub is_debt: bool,
    /// When it began.
    pub(crate) since: Nanos,
}

/// A CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuView {
    /// What it was given.
    pub turn: Option<Turn>,
    /// To whom it is lent meanwhile.
    pub loan: Option<Loan>,
    /// What is really on it.
    pub occupant: Option<VcpuId>,
}

/// The host and its VMs.
#[derive(Debug, Clone)]
pub struct View {
    topology: Topology,
    pub(crate) online: CpuSet,
    pub(crate) cpus: Vec<CpuView>,
    pub(crate) vcpus: Vec<Option<VcpuView>>,
    pub(crate) vms: Vec<Option<VmView>>,
    pub(crate) units: Vec<Option<UnitView>>,
    pub(crate) revision: u64,
}

impl View {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            online: topology.cpus(),
            cpus: vec![CpuView::default(); topology.cpu_count()],
            vcpus: Vec::new(),
            vms: Vec::new(),
            units: Vec::new(),
            revision: 0,
            topology,
        }
    }

    /// The host's CPUs, online or not.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The CPUs that can be used.
    pub fn online(&self) -> &CpuSet {
        &self.online
    }

    /// Changes whenever VMs, units, weights, affinities or the online CPUs do. A policy that keeps
    /// tables of these sees by it that they are out of date, before the event arrives that says why:
    /// of several events of one moment the first is told with a view that shows all of them.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A CPU.
    pub fn cpu(&self, cpu: CpuId) -> &CpuView {
        &self.cpus[cpu.index()]
    }

    /// A vCPU.
    ///
    /// # Panics
    /// If there is none of this number; so do [`vm`](Self::vm) and [`unit`](Self::unit).
    pub fn vcpu(&self, vcpu: VcpuId) -> &VcpuView {
        self.find_vcpu(vcpu).expect("a vCPU that exists")
    }

    /// A vCPU, if it exists.
    pub fn find_vcpu(&self, vcpu: VcpuId) -> Option<&VcpuView> {
        self.vcpus.get(vcpu.index())?.as_ref()
    }

    /// A VM.
    pub fn vm(&self, vm: VmId) -> &VmView {
        self.find_vm(vm).expect("a VM that exists")
    }

    /// A VM, if it exists.
    pub fn find_vm(&self, vm: VmId) -> Option<&VmView> {
        self.vms.get(vm.index())?.as_ref()
    }

    /// A unit.
    pub fn unit(&self, unit: UnitId) -> &UnitView {
        let found = self.units.get(unit.index()).and_then(Option::as_ref);
        found.expect("a unit that exists")
    }

    /// All VMs, by id.
    pub fn vms(&self) -> impl Iterator<Item = (VmId, &VmView)> {
        let numbered = self.vms.iter().enumerate();
        numbered.filter_map(|(id, vm)| Some((VmId(id as u32), vm.as_ref()?)))
    }

    /// All vCPUs, by id.
    pub fn vcpus(&self) -> impl Iterator<Item = (VcpuId, &VcpuView)> {
        let numbered = self.vcpus.iter().enumerate();
        numbered.filter_map(|(id, vcpu)| Some((VcpuId(id as u32), vcpu.as_ref()?)))
    }

    /// One more than the highest vCPU number: the length of a table by vCPU.
    pub fn vcpu_ids(&self) -> usize {
        self.vcpus.len()
    }

    /// The weight of a vCPU's VM.
    pub fn weight(&self, vcpu: VcpuId) -> u32 {
        self.vm(self.vcpu(vcpu).vm).spec.weight
    }

    /// The other vCPUs of the same VM.
    pub fn siblings(&self, vcpu: VcpuId) -> impl Iterator<Item = VcpuId> + use<'_> {
        let vm = self.vm(self.vcpu(vcpu).vm);
        vm.vcpus().filter(move |&other| other != vcpu)
    }

    /// The CPUs of a VM's soft affinity among those that a vCPU may use; all of these where there is
    /// none.
    pub fn preferred(&self, vcpu: VcpuId) -> CpuSet {
        let this = self.vcpu(vcpu);
        let soft = this.allowed & self.vm(this.vm).spec.soft_affinity;
        if soft.is_empty() { this.allowed } else { soft }
    }

    pub(crate) fn vcpu_mut(&mut self, vcpu: VcpuId) -> &mut VcpuView {
        let found = self.vcpus.get_mut(vcpu.index()).and_then(Option::as_mut);
        found.expect("a vCPU that exists")
    }

    /// What is to be on a CPU: the borrower, else the vCPU whose turn it is, if it may run.
    pub(crate) fn wanted(&self, cpu: CpuId) -> Option<(VcpuId, crate::Level)> {
        let state = &self.cpus[cpu.index()];
        let wanted = match (state.loan, state.turn) {
            (Some(loan), _) => (loan.to?, crate::Level::Boosted),
            (None, turn) => turn.map(|turn| (turn.vcpu, turn.level))?,
        };
        self.vcpu(wanted.0).permitted().then_some(wanted)
    }
}
