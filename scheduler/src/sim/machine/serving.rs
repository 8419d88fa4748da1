//! What a CPU does between two events.
//!
//! Terms: its *front* is the one thing that it does; it is *settled* when what has been done of it is
//! counted, and *served* when it is looked at what is to be done now.

use std::mem;

use super::Switching;
use crate::sim::guest::Doing;
use crate::sim::queue::{Happening, Token};
use crate::sim::record::Activity;
use crate::sim::recorder::State;
use crate::sim::run::{Run, RunError};
use crate::{CpuId, Nanos};

/// What a CPU is doing, and what it needs to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    Idle,
    Stolen,
    Switch,
    Held,
    Refill(Nanos),
    Interrupt(Nanos),
    Work(Nanos),
    Spin(Option<Nanos>),
}

impl Front {
    /// Whether the core's other threads feel it.
    fn is_busy(self) -> bool {
        !matches!(self, Self::Idle | Self::Stolen | Self::Held)
    }

    fn left(self) -> Option<Nanos> {
        match self {
            Self::Refill(left) | Self::Interrupt(left) | Self::Work(left) => Some(left),
            Self::Spin(left) => left,
            Self::Idle | Self::Stolen | Self::Switch | Self::Held => None,
        }
    }

    fn activity(self) -> Option<Activity> {
        match self {
            Self::Idle => None,
            Self::Stolen => Some(Activity::Stolen),
            Self::Switch => Some(Activity::Switch),
            Self::Held => Some(Activity::Held),
            Self::Refill(_) => Some(Activity::Refill),
            Self::Interrupt(_) | Self::Work(_) => Some(Activity::Work),
            Self::Spin(_) => Some(Activity::Spin),
        }
    }
}

impl Run<'_> {
    /// Counts what a CPU has got done since its front began.
    pub(in crate::sim) fn settle(&mut self, id: CpuId) {
        let now = self.now;
        let cpu = &mut self.cpus[id.index()];
        let elapsed = now - mem::replace(&mut cpu.settled_at, now);
        if elapsed == 0 || !cpu.front.is_busy() {
            return;
        }
        let progress = elapsed * cpu.percent / 100;
        let Some(vcpu) = cpu.occupant else { return };
        cpu.busy_ns += elapsed;
        let front = cpu.front;
        let state = self.vcpu(vcpu);
        let left = match (front, &mut state.doing) {
            (Front::Refill(_), _) => &mut state.refill_left,
            (Front::Interrupt(_), _) => &mut state.interrupt_left,
            (Front::Work(_), Doing::Run { left }) => left,
            (Front::Spin(Some(_)), Doing::Spin { left: Some(left) }) => left,
            _ => return,
        };
        *left = left.saturating_sub(progress);
    }

    fn front(&self, id: CpuId) -> Front {
        let cpu = &self.cpus[id.index()];
        if cpu.stolen {
            return Front::Stolen;
        }
        let Some(vcpu) = cpu.occupant else {
            let switches = matches!(cpu.switching, Switching::Starting | Switching::Awaiting);
            return if switches { Front::Switch } else { Front::Idle };
        };
        let state = self.vcpus[vcpu.index()].as_ref().expect("it is there");
        if state.halted {
            Front::Held
        } else if state.refill_left > 0 {
            Front::Refill(state.refill_left)
        } else if state.is_interrupted() {
            Front::Interrupt(state.interrupt_left)
        } else {
            match state.doing {
                Doing::Run { left } => Front::Work(left),
                Doing::Spin { left } => Front::Spin(left),
                Doing::Halt => Front::Spin(None),
            }
        }
    }

    /// Something about this CPU may have changed: it is looked at when the event is dealt with.
    pub(in crate::sim) fn touch(&mut self, id: CpuId) {
        self.touched.push(id);
    }

    /// Has a CPU do what is to be done now.
    pub(in crate::sim) fn serve(&mut self, id: CpuId) -> Result<(), RunError> {
        self.settle(id);
        loop {
            let front = self.front(id);
            let progressed = match (front, self.cpus[id.index()].occupant) {
                (Front::Stolen | Front::Held, _) | (_, None) => false,
                (_, Some(vcpu)) => {
                    self.note_latency(vcpu);
                    matches!(front, Front::Spin(_)) && self.poll(vcpu)?
                }
            };
            if !progressed {
                break;
            }
        }
        self.show(id)
    }

    /// Writes down what the CPU does from now on, and sees to it that its end is noticed.
    fn show(&mut self, id: CpuId) -> Result<(), RunError> {
        let now = self.now;
        let front = self.front(id);
        let was_busy = self.cpu(id).front.is_busy();
        self.cpu(id).front = front;
        let percent = self.speed(id);
        let cpu = self.cpu(id);
        cpu.percent = percent;
        cpu.timer = None;
        let (occupant, target, level) = (cpu.occupant, cpu.target, cpu.level);
        if let Some(left) = front.left() {
            let at = now + (left * 100).div_ceil(percent);
            self.cpu(id).timer = Some(self.queue.push(at, Happening::Progress(id)));
        }
        let (subject, level) = match front {
            Front::Idle => (None, None),
            Front::Switch => (target, None),
            // A halted vCPU loses nothing.
            Front::Stolen => (occupant.filter(|&vcpu| !self.vcpu(vcpu).halted), level),
            _ => (occupant, level),
        };
        let state = State {
            vcpu: subject.map(|vcpu| self.vcpu(vcpu).place()),
            activity: front.activity(),
            level: level.filter(|_| subject.is_some()),
        };
        self.recorder.set(now, id, state);
        if was_busy != front.is_busy() && self.has_smt {
            self.touch_siblings(id);
        }
        Ok(())
    }

    fn touch_siblings(&mut self, id: CpuId) {
        let topology = self.engine.view().topology();
        let core = topology.cores()[usize::from(topology.place(id).core)];
        for sibling in core.iter().filter(|&sibling| sibling != id) {
            if self.cpus[sibling.index()].percent != self.speed(sibling) {
                self.touch(sibling);
            }
        }
    }

    /// How fast a CPU is at present, in percent.
    fn speed(&self, id: CpuId) -> u64 {
        if !self.has_smt {
            return 100;
        }
        let topology = self.engine.view().topology();
        let core = topology.cores()[usize::from(topology.place(id).core)];
        let mut siblings = core.iter().filter(|&sibling| sibling != id);
        let shared = siblings.any(|sibling| self.cpus[sibling.index()].front.is_busy());
        if shared {
            u64::from(self.scenario.costs.smt_percent)
        } else {
            100
        }
    }

    /// What a CPU was doing is done, if the event is still meant.
    pub(in crate::sim) fn progress(&mut self, token: Token, id: CpuId) -> Result<(), RunError> {
        if self.cpu(id).timer != Some(token) {
            return Ok(());
        }
        self.settle(id);
        self.touch(id);
        let cpu = self.cpu(id);
        let (front, occupant) = (cpu.front, cpu.occupant);
        let Some(vcpu) = occupant else { return Ok(()) };
        match front {
            Front::Work(_) => self.finish_run(vcpu),
            Front::Interrupt(_) => self.finish_interrupt(vcpu),
            Front::Spin(_) => self.finish_spin(vcpu),
            _ => Ok(()),
        }
    }
}
