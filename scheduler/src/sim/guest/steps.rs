//! What follows when a vCPU has computed what it was about to.

use super::{Doing, Step};
use crate::sim::queue::Happening;
use crate::sim::run::{Run, RunError};
use crate::sim::scenario::{Receivers, Spread, Workload};
use crate::sim::sync::{Mailbox, Next, Shared};
use crate::view::LockState;
use crate::{Nanos, VcpuId};

impl Run<'_> {
    /// A vCPU has computed what it was about to.
    pub(in crate::sim) fn finish_run(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        self.count_work(vcpu);
        match self.vcpu(vcpu).step {
            Step::Compute => self.op_done(vcpu, true),
            Step::Outside => self.want_lock(vcpu),
            Step::Critical(lock) => self.leave_lock(vcpu, lock),
            Step::Think => {
                self.vcpu(vcpu).step = Step::ReplyWait;
                self.post(vcpu, Mailbox::Request);
                self.begin_wait(vcpu);
                Ok(())
            }
            Step::Reply => {
                self.post(vcpu, Mailbox::Reply);
                self.op_done(vcpu, false)
            }
            Step::Grain => self.reach_barrier(vcpu),
            Step::Between => {
                self.send(vcpu);
                Ok(())
            }
            Step::TimerWork(due) => self.rest_until_timer(vcpu, due),
            Step::IoCompute => {
                let Workload::Io {
                    wait_ns, spread, ..
                } = *self.workload(vcpu)
                else {
                    unreachable!("only io does this");
                };
                let due = self.now + self.vcpu(vcpu).random.around(wait_ns, spread);
                self.sleep_until(vcpu, due, Step::IoWait(due));
                Ok(())
            }
            step => unreachable!("{step:?} is no computing"),
        }
    }

    /// What was computed may have been the last of the VM's work.
    fn count_work(&mut self, vcpu: VcpuId) {
        let claimed = std::mem::take(&mut self.vcpu(vcpu).claimed_ns);
        let number = self.vcpu(vcpu).vm;
        if let Some(work) = self.vm_of(vcpu).work.as_mut() {
            work.undone_ns -= claimed;
            if work.undone_ns == 0 && claimed > 0 {
                self.queue.push(self.now, Happening::Leave(number));
            }
        }
    }

    fn want_lock(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let Workload::Lock { locks, .. } = *self.workload(vcpu) else {
            unreachable!("only lock does this");
        };
        let which = if locks > 1 {
            self.vcpu(vcpu).random.below(u64::from(locks)) as u32
        } else {
            0
        };
        let Shared::Locks(locks) = self.shared(vcpu) else {
            unreachable!("lock has locks");
        };
        let lock = &mut locks[which as usize];
        if lock.try_take(vcpu) {
            return self.enter(vcpu, which, 0);
        }
        lock.wait(vcpu);
        self.vcpu(vcpu).step = Step::LockWait(which);
        self.begin_wait(vcpu);
        self.report_lock(vcpu, LockState::Waiting)
    }

    /// A vCPU has a lock, after this much time for getting it.
    pub(super) fn enter(
        &mut self,
        vcpu: VcpuId,
        lock: u32,
        handoff: Nanos,
    ) -> Result<(), RunError> {
        let Workload::Lock { critical_ns, .. } = *self.workload(vcpu) else {
            unreachable!("only lock does this");
        };
        let step = Step::Critical(lock);
        self.run_for(vcpu, critical_ns + handoff, Spread::Fixed, step);
        let since = self.now;
        self.report_lock(vcpu, LockState::Holding { since })
    }

    fn leave_lock(&mut self, vcpu: VcpuId, which: u32) -> Result<(), RunError> {
        let phase = self.vcpu(vcpu).phase;
        let number = self.vcpu(vcpu).vm as usize;
        let (vcpus, cpus) = (&self.vcpus, &self.cpus);
        let state = |vcpu: VcpuId| vcpus[vcpu.index()].as_ref().expect("it waits");
        let spins = |vcpu| {
            let cpu = state(vcpu).on_cpu;
            cpu.is_some_and(|cpu| cpus[cpu.index()].is_spinning())
        };
        let sleeps = |vcpu| state(vcpu).halted;
        let Shared::Locks(locks) = &mut self.vms[number].shared[phase] else {
            unreachable!("lock has locks");
        };
        let next = locks[which as usize].leave(spins, sleeps);
        match next {
            Next::Granted(next) => {
                if self.vcpu(next).on_cpu.is_none() {
                    // Nobody else can have it now: whoever asks shall know for whom they wait.
                    let since = self.now;
                    self.report_lock(next, LockState::Holding { since })?;
                }
                self.notify(next);
            }
            Next::Free(sleeper) => {
                if let Some(sleeper) = sleeper {
                    self.notify(sleeper);
                }
            }
        }
        if let Some(cpu) = self.vcpu(vcpu).on_cpu {
            self.end_grace(cpu);
        }
        // It holds nothing while the engine is told so.
        self.vcpu(vcpu).step = Step::Outside;
        self.report_lock(vcpu, LockState::Free)?;
        self.op_done(vcpu, true)
    }

    fn reach_barrier(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let working = self.vm_of(vcpu).working as usize;
        let Shared::Barrier(barrier) = self.shared(vcpu) else {
            unreachable!("barrier has a barrier");
        };
        if barrier.waiting.len() + 1 < working {
            barrier.waiting.push(vcpu);
            let next = barrier.opened + 1;
            self.vcpu(vcpu).step = Step::BarrierWait(next);
            self.begin_wait(vcpu);
            return Ok(());
        }
        self.open_barrier(vcpu);
        self.op_done(vcpu, true)
    }

    /// Lets everybody go who waits at the barrier of this vCPU's VM.
    pub(super) fn open_barrier(&mut self, vcpu: VcpuId) {
        let Shared::Barrier(barrier) = self.shared(vcpu) else {
            unreachable!("barrier has a barrier");
        };
        barrier.opened += 1;
        let waiting = std::mem::take(&mut barrier.waiting);
        for &waiter in &waiting {
            self.notify(waiter);
        }
        // Its memory is used again.
        let Shared::Barrier(barrier) = self.shared(vcpu) else {
            unreachable!("barrier has a barrier");
        };
        barrier.waiting = waiting;
        barrier.waiting.clear();
    }

    /// Leaves something in the mailbox of a vCPU and its partner.
    pub(super) fn post(&mut self, vcpu: VcpuId, what: Mailbox) {
        let index = self.vcpu(vcpu).index;
        *self.mailbox(vcpu) = what;
        // Partners are neighbours: 0 and 1, 2 and 3.
        let partner = if index.is_multiple_of(2) {
            vcpu.0 + 1
        } else {
            vcpu.0 - 1
        };
        self.notify(VcpuId(partner));
    }

    pub(super) fn mailbox(&mut self, vcpu: VcpuId) -> &mut Mailbox {
        let pair = self.vcpu(vcpu).index / 2;
        let Shared::Mailboxes(mailboxes) = self.shared(vcpu) else {
            unreachable!("request-reply has mailboxes");
        };
        &mut mailboxes[pair as usize]
    }

    fn send(&mut self, vcpu: VcpuId) {
        let Workload::Messages { to, .. } = *self.workload(vcpu) else {
            unreachable!("only messages does this");
        };
        let index = self.vcpu(vcpu).index;
        let number = self.vcpu(vcpu).vm;
        let first = vcpu.0 - index;
        let vcpus = self.vm_of(vcpu).vcpus;
        let one = match to {
            Receivers::All => None,
            Receivers::Next => Some((index + 1) % vcpus),
            Receivers::One => {
                let other = self.vcpu(vcpu).random.below(u64::from(vcpus) - 1) as u32;
                Some(other + u32::from(other >= index))
            }
        };
        let at = self.now + self.scenario.costs.ipi_ns;
        let receivers = (0..vcpus).filter(|&other| one.map_or(other != index, |one| one == other));
        let mut sent = 0;
        for receiver in receivers {
            let message = Happening::Message(VcpuId(first + receiver), vcpu, number);
            self.queue.push(at, message);
            sent += 1;
        }
        let state = self.vcpu(vcpu);
        state.acks_left = sent;
        state.step = Step::AcksWait;
        self.begin_wait(vcpu);
    }

    fn rest_until_timer(&mut self, vcpu: VcpuId, due: Nanos) -> Result<(), RunError> {
        let Workload::Timer {
            period_ns, spread, ..
        } = *self.workload(vcpu)
        else {
            unreachable!("only timer does this");
        };
        let next = due + self.vcpu(vcpu).random.around(period_ns, spread);
        self.op_done(vcpu, true)?;
        // Another phase may have begun.
        if self.vcpu(vcpu).step != Step::TimerWork(due) {
            return Ok(());
        }
        if next > self.now {
            self.sleep_until(vcpu, next, Step::TimerWait(next));
        } else {
            // It has fired already: whoever is late has no rest.
            let state = self.vcpu(vcpu);
            state.woken_at = Some(next);
            state.step = Step::TimerWait(next);
            state.doing = Doing::Spin { left: None };
        }
        Ok(())
    }
}
