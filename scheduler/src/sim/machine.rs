//! The simulated host: CPUs that take time to switch, caches that get cold, time that is stolen.
//!
//! Approach: an order for a CPU takes effect in steps. The vCPU on it goes on until the order has
//! arrived (`actuation`); if it holds a lock then, it may go on further, as long as it was granted;
//! it stops; the CPU is busy with the switch; the next one starts, once it has stopped elsewhere.
//! Between two events a CPU does one thing, its *front*; what that has used up is settled when it
//! changes.

mod serving;

use std::mem;

use crate::engine::Input;
use crate::view::LockState;
use crate::{CpuId, Distance, Level, Nanos, Switch, VcpuId};

use super::queue::{Happening, Token};
use super::random::Stream;
use super::record::MarkKind;
use super::run::{Run, RunError};

use serving::Front;

/// One MiB, in bytes.
const MIB: u64 = 1 << 20;

/// How far a switch has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switching {
    /// There is none.
    No,
    /// The order is on its way.
    Stopping,
    /// The vCPU may go on until it has left its lock.
    Grace { since: Nanos },
    /// Nobody is on the CPU while it switches.
    Starting,
    /// The next vCPU is still on another CPU.
    Awaiting,
}

/// A CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    pub(super) occupant: Option<VcpuId>,
    switching: Switching,
    /// The event that the switch waits for.
    step: Option<Token>,
    /// Whom it is to serve.
    target: Option<VcpuId>,
    /// How firmly the target has it.
    target_level: Option<Level>,
    /// How firmly the occupant has it.
    level: Option<Level>,
    grace_ns: Nanos,
    /// Scheduling to be done in the switch.
    overhead_ns: Nanos,
    stolen: bool,
    /// A step of a switch that waits until the CPU is given back.
    deferred: Option<Happening>,
    front: Front,
    settled_at: Nanos,
    percent: u64,
    /// The event at which the front is done.
    timer: Option<Token>,
    /// How long vCPUs have been busy on it, in all: tells how much of a cache is left.
    busy_ns: Nanos,
    jitter: Stream,
    pub(super) steal: Stream,
}

impl Cpu {
    pub(super) fn new(jitter: Stream, steal: Stream) -> Self {
        Self {
            occupant: None,
            switching: Switching::No,
            step: None,
            target: None,
            target_level: None,
            level: None,
            grace_ns: 0,
            overhead_ns: 0,
            stolen: false,
            deferred: None,
            front: Front::Idle,
            settled_at: 0,
            percent: 100,
            timer: None,
            busy_ns: 0,
            jitter,
            steal,
        }
    }

    /// Whether the vCPU on it looks at what it waits for right now.
    pub(super) fn is_spinning(&self) -> bool {
        matches!(self.front, Front::Spin(_))
    }
}

