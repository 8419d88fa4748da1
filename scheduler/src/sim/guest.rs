//! The simulated guests: what vCPUs do and wait for.
//!
//! Approach: each vCPU is a small state machine, moved on by its own progress: a *step* says what it
//! is about, *doing* whether it computes, spins or halts. No event is spent on spinning: a vCPU that
//! waits is looked at (`poll`) when it gets a CPU and when what it waits for may have happened.

mod steps;
mod waits;

use std::collections::VecDeque;

use crate::{CpuId, Nanos, VcpuId};

use super::queue::Token;
use super::random::Stream;
use super::record::VcpuRef;
use super::run::{Run, RunError};
use super::scenario::{Spread, Wait, Workload};
use super::sync::Shared;

/// What a vCPU does at present, interrupts aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It computes for this long.
    Run { left: Nanos },
    /// It spins, this long at most.
    Spin { left: Option<Nanos> },
    /// It has halted, or will if it finds nothing to do.
    Halt,
}

/// Where a vCPU is in its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not take part.
    Idle,
    /// It was told to leave the work to others.
    Suspended,
    Compute,
    /// It computes before taking a lock.
    Outside,
    LockWait(u32),
    Critical(u32),
    Think,
    ReplyWait,
    RequestWait,
    Reply,
    Grain,
    /// It waits for a barrier to have opened so often.
    BarrierWait(u64),
    Between,
    AcksWait,
    TimerWait(Nanos),
    TimerWork(Nanos),
    IoCompute,
    IoWait(Nanos),
}

/// A vCPU.
#[derive(Debug)]
pub(super) struct Vcpu {
    /// Its VM's place in the recording.
    pub(super) vm: u32,
    pub(super) index: u32,
    pub(super) on_cpu: Option<CpuId>,
    pub(super) last_cpu: Option<CpuId>,
    /// How long the last CPU had been busy when this vCPU left it.
    pub(super) busy_mark: Nanos,
    /// A CPU that waits for this vCPU to leave another.
    pub(super) awaited_by: Option<CpuId>,
    /// What the engine knows.
    pub(super) halted: bool,
    pub(super) refill_left: Nanos,
    pub(super) interrupt_left: Nanos,
    pub(super) doing: Doing,
    pub(super) step: Step,
    /// The event that will wake it.
    pub(super) wake: Option<Token>,
    /// Since when it should be running, if it was woken and is not.
    pub(super) woken_at: Option<Nanos>,
    /// Progress beside its running time: being halted is not lagging.
    pub(super) credit_ns: Nanos,
    /// Who sent the interrupts that it has not handled.
    senders: VecDeque<VcpuId>,
    acks_left: u32,
    /// How much of its VM's work the present computing is.
    claimed_ns: Nanos,
    pub(super) phase: usize,
    phase_ops: u64,
    pub(super) never_halts: bool,
    random: Stream,
}

impl Vcpu {
    pub(super) fn new(vm: u32, index: u32, never_halts: bool, random: Stream) -> Self {
        Self {
            vm,
            index,
            on_cpu: None,
            last_cpu: None,
            busy_mark: 0,
            awaited_by: None,
            halted: false,
            refill_left: 0,
            interrupt_left: 0,
            doing: if never_halts {
                Doing::Spin { left: None }
            } else {
                Doing::Halt
            },
            step: Step::Idle,
            wake: None,
            woken_at: None,
            credit_ns: 0,
            senders: VecDeque::new(),
            acks_left: 0,
            claimed_ns: 0,
            phase: 0,
            phase_ops: 0,
            never_halts,
            random,
        }
    }

    pub(super) fn place(&self) -> VcpuRef {
        VcpuRef {
            vm: self.vm,
            index: self.index,
        }
    }

    /// It has nothing to do.
    fn rest(&mut self) {
        self.doing = if self.never_halts {
            Doing::Spin { left: None }
        } else {
            Doing::Halt
        };
    }

    /// Whether it has an interrupt to handle; its time may be up already, and the sender not told yet.
    pub(super) fn is_interrupted(&self) -> bool {
        !self.senders.is_empty()
    }

    pub(super) fn holds_lock(&self) -> bool {
        matches!(self.step, Step::Critical(_))
    }
}

/// Whether a vCPU waits from the beginning.
pub(super) fn starts_halted(workload: &Workload, index: u32) -> bool {
    match workload {
        Workload::Idle | Workload::Timer { .. } => true,
        Workload::RequestReply { wait, .. } => *wait == Wait::Halt && index % 2 == 1,
        Workload::Phases(phases) => starts_halted(&phases[0].workload, index),
        _ => false,
    }
}

