//! VMs come and go.

use super::{Run, RunError};
use crate::engine::{EngineError, Input};
use crate::sim::guest::{Vcpu, starts_halted};
use crate::sim::queue::Happening;
use crate::sim::random::{Purpose, Stream};
use crate::sim::record::{MarkKind, VmOutcome};
use crate::sim::recorder::VmTimes;
use crate::sim::scenario::{RunTime, Sizes, VCPUS_TOTAL_MAX, VmGroup, Workload};
use crate::sim::sync::Shared;
use crate::vm::VmSpecError;
use crate::{MS, Nanos, RunTimes, VcpuId, VmId, VmSpec};

/// How much computing a VM still has before it.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Work {
    /// What no vCPU has begun.
    pub(in crate::sim) unclaimed_ns: Nanos,
    /// What no vCPU has finished.
    pub(in crate::sim) undone_ns: Nanos,
}

/// A VM that has arrived.
#[derive(Debug)]
pub(in crate::sim) struct Vm<'a> {
    pub(in crate::sim) id: VmId,
    pub(in crate::sim) group: &'a VmGroup,
    pub(in crate::sim) first: VcpuId,
    pub(in crate::sim) vcpus: u32,
    /// vCPUs that take part in its work when nobody holds them back.
    pub(in crate::sim) active: u32,
    /// vCPUs that do at present.
    pub(in crate::sim) working: u32,
    /// How many should.
    pub(in crate::sim) target: u32,
    pub(in crate::sim) work: Option<Work>,
    /// What its vCPUs share, by phase of the workload.
    pub(in crate::sim) shared: Vec<Shared>,
    pub(in crate::sim) outcome: VmOutcome,
    pub(super) present: bool,
    /// Each vCPU's times when measuring began.
    pub(super) before: Vec<RunTimes>,
    /// The progress of the vCPU that is furthest, and when it was looked up.
    pub(super) furthest: (Nanos, Nanos),
    /// When the lead was last measured.
    pub(super) lead_at: Option<Nanos>,
    /// Latencies that could have been kept.
    pub(super) latencies: u64,
}

/// What is drawn for a VM that arrives.
#[derive(Debug, Clone, Copy)]
struct Draw {
    vcpus: u32,
    work_ns: Option<Nanos>,
}

impl<'a> Run<'a> {
    pub(super) fn schedule_arrivals(&mut self) {
        for (index, group) in self.scenario.vms.iter().enumerate() {
            let Some(arrivals) = group.arrivals else {
                for number in 0..group.count {
                    let arrival = Happening::Arrive(index as u32, number);
                    self.queue.push(group.arrive_ns, arrival);
                }
                continue;
            };
            let pause = self.arrivals[index].exponential(arrivals.every_ns);
            let first = Happening::ArriveNext(index as u32, 0);
            self.queue.push(group.arrive_ns + pause, first);
        }
    }

    /// A VM of a group arrives, and it is settled when the next one will.
    pub(super) fn arrive_next(&mut self, index: u32, number: u32) -> Result<(), RunError> {
        let group = &self.scenario.vms[index as usize];
        let arrivals = group.arrivals.expect("only then one follows the other");
        if number + 1 < group.count {
            let pause = self.arrivals[index as usize].exponential(arrivals.every_ns);
            let next = Happening::ArriveNext(index, number + 1);
            self.queue.push(self.now + pause, next);
        }
        self.arrive(index, number)
    }

    /// A VM arrives, if the host can take it now.
    pub(super) fn arrive(&mut self, index: u32, number: u32) -> Result<(), RunError> {
        let now = self.now;
        let group = &self.scenario.vms[index as usize];
        if group.leave_ns.is_some_and(|leave| leave <= now) {
            return Ok(());
        }
        let draw = self.draw(index, number);
        self.make_room(index, draw.vcpus)?;
        let spec = spec(group, number, draw);
        let place = self.vms.len() as u32;
        let of = [index, number];
        let vcpus = (0..draw.vcpus).map(|vcpu| self.new_vcpu(place, of, vcpu));
        let vcpus: Vec<Vcpu> = vcpus.collect();
        let active = group.active.min(draw.vcpus);
        let halted = |vcpu: u32| {
            let idle = vcpu >= active || starts_halted(&group.workload, vcpu);
            idle && !vcpus[vcpu as usize].never_halts
        };
        let told = self
            .engine
            .arrive(now, spec.clone(), halted, &mut self.orders);
        self.watch.note(&self.engine);
        let id = match told {
            Ok(id) => id,
            // All its CPUs are offline at present.
            Err(EngineError::Vm(VmSpecError::HardAffinity { .. })) => {
                self.present -= u64::from(draw.vcpus);
                let retry = Happening::Arrive(index, number);
                self.queue.push(now + MS, retry);
                return Ok(());
            }
            Err(error) => return Err(self.refused(error)),
        };
        self.recorder.mark(now, MarkKind::Arrive { vm: place });
        self.recorder.vm_times.push(VmTimes::default());
        let first = self.engine.view().vm(id).first;
        let random = Stream::new(self.seed, Purpose::Lock, [index, number, 0]);
        self.vms
            .push(Vm::new(group, id, first, active, draw, spec, now, &random));
        for mut vcpu in vcpus {
            let at = VcpuId(first.0 + vcpu.index);
            vcpu.halted = self.engine.view().vcpu(at).halted;
            if !vcpu.halted {
                self.recorder.ready(now, true);
            }
            if self.vcpus.len() <= at.index() {
                self.vcpus.resize_with(at.index() + 1, || None);
            }
            let takes_part = vcpu.index < active;
            self.vcpus[at.index()] = Some(vcpu);
            self.watch.arrived(at);
            if takes_part {
                self.start_program(at)?;
            }
        }
        if let Some(leave) = group.leave_ns {
            self.queue.push(leave, Happening::Leave(place));
        }
        Ok(())
    }

