//! Writes down what happens.

use std::collections::BTreeMap;
use std::mem;

use crate::{CpuId, Level, Nanos, Runstate};

use super::record::{
    Activity, CpuTotals, Keep, Mark, MarkKind, RunstateChange, SPANS_MAX, Span, TurnChange, VcpuRef,
};

/// What a CPU is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) vcpu: Option<VcpuRef>,
    /// `None`: it idles.
    pub(super) activity: Option<Activity>,
    pub(super) level: Option<Level>,
}

/// What a VM's vCPUs did while they were on CPUs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct VmTimes {
    pub(super) work_ns: Nanos,
    pub(super) spin_ns: Nanos,
    pub(super) refill_ns: Nanos,
}

/// Turns changes of what CPUs do into spans, totals and a hash.
#[derive(Debug)]
pub(super) struct Recorder {
    keep: Keep,
    /// What each CPU does, and since when.
    open: Vec<(State, Nanos)>,
    pub(super) spans: Vec<Span>,
    pub(super) spans_lost: u64,
    pub(super) marks: Vec<Mark>,
    pub(super) runstates: Vec<RunstateChange>,
    pub(super) turns: Vec<TurnChange>,
    /// Each vCPU's last change before what is kept.
    runstates_before: BTreeMap<VcpuRef, RunstateChange>,
    totals: CpuTotals,
    /// By the VM's place in the recording.
    pub(super) vm_times: Vec<VmTimes>,
    hash: Fnv,
    holes: Holes,
}

/// Counts CPUs without work and vCPUs without a CPU.
#[derive(Debug, Default)]
struct Holes {
    free_cpus: u64,
    ready_vcpus: u64,
    counted_at: Nanos,
    total_ns: Nanos,
}

impl Holes {
    fn count(&mut self, now: Nanos) {
        let elapsed = now - mem::replace(&mut self.counted_at, now);
        self.total_ns += elapsed * self.free_cpus.min(self.ready_vcpus);
    }
}

impl Recorder {
    pub(super) fn new(cpus: usize, keep: Keep) -> Self {
        Self {
            keep,
            open: vec![(State::default(), 0); cpus],
            spans: Vec::new(),
            spans_lost: 0,
            marks: Vec::new(),
            runstates: Vec::new(),
            turns: Vec::new(),
            runstates_before: BTreeMap::new(),
            totals: CpuTotals::default(),
            vm_times: Vec::new(),
            hash: Fnv::default(),
            holes: Holes {
                free_cpus: cpus as u64,
                ..Holes::default()
            },
        }
    }

    /// A CPU does this from now on.
    pub(super) fn set(&mut self, now: Nanos, cpu: CpuId, state: State) {
        let before = self.open[cpu.index()].0;
        if before == state {
            return;
        }
        let is_free = |state: State| matches!(state.activity, None | Some(Activity::Held));
        if is_free(before) != is_free(state) {
            self.holes.count(now);
            if is_free(state) {
                self.holes.free_cpus += 1;
            } else {
                self.holes.free_cpus -= 1;
            }
        }
        self.close(now, cpu);
        self.open[cpu.index()].0 = state;
    }

    /// A vCPU begins or ends to wait for a CPU.
    pub(super) fn ready(&mut self, now: Nanos, waits: bool) {
        self.holes.count(now);
        if waits {
            self.holes.ready_vcpus += 1;
        } else {
            self.holes.ready_vcpus -= 1;
        }
    }

    /// Whether loans and runstates are wanted.
    pub(super) fn is_detailed(&self) -> bool {
        self.keep.is_detailed()
    }

    /// Only if [wanted](Self::is_detailed).
    pub(super) fn runstate(&mut self, now: Nanos, vcpu: VcpuRef, state: Option<Runstate>) {
        let change = RunstateChange {
            at_ns: now,
            vcpu,
            state,
        };
        if self.keep.is_before(now) {
            self.runstates_before.insert(vcpu, change);
            return;
        }
        if !self.runstates_before.is_empty() {
            self.keep_runstates_before();
        }
        if self.keep.overlaps(now, now + 1) && self.runstates.len() < SPANS_MAX {
            self.runstates.push(change);
        }
    }

    /// Only if [wanted](Self::is_detailed).
    pub(super) fn turn(&mut self, now: Nanos, cpu: CpuId, vcpu: Option<VcpuRef>) {
        if self.keep.overlaps(now, now + 1) && self.turns.len() < SPANS_MAX {
            self.turns.push(TurnChange {
                at_ns: now,
                cpu,
                vcpu,
            });
        }
    }

    /// What vCPUs are doing when that begins which is kept.
    fn keep_runstates_before(&mut self) {
        let mut before: Vec<_> = mem::take(&mut self.runstates_before)
            .into_values()
            .collect();
        before.sort_unstable_by_key(|change| (change.at_ns, change.vcpu));
        self.runstates.extend(before);
    }

