//! Hand-made recordings, with which checkers are checked.

use muster_scheduler::sim::record::{
    Activity, CpuTotals, Mark, MarkKind, Recording, RunstateChange, Source, Span, VcpuRef,
    VmOutcome,
};
use muster_scheduler::{Claims, CpuId, CpuSet, Level, Nanos, RunTimes, Runstate};

use crate::checks::{Broken, Check};
use crate::facts::{Facts, Reign, VmFacts};
use crate::timeline::Timeline;

/// A recording in the making, in which a switch takes 10 ns.
#[derive(Debug)]
pub struct Sample {
    pub recording: Recording,
    pub facts: Facts,
    /// When vCPUs are halted; at other times without a CPU they are ready.
    halts: Vec<(VcpuRef, Nanos, Nanos)>,
}

pub fn vcpu(vm: u32, index: u32) -> VcpuRef {
    VcpuRef { vm, index }
}

impl Sample {
    pub fn new(cpus: u32, duration_ns: Nanos, claims: Claims) -> Self {
        Self {
            recording: Recording {
                scenario: String::new(),
                policy: String::new(),
                source: Source::Simulation,
                seed: 0,
                cpus,
                warm_up_ns: 0,
                duration_ns,
                cpu_totals: CpuTotals::default(),
                vms: Vec::new(),
                spans: Vec::new(),
                spans_lost: 0,
                marks: Vec::new(),
                runstates: Vec::new(),
                turns: Vec::new(),
                decisions: 0,
                events: 0,
                hash: 0,
            },
            facts: Facts {
                vms: Vec::new(),
                switch_ns: 10,
                late_ns: 0,
                disturbed: false,
                reigns: vec![Reign { from: 0, claims }],
            },
            halts: Vec::new(),
        }
    }

    /// A VM that is there all the time.
    pub fn vm(&mut self, vcpus: usize, weight: u32) -> &mut Self {
        self.recording.vms.push(VmOutcome {
            name: String::new(),
            weight,
            arrived_ns: 0,
            left_ns: None,
            ops: 0,
            work_ns: 0,
            spin_ns: 0,
            refill_ns: 0,
            times: vec![RunTimes::default(); vcpus],
            holder_preemptions: 0,
            migrations: 0,
            skew_max_ns: 0,
            wakes: 0,
            wake_latencies_ns: Vec::new(),
        });
        self.facts.vms.push(VmFacts {
            hard: CpuSet::ALL,
            cap: None,
        });
        self
    }

    /// A stay on a CPU.
    pub fn run(&mut self, cpu: u16, vcpu: VcpuRef, start_ns: Nanos, end_ns: Nanos) -> &mut Self {
        self.run_at(Level::Fair, cpu, vcpu, start_ns, end_ns)
    }

    /// A stay at a level.
    pub fn run_at(
        &mut self,
        level: Level,
        cpu: u16,
        vcpu: VcpuRef,
        start_ns: Nanos,
        end_ns: Nanos,
    ) -> &mut Self {
        self.recording.spans.push(Span {
            cpu: CpuId(cpu),
            vcpu: Some(vcpu),
            activity: Activity::Work,
            level: Some(level),
            start_ns,
            end_ns,
        });
        self
    }

    /// A time in which a vCPU is halted.
    pub fn halt(&mut self, vcpu: VcpuRef, start: Nanos, end: Nanos) -> &mut Self {
        self.halts.push((vcpu, start, end));
        self
    }

    pub fn mark(&mut self, at_ns: Nanos, kind: MarkKind) -> &mut Self {
        self.recording.marks.push(Mark { at_ns, kind });
        self
    }

    /// Puts runstates and sums in their places.
    pub fn finish(&mut self) -> &mut Self {
        self.recording
            .spans
            .sort_by_key(|span| (span.start_ns, span.cpu));
        let mut changes = Vec::new();
        for vm in 0..self.recording.vms.len() as u32 {
            for index in 0..self.recording.vms[vm as usize].times.len() as u32 {
                changes.extend(self.runstates(vcpu(vm, index)));
            }
        }
        changes.sort_by_key(|change: &RunstateChange| (change.at_ns, change.vcpu));
        self.recording.runstates = changes;
        self
    }

    fn runstates(&mut self, vcpu: VcpuRef) -> Vec<RunstateChange> {
        let spans = self.recording.spans.iter();
        let spans = spans.filter(|span| span.vcpu == Some(vcpu));
        let runs = spans.map(|span| (span.start_ns, span.end_ns, Runstate::Running));
        let halts = self.halts.iter().filter(|halt| halt.0 == vcpu);
        let halts = halts.map(|&(_, start, end)| (start, end, Runstate::Halted));
        let mut known: Vec<_> = runs.chain(halts).collect();
        known.sort_unstable();
        known.push((
            self.recording.duration_ns,
            self.recording.duration_ns,
            Runstate::Ready,
        ));
        let outcome = &mut self.recording.vms[vcpu.vm as usize];
        let times = &mut outcome.times[vcpu.index as usize];
        let mut changes = Vec::new();
        let mut from = 0;
        for (start, end, state) in known {
            for (state, since, until) in [(Runstate::Ready, from, start), (state, start, end)] {
                if until > since {
                    let state = Some(state);
                    let at_ns = since;
                    changes.push(RunstateChange { at_ns, vcpu, state });
                }
            }
            times[Runstate::Ready] += start.saturating_sub(from);
            times[state] += end - start;
            if state == Runstate::Running {
                outcome.work_ns += end - start;
            }
            from = end;
        }
        changes
    }

    /// What a checker says.
    pub fn check(&self, check: Check) -> Result<u64, Broken> {
        check(&Timeline::new(&self.recording), &self.facts)
    }
}