    /// Counts vCPUs that arrive, if a run can have so many.
    fn make_room(&mut self, group: u32, vcpus: u32) -> Result<(), RunError> {
        self.present += u64::from(vcpus);
        if self.present <= VCPUS_TOTAL_MAX {
            return Ok(());
        }
        Err(RunError::Crowded {
            seed: self.seed,
            at_ns: self.now,
            group,
        })
    }

    fn draw(&self, index: u32, number: u32) -> Draw {
        let group = &self.scenario.vms[index as usize];
        let most = group.spec.vcpus;
        let Some(arrivals) = group.arrivals else {
            return Draw {
                vcpus: most,
                work_ns: group.work_ns,
            };
        };
        // A stream of its own: a VM that is put off gets the same when it is asked again.
        let mut random = Stream::new(self.seed, Purpose::Arrivals, [index, number, 1]);
        let vcpus = match arrivals.sizes {
            Sizes::Fixed => most,
            Sizes::Uniform => 1 + random.below(u64::from(most)) as u32,
            Sizes::Powers => 1 << random.below(u64::from(most.ilog2()) + 1),
            Sizes::Harmonic => harmonic(&mut random, most),
        };
        let work_ns = group.work_ns.map(|mean| {
            if arrivals.vary_work {
                random.exponential(mean)
            } else {
                mean
            }
        });
        Draw { vcpus, work_ns }
    }

    fn new_vcpu(&mut self, vm: u32, [group, number]: [u32; 2], index: u32) -> Vcpu {
        let random = Stream::new(self.seed, Purpose::Vcpu, [group, number, index]);
        let percent = self.scenario.faults.never_halt_percent;
        Vcpu::new(vm, index, self.faults.chance(percent), random)
    }

    /// A VM leaves, if it is still there.
    pub(super) fn leave(&mut self, number: u32) -> Result<(), RunError> {
        let now = self.now;
        if !self.vms[number as usize].present {
            return Ok(());
        }
        self.vms[number as usize].present = false;
        self.present -= u64::from(self.vms[number as usize].vcpus);
        self.vms[number as usize].outcome.left_ns = Some(now);
        self.note_times(number as usize);
        self.recorder.mark(now, MarkKind::Leave { vm: number });
        let (id, first) = (
            self.vms[number as usize].id,
            self.vms[number as usize].first,
        );
        let vcpus = first.0..first.0 + self.vms[number as usize].vcpus;
        for vcpu in vcpus.clone().map(VcpuId) {
            self.remove(vcpu);
            let place = self.vcpu(vcpu).place();
            if self.recorder.is_detailed() {
                self.recorder.runstate(now, place, None);
            }
        }
        self.vms[number as usize].shared = Vec::new();
        for vcpu in vcpus {
            self.vcpus[vcpu as usize] = None;
        }
        self.input(Input::Leave(id))
    }
}

impl<'a> Vm<'a> {
    #[expect(clippy::too_many_arguments, reason = "all are needed once")]
    fn new(
        group: &'a VmGroup,
        id: VmId,
        first: VcpuId,
        active: u32,
        draw: Draw,
        spec: VmSpec,
        now: Nanos,
        random: &Stream,
    ) -> Self {
        let shared = match &group.workload {
            Workload::Phases(phases) => phases
                .iter()
                .map(|phase| Shared::new(&phase.workload, draw.vcpus, random))
                .collect(),
            workload => vec![Shared::new(workload, draw.vcpus, random)],
        };
        let work = draw.work_ns.map(|each| each * Nanos::from(active));
        Self {
            id,
            group,
            first,
            vcpus: draw.vcpus,
            active,
            working: active,
            target: active,
            work: work.map(|all| Work {
                unclaimed_ns: all,
                undone_ns: all,
            }),
            shared,
            outcome: VmOutcome {
                name: spec.name,
                weight: spec.weight,
                arrived_ns: now,
                left_ns: None,
                ops: 0,
                work_ns: 0,
                spin_ns: 0,
                refill_ns: 0,
                times: Vec::new(),
                holder_preemptions: 0,
                migrations: 0,
                skew_max_ns: 0,
                wakes: 0,
                wake_latencies_ns: Vec::new(),
            },
            present: true,
            before: vec![RunTimes::default(); draw.vcpus as usize],
            furthest: (0, 0),
            lead_at: None,
            latencies: 0,
        }
    }
}

/// What the engine is told of the VM with this number in its group.
fn spec(group: &VmGroup, number: u32, draw: Draw) -> VmSpec {
    let mut spec = group.spec.clone();
    spec.vcpus = draw.vcpus;
    if group.count > 1 {
        spec.name = format!("{}-{number}", spec.name);
    }
    spec.run_time_ns = match group.run_time {
        RunTime::Unknown => None,
        RunTime::Work => draw.work_ns,
        RunTime::Told(time) => Some(time),
    };
    spec
}

/// A number from 1 to `most`, `n` with a chance like `1/n`.
fn harmonic(random: &mut Stream, most: u32) -> u32 {
    // In whole numbers, so that it is the same everywhere.
    let share = |n: u32| (1 << 32) / u64::from(n);
    let mut left = random.below((1..=most).map(share).sum());
    for n in 1..most {
        match left.checked_sub(share(n)) {
            Some(rest) => left = rest,
            None => return n,
        }
    }
    most
}