    pub(super) fn mark(&mut self, now: Nanos, kind: MarkKind) {
        self.hash.mark(now, kind);
        if self.is_detailed() && self.marks.len() < SPANS_MAX {
            self.marks.push(Mark { at_ns: now, kind });
        }
    }

    /// Totals begin at `now`.
    pub(super) fn measure(&mut self, now: Nanos) {
        self.flush(now);
        self.totals = CpuTotals::default();
        self.vm_times.fill(VmTimes::default());
        self.holes.total_ns = 0;
    }

    /// Everything up to `now` is in the totals.
    pub(super) fn flush(&mut self, now: Nanos) {
        self.keep_runstates_before();
        self.holes.count(now);
        for cpu in 0..self.open.len() {
            self.close(now, CpuId(cpu as u16));
        }
    }

    /// The spans in their order.
    pub(super) fn take_spans(&mut self) -> Vec<Span> {
        let mut spans = mem::take(&mut self.spans);
        spans.sort_by_key(|span| (span.start_ns, span.cpu));
        spans
    }

    /// What the CPUs did beside the VMs' work, up to the last [flush](Self::flush).
    pub(super) fn totals(&self) -> CpuTotals {
        CpuTotals {
            hole_ns: self.holes.total_ns,
            ..self.totals
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.0
    }

    fn close(&mut self, now: Nanos, cpu: CpuId) {
        let open = &mut self.open[cpu.index()];
        let start_ns = mem::replace(&mut open.1, now);
        let state = open.0;
        let length = now - start_ns;
        if length == 0 {
            return;
        }
        let Some(activity) = state.activity else {
            return;
        };
        let mut of_vm = |count: fn(&mut VmTimes) -> &mut Nanos| {
            let vcpu = state.vcpu.expect("only a vCPU does this");
            *count(&mut self.vm_times[vcpu.vm as usize]) += length;
        };
        match activity {
            Activity::Work => of_vm(|times| &mut times.work_ns),
            Activity::Spin => of_vm(|times| &mut times.spin_ns),
            Activity::Refill => of_vm(|times| &mut times.refill_ns),
            Activity::Held => self.totals.held_ns += length,
            Activity::Switch => self.totals.switch_ns += length,
            Activity::Stolen => self.totals.stolen_ns += length,
        }
        let span = Span {
            cpu,
            vcpu: state.vcpu,
            activity,
            level: state.level,
            start_ns,
            end_ns: now,
        };
        self.hash.span(&span);
        if self.keep.overlaps(start_ns, now) {
            self.keep_span(span);
        }
    }

    fn keep_span(&mut self, span: Span) {
        if self.spans.len() < SPANS_MAX {
            self.spans.push(span);
        } else {
            self.spans_lost += 1;
        }
    }
}

/// The Fowler-Noll-Vo hash, variant 1a, of 64 bits.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn vcpu(&mut self, vcpu: Option<VcpuRef>) {
        let (vm, index) = vcpu.map_or((u32::MAX, u32::MAX), |vcpu| (vcpu.vm, vcpu.index));
        self.bytes(&vm.to_le_bytes());
        self.bytes(&index.to_le_bytes());
    }

    fn span(&mut self, span: &Span) {
        self.bytes(&span.cpu.0.to_le_bytes());
        self.vcpu(span.vcpu);
        let level = span.level.map_or(u8::MAX, |level| level as u8);
        self.bytes(&[span.activity as u8, level]);
        self.bytes(&span.start_ns.to_le_bytes());
        self.bytes(&span.end_ns.to_le_bytes());
    }

    fn mark(&mut self, now: Nanos, kind: MarkKind) {
        // These are looked for only where they are kept. Spans show them by their level.
        if matches!(
            kind,
            MarkKind::Loan { .. } | MarkKind::LoanOver(_) | MarkKind::Slot { .. }
        ) {
            return;
        }
        self.bytes(&now.to_le_bytes());
        let (tag, vcpu, number) = match kind {
            MarkKind::Arrive { vm } => (0, None, u64::from(vm)),
            MarkKind::Leave { vm } => (1, None, u64::from(vm)),
            MarkKind::HolderPreempted(vcpu) => (2, Some(vcpu), 0),
            MarkKind::Grace { vcpu, used_ns, .. } => (3, Some(vcpu), used_ns),
            MarkKind::Loan { cpu, to, .. } => (4, to, u64::from(cpu.0)),
            MarkKind::CoStop(vcpu) => (5, Some(vcpu), 0),
            MarkKind::Migrate(vcpu, cpu) => (6, Some(vcpu), u64::from(cpu.0)),
            MarkKind::PolicyChange => (7, None, 0),
            MarkKind::Online(cpu, true) => (8, None, u64::from(cpu.0)),
            MarkKind::Online(cpu, false) => (9, None, u64::from(cpu.0)),
            MarkKind::Slot { number } => (10, None, number),
            MarkKind::LoanOver(cpu) => (11, None, u64::from(cpu.0)),
        };
        self.bytes(&[tag]);
        self.vcpu(vcpu);
        self.bytes(&number.to_le_bytes());
    }
}
