//! Waiting, being woken, being interrupted.

use super::{Doing, Step};
use crate::engine::Input;
use crate::sim::queue::{Happening, Token};
use crate::sim::run::{Run, RunError};
use crate::sim::scenario::{Spread, Wait, Workload};
use crate::sim::sync::{Mailbox, Shared};
use crate::{Nanos, VcpuId};

impl Run<'_> {
    /// A vCPU waits for others from now on, as its workload says.
    pub(super) fn begin_wait(&mut self, vcpu: VcpuId) {
        let wait = match *self.workload(vcpu) {
            Workload::Lock { wait, .. }
            | Workload::RequestReply { wait, .. }
            | Workload::Barrier { wait, .. }
            | Workload::Messages { wait, .. } => wait,
            _ => Wait::Halt,
        };
        let state = self.vcpu(vcpu);
        state.doing = match wait {
            _ if state.never_halts => Doing::Spin { left: None },
            Wait::Spin => Doing::Spin { left: None },
            Wait::SpinThenHalt { limit_ns } if limit_ns > 0 => Doing::Spin {
                left: Some(limit_ns),
            },
            Wait::Halt | Wait::SpinThenHalt { .. } => Doing::Halt,
        };
    }

    /// A vCPU has nothing to do until then.
    pub(super) fn sleep_until(&mut self, vcpu: VcpuId, due: Nanos, step: Step) {
        let at = due + self.lost_for();
        let token = self.queue.push(at, Happening::Wake(vcpu));
        let state = self.vcpu(vcpu);
        state.wake = Some(token);
        state.step = step;
        state.rest();
    }

    /// How long an interrupt that is sent now will be lost.
    fn lost_for(&mut self) -> Nanos {
        let faults = &self.scenario.faults;
        if self.faults.chance(faults.lost_percent) {
            faults.lost_for_ns
        } else {
            0
        }
    }

    /// What a vCPU waits for may have happened.
    pub(in crate::sim) fn notify(&mut self, vcpu: VcpuId) {
        let state = self.vcpu(vcpu);
        if state.halted {
            if state.wake.is_none() {
                let at = self.now + self.scenario.costs.ipi_ns + self.lost_for();
                let token = self.queue.push(at, Happening::Wake(vcpu));
                self.vcpu(vcpu).wake = Some(token);
            }
        } else if let Some(cpu) = state.on_cpu {
            self.touch(cpu);
        }
    }

    /// An interrupt that shall wake a vCPU arrives, if it is still meant.
    pub(in crate::sim) fn wake(&mut self, token: Token, vcpu: VcpuId) -> Result<(), RunError> {
        let state = self.vcpus[vcpu.index()].as_mut();
        let Some(state) = state.filter(|state| state.wake == Some(token)) else {
            return Ok(());
        };
        state.wake = None;
        if state.halted {
            return self.unhalt(vcpu);
        }
        // It never halts, or has not got round to it.
        if let Some(cpu) = state.on_cpu {
            self.touch(cpu);
        }
        Ok(())
    }

    fn unhalt(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let now = self.now;
        self.catch_up(vcpu);
        let state = self.vcpu(vcpu);
        state.halted = false;
        state.woken_at = Some(now);
        match state.on_cpu {
            Some(cpu) => self.touch(cpu),
            None => self.recorder.ready(now, true),
        }
        self.vm_of(vcpu).outcome.wakes += 1;
        self.input(Input::Wake(vcpu))
    }

    /// A message interrupts a vCPU.
    pub(in crate::sim) fn deliver(
        &mut self,
        vcpu: VcpuId,
        sender: VcpuId,
        number: u32,
    ) -> Result<(), RunError> {
        let state = self.vcpus[vcpu.index()].as_ref();
        if state.is_none_or(|state| state.vm != number) {
            return Ok(());
        }
        if let Some(cpu) = self.vcpu(vcpu).on_cpu {
            self.settle(cpu);
            self.touch(cpu);
        }
        self.vcpu(vcpu).senders.push_back(sender);
        if self.vcpu(vcpu).senders.len() == 1 {
            self.begin_interrupt(vcpu, sender);
        }
        if self.vcpu(vcpu).halted {
            return self.unhalt(vcpu);
        }
        Ok(())
    }

    fn begin_interrupt(&mut self, vcpu: VcpuId, sender: VcpuId) {
        // The receiver may be in another phase than the sender.
        let Workload::Messages { handle_ns, .. } = *self.workload(sender) else {
            unreachable!("a sender waits until its message is handled");
        };
        self.vcpu(vcpu).interrupt_left = handle_ns;
    }

    /// A vCPU has handled an interrupt.
    pub(in crate::sim) fn finish_interrupt(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let state = self.vcpu(vcpu);
        let sender = state.senders.pop_front().expect("it was interrupted");
        if let Some(&next) = state.senders.front() {
            self.begin_interrupt(vcpu, next);
        }
        let waiting = self.vcpu(sender);
        waiting.acks_left -= 1;
        if waiting.acks_left == 0 {
            self.notify(sender);
        }
        Ok(())
    }

    /// A vCPU has spun as long as it wanted to.
    pub(in crate::sim) fn finish_spin(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        self.vcpu(vcpu).doing = Doing::Halt;
        Ok(())
    }

    /// A vCPU that is on a CPU and waits looks whether it can go on. Tells whether anything has
    /// changed.
    pub(in crate::sim) fn poll(&mut self, vcpu: VcpuId) -> Result<bool, RunError> {
        let now = self.now;
        let handoff = self.scenario.costs.handoff_ns;
        let (step, acks_left) = (self.vcpu(vcpu).step, self.vcpu(vcpu).acks_left);
        match step {
            Step::LockWait(which) => {
                let Shared::Locks(locks) = self.shared(vcpu) else {
                    unreachable!("lock has locks");
                };
                let lock = &mut locks[which as usize];
                if lock.try_take(vcpu) {
                    let lines = lock.lines();
                    return self.enter(vcpu, which, handoff * lines).map(|()| true);
                }
            }
            Step::ReplyWait if *self.mailbox(vcpu) == Mailbox::Reply => {
                *self.mailbox(vcpu) = Mailbox::Empty;
                return self.op_done(vcpu, true).map(|()| true);
            }
            Step::RequestWait if *self.mailbox(vcpu) == Mailbox::Request => {
                let Workload::RequestReply {
                    reply_ns, spread, ..
                } = *self.workload(vcpu)
                else {
                    unreachable!("only request-reply does this");
                };
                self.run_for(vcpu, reply_ns + handoff, spread, Step::Reply);
                return Ok(true);
            }
            Step::BarrierWait(opened) => {
                let Shared::Barrier(barrier) = self.shared(vcpu) else {
                    unreachable!("barrier has a barrier");
                };
                if barrier.opened >= opened {
                    return self.op_done(vcpu, false).map(|()| true);
                }
            }
            Step::AcksWait if acks_left == 0 => {
                return self.op_done(vcpu, true).map(|()| true);
            }
            Step::TimerWait(due) if now >= due => {
                let Workload::Timer { work_ns, .. } = *self.workload(vcpu) else {
                    unreachable!("only timer does this");
                };
                self.run_for(vcpu, work_ns, Spread::Fixed, Step::TimerWork(due));
                return Ok(true);
            }
            Step::IoWait(due) if now >= due => {
                return self.op_done(vcpu, true).map(|()| true);
            }
            _ => {}
        }
        self.halt_if_idle(vcpu)
    }

    fn halt_if_idle(&mut self, vcpu: VcpuId) -> Result<bool, RunError> {
        let state = self.vcpu(vcpu);
        if state.doing != Doing::Halt || state.halted {
            return Ok(false);
        }
        state.halted = true;
        self.input(Input::Halt(vcpu))?;
        Ok(true)
    }

    /// A vCPU leaves the work to its siblings.
    pub(super) fn suspend(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let state = self.vcpu(vcpu);
        state.step = Step::Suspended;
        state.rest();
        let vm = self.vm_of(vcpu);
        vm.working -= 1;
        let working = vm.working as usize;
        if let Shared::Barrier(barrier) = self.shared(vcpu)
            && working > 0
            && barrier.waiting.len() == working
        {
            // It was the only one that they still waited for.
            self.open_barrier(vcpu);
            self.vm_of(vcpu).outcome.ops += 1;
        }
        Ok(())
    }

    /// A VM is told how many CPUs it should use.
    pub(in crate::sim) fn advise(&mut self, number: u32, cpus: u32) -> Result<(), RunError> {
        let vm = &mut self.vms[number as usize];
        if !vm.group.cooperative {
            return Ok(());
        }
        vm.target = cpus.max(1);
        let exhausted = vm.work.is_some_and(|work| work.unclaimed_ns == 0);
        for index in 0..vm.vcpus {
            let vm = &self.vms[number as usize];
            if vm.working >= vm.target || exhausted {
                break;
            }
            let vcpu = VcpuId(vm.first.0 + index);
            if self.vcpu(vcpu).step == Step::Suspended {
                self.vms[number as usize].working += 1;
                self.next_op(vcpu)?;
                self.notify(vcpu);
            }
        }
        Ok(())
    }
}