impl Run<'_> {
    pub(super) fn cpu(&mut self, cpu: CpuId) -> &mut Cpu {
        &mut self.cpus[cpu.index()]
    }

    /// An order of the engine's.
    pub(super) fn order(&mut self, switch: &Switch) {
        let now = self.now;
        let id = switch.cpu;
        let next = switch.next.map(|(vcpu, _)| vcpu);
        let cpu = self.cpu(id);
        cpu.target = next;
        cpu.target_level = switch.next.map(|(_, level)| level);
        cpu.overhead_ns += switch.overhead_ns;
        cpu.grace_ns = switch.grace_ns;
        // Who has the CPU already goes on, unless there is scheduling to be done first.
        let stays = cpu.occupant == next && cpu.overhead_ns == 0;
        match cpu.switching {
            Switching::No | Switching::Stopping | Switching::Grace { .. } if stays => {
                cpu.switching = Switching::No;
                cpu.step = None;
                cpu.level = cpu.target_level;
            }
            Switching::No => {
                cpu.switching = Switching::Stopping;
                let at = now + self.actuation(id);
                self.cpu(id).step = Some(self.queue.push(at, Happening::Stop(id)));
            }
            Switching::Grace { .. } if cpu.occupant == next => self.end_grace(id),
            Switching::Stopping | Switching::Grace { .. } | Switching::Starting => {}
            Switching::Awaiting => {
                cpu.switching = Switching::Starting;
                let step = self.queue.push(now, Happening::Start(id));
                self.cpu(id).step = Some(step);
            }
        }
        self.touch(id);
    }

    /// How long this order is on its way.
    fn actuation(&mut self, id: CpuId) -> Nanos {
        let costs = &self.scenario.costs;
        let jitter = self.cpus[id.index()].jitter.below(costs.jitter_ns + 1);
        let faults = &self.scenario.faults;
        let late = self.faults.chance(faults.late_percent);
        costs.actuation_ns + jitter + if late { faults.late_by_ns } else { 0 }
    }

    /// A step of a switch, if it is still meant.
    pub(super) fn step(&mut self, token: Token, what: Happening) -> Result<(), RunError> {
        let (Happening::Stop(id) | Happening::Start(id)) = what else {
            unreachable!("only these are steps of a switch");
        };
        if self.cpu(id).step != Some(token) {
            return Ok(());
        }
        if self.cpu(id).stolen {
            self.cpu(id).deferred = Some(what);
            return Ok(());
        }
        self.cpu(id).step = None;
        if matches!(what, Happening::Stop(_)) {
            self.stop(id)
        } else {
            self.start(id)
        }
    }

    fn stop(&mut self, id: CpuId) -> Result<(), RunError> {
        let now = self.now;
        let Some(vcpu) = self.cpu(id).occupant else {
            return self.begin_start(id);
        };
        let holds = self.vcpu(vcpu).holds_lock();
        let cpu = self.cpu(id);
        if cpu.switching == Switching::Stopping && holds && cpu.grace_ns > 0 {
            let at = now + cpu.grace_ns;
            cpu.switching = Switching::Grace { since: now };
            self.cpu(id).step = Some(self.queue.push(at, Happening::Stop(id)));
            return Ok(());
        }
        self.take_off(id, vcpu)?;
        self.begin_start(id)
    }

    /// A CPU is taken away: whoever is there leaves at once, lock or not.
    pub(super) fn deny_grace(&mut self, id: CpuId) {
        self.cpu(id).grace_ns = 0;
        self.end_grace(id);
    }

    /// A vCPU that goes on only because it held a lock has left it.
    pub(super) fn end_grace(&mut self, id: CpuId) {
        if matches!(self.cpu(id).switching, Switching::Grace { .. }) {
            self.cpu(id).step = Some(self.queue.push(self.now, Happening::Stop(id)));
        }
    }

    fn take_off(&mut self, id: CpuId, vcpu: VcpuId) -> Result<(), RunError> {
        let now = self.now;
        self.settle(id);
        self.note_lead(vcpu);
        let place = self.vcpu(vcpu).place();
        let grace_used_ns = match self.cpu(id).switching {
            Switching::Grace { since } => now - since,
            _ => 0,
        };
        if grace_used_ns > 0 {
            let turn = self.engine.view().cpu(id).turn.map(|turn| turn.vcpu);
            let kind = MarkKind::Grace {
                vcpu: place,
                used_ns: grace_used_ns,
                turn: turn.map(|next| self.vcpu(next).place()),
            };
            self.recorder.mark(now, kind);
        }
        let comes_back = self.cpu(id).target == Some(vcpu);
        if self.vcpu(vcpu).holds_lock() && !comes_back {
            self.recorder.mark(now, MarkKind::HolderPreempted(place));
            self.vm_of(vcpu).outcome.holder_preemptions += 1;
        }
        if self.engine.view().vcpu(vcpu).co_stopped {
            self.recorder.mark(now, MarkKind::CoStop(place));
        }
        self.vacate(id, vcpu);
        if !self.vcpu(vcpu).halted {
            self.recorder.ready(now, true);
        }
        self.input(Input::Switched {
            cpu: id,
            occupant: None,
            grace_used_ns,
        })?;
        if let Some(waiting) = self.vcpu(vcpu).awaited_by.take()
            && self.cpu(waiting).switching == Switching::Awaiting
            && self.cpu(waiting).target == Some(vcpu)
        {
            self.start(waiting)?;
        }
        Ok(())
    }

    /// Nobody is on the CPU any more.
    fn vacate(&mut self, id: CpuId, vcpu: VcpuId) {
        let cpu = self.cpu(id);
        cpu.occupant = None;
        let busy_ns = cpu.busy_ns;
        let state = self.vcpu(vcpu);
        state.on_cpu = None;
        state.last_cpu = Some(id);
        state.busy_mark = busy_ns;
        self.touch(id);
    }

    /// A vCPU is there no more: its VM leaves.
    pub(super) fn remove(&mut self, vcpu: VcpuId) {
        if let Some(id) = self.vcpu(vcpu).on_cpu {
            self.settle(id);
            if matches!(self.cpu(id).switching, Switching::Grace { .. }) {
                self.cpu(id).switching = Switching::Stopping;
                self.cpu(id).step = Some(self.queue.push(self.now, Happening::Stop(id)));
            }
            self.vacate(id, vcpu);
        } else if !self.vcpu(vcpu).halted {
            self.recorder.ready(self.now, false);
        }
        let now = self.now;
        for index in 0..self.cpus.len() {
            let cpu = &mut self.cpus[index];
            if cpu.target == Some(vcpu) {
                cpu.target = None;
                if cpu.switching == Switching::Awaiting {
                    cpu.switching = Switching::Starting;
                    let id = CpuId(index as u16);
                    cpu.step = Some(self.queue.push(now, Happening::Start(id)));
                }
            }
        }
    }

    fn begin_start(&mut self, id: CpuId) -> Result<(), RunError> {
        let now = self.now;
        let switch_ns = self.scenario.costs.switch_ns;
        let cpu = self.cpu(id);
        cpu.switching = Switching::Starting;
        let overhead = mem::take(&mut cpu.overhead_ns);
        let cost = overhead + if cpu.target.is_some() { switch_ns } else { 0 };
        if cost == 0 {
            return self.start(id);
        }
        self.cpu(id).step = Some(self.queue.push(now + cost, Happening::Start(id)));
        self.touch(id);
        Ok(())
    }

    fn start(&mut self, id: CpuId) -> Result<(), RunError> {
        self.touch(id);
        let cpu = self.cpu(id);
        cpu.switching = Switching::No;
        let Some(vcpu) = cpu.target else {
            return Ok(());
        };
        if self.vcpu(vcpu).on_cpu.is_some() {
            self.cpu(id).switching = Switching::Awaiting;
            self.vcpu(vcpu).awaited_by = Some(id);
            return Ok(());
        }
        self.put_on(id, vcpu)
    }

    fn put_on(&mut self, id: CpuId, vcpu: VcpuId) -> Result<(), RunError> {
        let now = self.now;
        self.settle(id);
        let refill = self.cold(id, vcpu);
        let state = self.vcpu(vcpu);
        state.refill_left = state.refill_left.max(refill);
        state.on_cpu = Some(id);
        let (place, halted) = (state.place(), state.halted);
        let moved = state.last_cpu.is_some_and(|last| last != id);
        let cpu = self.cpu(id);
        cpu.occupant = Some(vcpu);
        cpu.level = cpu.target_level;
        if !halted {
            self.recorder.ready(now, false);
        }
        if moved {
            self.recorder.mark(now, MarkKind::Migrate(place, id));
            self.vm_of(vcpu).outcome.migrations += 1;
        }
        self.touch(id);
        self.input(Input::Switched {
            cpu: id,
            occupant: Some(vcpu),
            grace_used_ns: 0,
        })
    }

    /// How long the vCPU will wait for its caches on this CPU.
    fn cold(&mut self, id: CpuId, vcpu: VcpuId) -> Nanos {
        let bytes = self.vm_of(vcpu).group.working_set_bytes;
        if bytes == 0 {
            return 0;
        }
        let costs = &self.scenario.costs;
        let state = self.vcpus[vcpu.index()].as_ref().expect("it is there");
        let topology = self.engine.view().topology();
        let distance = state.last_cpu.map(|last| topology.distance(last, id));
        let evict = costs.evict_ns;
        let (per_mib, gone) = match distance {
            None => (costs.refill_memory_ns, evict),
            Some(Distance::Same) => {
                let foreign = self.cpus[id.index()].busy_ns - state.busy_mark;
                (costs.refill_ns, foreign.min(evict))
            }
            Some(Distance::Core) => (costs.refill_ns, 0),
            Some(Distance::Cache) => (costs.refill_ns, evict),
            Some(Distance::Node) => (costs.refill_memory_ns, evict),
            Some(Distance::Remote) => (costs.refill_remote_ns, evict),
        };
        let whole = u128::from(bytes) * u128::from(per_mib) / u128::from(MIB);
        (whole * u128::from(gone) / u128::from(evict)) as Nanos
    }

    pub(super) fn steal(&mut self, id: CpuId) {
        self.settle(id);
        self.cpu(id).stolen = true;
        let spec = self.scenario.steal.expect("only then anything is stolen");
        let length = self.cpu(id).steal.exponential(spec.length_ns);
        self.queue.push(self.now + length, Happening::StealOver(id));
        self.touch(id);
    }

    pub(super) fn give_back(&mut self, id: CpuId) {
        self.settle(id);
        let now = self.now;
        self.cpu(id).stolen = false;
        if let Some(step) = self.cpu(id).deferred.take() {
            self.cpu(id).step = Some(self.queue.push(now, step));
        }
        let spec = self.scenario.steal.expect("only then anything is stolen");
        let pause = self.cpu(id).steal.exponential(spec.every_ns);
        self.queue.push(now + pause, Happening::Steal(id));
        self.touch(id);
    }

    /// Tells the engine what is known of a vCPU's locks, if anybody wants to know.
    pub(super) fn report_lock(&mut self, vcpu: VcpuId, state: LockState) -> Result<(), RunError> {
        if self.engine.policy().wants_lock_hints() {
            return self.input(Input::Lock { vcpu, state });
        }
        Ok(())
    }
}