impl<'a> Run<'a> {
    fn workload(&mut self, vcpu: VcpuId) -> &'a Workload {
        let phase = self.vcpu(vcpu).phase;
        match &self.vm_of(vcpu).group.workload {
            Workload::Phases(phases) => &phases[phase].workload,
            workload => workload,
        }
    }

    fn shared(&mut self, vcpu: VcpuId) -> &mut Shared {
        let phase = self.vcpu(vcpu).phase;
        &mut self.vm_of(vcpu).shared[phase]
    }

    /// Begins the first operation of a vCPU.
    pub(super) fn start_program(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        if let Workload::Timer { period_ns, .. } = *self.workload(vcpu) {
            // Timers of different vCPUs are not in step.
            let first = self.now + 1 + self.vcpu(vcpu).random.below(period_ns);
            self.sleep_until(vcpu, first, Step::TimerWait(first));
            return Ok(());
        }
        self.next_op(vcpu)
    }

    /// An operation of this vCPU is complete.
    fn op_done(&mut self, vcpu: VcpuId, counts: bool) -> Result<(), RunError> {
        if counts {
            self.vm_of(vcpu).outcome.ops += 1;
        }
        if let Workload::Phases(phases) = &self.vm_of(vcpu).group.workload {
            let state = self.vcpu(vcpu);
            state.phase_ops += 1;
            if state.phase_ops >= phases[state.phase].ops {
                state.phase_ops = 0;
                state.phase = (state.phase + 1) % phases.len();
                return self.start_program(vcpu);
            }
        }
        self.next_op(vcpu)
    }

    fn next_op(&mut self, vcpu: VcpuId) -> Result<(), RunError> {
        let vm = self.vm_of(vcpu);
        if vm.working > vm.target || vm.work.is_some_and(|work| work.unclaimed_ns == 0) {
            return self.suspend(vcpu);
        }
        let (all, working) = (u64::from(vm.active), u64::from(vm.working));
        let step = match *self.workload(vcpu) {
            Workload::Idle | Workload::Phases(_) => {
                self.vcpu(vcpu).rest();
                Step::Idle
            }
            Workload::Compute { grain_ns, spread } => {
                self.claim(vcpu, grain_ns, spread);
                Step::Compute
            }
            Workload::Lock {
                outside_ns, spread, ..
            } => {
                self.claim(vcpu, outside_ns, spread);
                Step::Outside
            }
            Workload::RequestReply {
                think_ns, spread, ..
            } => {
                if self.vcpu(vcpu).index % 2 == 1 {
                    self.begin_wait(vcpu);
                    Step::RequestWait
                } else {
                    self.claim(vcpu, think_ns, spread);
                    Step::Think
                }
            }
            Workload::Barrier {
                grain_ns,
                imbalance_percent,
                ..
            } => {
                // With fewer vCPUs at work each has more to do.
                let mean = (grain_ns * all / working).max(1);
                let range = mean * u64::from(imbalance_percent) / 100;
                let drawn = self.vcpu(vcpu).random.below(2 * range + 1);
                self.claim(vcpu, mean - range + drawn, Spread::Fixed);
                Step::Grain
            }
            Workload::Messages {
                between_ns, spread, ..
            } => {
                self.claim(vcpu, between_ns, spread);
                Step::Between
            }
            Workload::Timer { .. } => return Ok(()),
            Workload::Io {
                compute_ns, spread, ..
            } => {
                self.claim(vcpu, compute_ns, spread);
                Step::IoCompute
            }
        };
        self.vcpu(vcpu).step = step;
        Ok(())
    }

    /// Begins a piece of work, as far as there is any left for the VM.
    fn claim(&mut self, vcpu: VcpuId, mean: Nanos, spread: Spread) {
        let mut left = self.vcpu(vcpu).random.around(mean, spread);
        if let Some(work) = self.vm_of(vcpu).work.as_mut() {
            left = left.min(work.unclaimed_ns);
            work.unclaimed_ns -= left;
        }
        let state = self.vcpu(vcpu);
        state.claimed_ns = left;
        state.doing = Doing::Run { left };
    }

    fn run_for(&mut self, vcpu: VcpuId, mean: Nanos, spread: Spread, step: Step) {
        let state = self.vcpu(vcpu);
        let left = state.random.around(mean, spread);
        state.doing = Doing::Run { left };
        state.step = step;
    }
}
