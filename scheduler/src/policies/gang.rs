//! `gang`: the vCPUs of a VM run all at the same time, or none of them.
//!
//! Problem: vCPUs that talk to each other and are scheduled one by one meet by chance. A request
//! waits for a whole slice, and who spins for a lock may spin for somebody who has no CPU.
//!
//! Approach: a matrix of slots and CPUs. Every gang has its home in one row, on columns of its own.
//! In every slot the gang that has had the least for its weight leads: its row runs, except gangs that
//! are more than a slot ahead of their share; then, in the order of their shares, all other gangs for
//! which there is still room, at home or on other columns. So a gang runs in several rows where there
//! is room, and gangs of one row may differ in weight. All CPUs switch at the end of the slot, at one
//! moment, for which one tick is asked. A slot ends early if all of its gangs have halted.
//!
//! A hole, be it nobody's or a halted member's, stays idle: that is the textbook's form, and the
//! default, since who asks for gangs does not want members to run without the others, and since
//! weights then hold exactly. With `backfill` single vCPUs of other gangs run in holes (alternate
//! selection). Such time is not charged: it would be taken from the gang's time together.
//!
//! With `rows=one` a gang runs in the slot of its own row only, and with `repack=no` it keeps its home for
//! as long as it lives: both together are the matrix in its first form, whose holes stay as jobs come
//! and go. It is there to be compared with.
//!
//! Terms: *slot*, a quantum of the whole host; *pass*, the slots that a gang has had, over its weight;
//! *stride*, what one slot adds to it; *column*, a CPU.
//!
//! Properties: a gang that is ready gets a slot in bounded time whatever its width. With `shares=slots`
//! a weight counts slots, so that VMs of equal weight share them as in the textbook, and a wide VM gets
//! more CPU time than a narrow one. With `shares=time` it counts CPU time.
//!
//! Source: J. K. Ousterhout, "Scheduling techniques for concurrent systems" (1982), all three forms;
//! D. G. Feitelson, "Packing schemes for gang scheduling" (1996): buddies, several slots, repacking;
//! C. A. Waldspurger and W. E. Weihl, "Stride scheduling" (1995).

mod alternates;
mod columns;
mod homes;
mod matrix;
mod slot;
mod unit;

use std::collections::BTreeSet;

use self::matrix::{Matrix, Packing, Placement};
use self::unit::{Shares, Unit};
use crate::params::{Args, Kind, Param};
use crate::plan::LOAN_MAX;
use crate::policy::{Claims, Event, Granularity, Load, Policy};
use crate::{
    CpuId, CpuSet, Level, MS, Nanos, Plan, SECOND, Topology, Turn, US, UnitId, VcpuId, View, VmId,
};

/// How often it is tried to do with fewer rows.
const REPACK_INTERVAL: Nanos = SECOND;
/// The quantum that is the default, and to which [`Gang::claims`] refers.
pub const QUANTUM: Nanos = 20 * MS;

/// What can be set.
pub const PARAMS: &[Param] = &[
    Param {
        name: "quantum",
        kind: Kind::Duration {
            default: QUANTUM,
            min: 100 * US,
            max: 10 * SECOND,
        },
        meaning: "the length of a slot",
    },
    Param {
        name: "backfill",
        kind: Kind::Flag { default: false },
        meaning: "single vCPUs run in holes and in place of halted ones, without the rest of their gang",
    },
    Param {
        name: "shares",
        kind: Kind::Choice(&["slots", "time"]),
        meaning: "what weights count: slots, however wide a VM is, or CPU time",
    },
    Param {
        name: "placement",
        kind: Kind::Choice(&["matrix", "continuous", "undivided"]),
        meaning: "where gangs may begin: with a row, with any hole, or with a hole that holds them whole",
    },
    Param {
        name: "packing",
        kind: Kind::Choice(&["best", "first", "buddy"]),
        meaning: "which row of a matrix a gang gets: the fullest, the first, or the first free block of 1, 2, 4, ... columns",
    },
    Param {
        name: "rows",
        kind: Kind::Choice(&["several", "one"]),
        meaning: "whether a gang also runs in the slots of other rows that have room for it, or in its own alone",
    },
    Param {
        name: "repack",
        kind: Kind::Flag { default: true },
        meaning: "all gangs are placed anew whenever that makes the matrix shorter",
    },
    Param {
        name: "boost",
        kind: Kind::Duration {
            default: 0,
            min: 0,
            max: LOAN_MAX,
        },
        meaning: "how long a vCPU that wakes outside its slot may run at once, at most 5 % of the time",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Gang {
    quantum_ns: Nanos,
    backfill: bool,
    shares: Shares,
    /// Gangs run in the slot of their own row only.
    one_row: bool,
    repacks: bool,
    boost_ns: Nanos,
    matrix: Matrix,
    /// By the gang's number.
    units: Vec<Option<Unit>>,
    /// The [`View::revision`] that `units` follow.
    revision: u64,
    /// How many CPUs can be used.
    online: usize,
    /// The least pass of a gang that is ready: where newcomers begin.
    virtual_now: u128,
    /// The least pass of a gang that waits, or the same: where begins who wakes.
    waiting_now: u128,
    /// How far a gang may be ahead or behind.
    lag_max: u128,
    /// The gangs of the present slot.
    running: Vec<UnitId>,
    /// The first cell of the one that leads it.
    leader: usize,
    slot_end: Nanos,
    /// A tick was asked for the end of the slot.
    ticking: bool,
    repack_at: Nanos,
    /// CPUs that gangs of the present slot have.
    taken: CpuSet,
    /// Per CPU: its turn.
    turns: Vec<Option<(VcpuId, Level)>>,
    /// Per vCPU: where it has a turn.
    places: Vec<Option<CpuId>>,
    /// CPUs whose turn may have changed.
    touched: Vec<CpuId>,
}

impl Gang {
    /// From `gang:quantum=,backfill,shares=,placement=,packing=,rows=,repack=,boost=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        let packing = match args.choice("packing") {
            "best" => Packing::Best,
            "first" => Packing::First,
            _ => Packing::Buddy,
        };
        let placement = match args.choice("placement") {
            "matrix" => Placement::Matrix(packing),
            "continuous" => Placement::Continuous,
            _ => Placement::Undivided,
        };
        let shares = match args.choice("shares") {
            "slots" => Shares::Slots,
            _ => Shares::Time,
        };
        let cpus = topology.cpu_count();
        Self {
            quantum_ns: args.duration("quantum"),
            backfill: args.flag("backfill"),
            shares,
            one_row: args.choice("rows") == "one",
            repacks: args.flag("repack"),
            boost_ns: args.duration("boost"),
            matrix: Matrix::new(cpus, placement),
            units: Vec::new(),
            revision: 0,
            online: cpus,
            virtual_now: 0,
            waiting_now: 0,
            lag_max: 0,
            running: Vec::new(),
            leader: 0,
            slot_end: 0,
            ticking: false,
            repack_at: REPACK_INTERVAL,
            taken: CpuSet::EMPTY,
            turns: vec![None; cpus],
            places: Vec::new(),
            touched: Vec::new(),
        }
    }

    fn unit(&self, id: UnitId) -> &Unit {
        self.units[id.index()]
            .as_ref()
            .expect("a gang that is known")
    }

    fn unit_mut(&mut self, id: UnitId) -> &mut Unit {
        let unit = self.units[id.index()].as_mut();
        unit.expect("a gang that is known")
    }

    /// Every gang, by number.
    fn known(&self) -> impl Iterator<Item = (UnitId, &Unit)> {
        let numbered = self.units.iter().enumerate();
        numbered.filter_map(|(id, unit)| Some((UnitId(id as u32), unit.as_ref()?)))
    }

    /// See [`Claims::fair_within_ns`]. Nothing is promised where gangs of different widths leave holes that
    /// not everybody can use; where rows stay as they are, so that a gang has its slots beside a heavier
    /// one; and where halted members' time goes to others uncharged, or a boost takes it from whoever it
    /// meets. Else a gang's lag is a few slots at any time; the rarest gang must have had so many that these
    /// are less than 2 %.
    fn fair_within(&self) -> Option<Nanos> {
        if self.one_row || self.backfill || self.boost_ns > 0 {
            return None;
        }
        let units = || self.known().map(|(_, unit)| unit);
        let width = units().map(|unit| unit.members.len()).max()?;
        let vms: BTreeSet<VmId> = units().map(|unit| unit.vm).collect();
        let alike = units().all(|unit| unit.members.len() == width) && vms.len() == units().count();
        if !alike || self.online == 0 || !self.online.is_multiple_of(width) {
            return None;
        }
        let sum: u64 = units().map(|unit| u64::from(unit.weight)).sum();
        let least = units().map(|unit| u64::from(unit.weight)).min()?;
        let together = (self.online / width) as u64;
        Some(200 * self.quantum_ns * sum.div_ceil(least * together))
    }

    /// Gives `cpu` to a vCPU, which loses the CPU that it has, or to nobody.
    fn give(&mut self, cpu: CpuId, turn: Option<(VcpuId, Level)>) {
        if let Some((before, _)) = self.turns[cpu.index()] {
            self.places[before.index()] = None;
        }
        if let Some((vcpu, _)) = turn
            && let Some(elsewhere) = self.places[vcpu.index()].replace(cpu)
            && elsewhere != cpu
        {
            self.turns[elsewhere.index()] = None;
            self.touched.push(elsewhere);
        }
        self.turns[cpu.index()] = turn;
        self.touched.push(cpu);
    }

    /// Writes down what has changed since the view was made.
    fn write(&mut self, view: &View, plan: &mut Plan) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for cpu in touched.drain(..) {
            let turn = self.turns[cpu.index()];
            let present = view.cpu(cpu).turn.map(|turn| (turn.vcpu, turn.level));
            if turn == present || !view.online().contains(cpu) {
                continue;
            }
            match turn {
                Some((vcpu, level)) => {
                    let backfills = level == Level::Backfill;
                    plan.because(if backfills {
                        "fills a hole"
                    } else {
                        "its gang's slot"
                    });
                    // The end of the slot is one tick for all CPUs, not an end of each turn.
                    let until = None;
                    plan.turn(cpu, Turn { vcpu, until, level });
                }
                None => plan.because("no gang fits here").idle(cpu),
            }
        }
        self.touched = touched;
    }
}

impl Policy for Gang {
    fn name(&self) -> &'static str {
        "gang"
    }

    fn granularity(&self) -> Granularity {
        Granularity::Gang
    }

    fn claims(&self) -> Claims {
        Claims {
            gangs: true,
            fair_within_ns: self.fair_within(),
            // The bound is a function of the load alone, so that it is given for slots that are no
            // longer than usual.
            ready_max_ns: (self.shares == Shares::Slots && self.quantum_ns <= QUANTUM)
                .then_some(ready_max as fn(&Load) -> Nanos),
            ..Claims::default()
        }
    }

    fn describe(&self, view: &View) -> String {
        self.matrix.draw(|vcpu| {
            let state = view.vcpu(vcpu);
            format!("{}/{}", view.vm(state.vm).spec.name, state.index)
        })
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        if view.revision() != self.revision {
            if self.renew(now, view) {
                self.begin_slot(now, view);
            } else {
                self.join_all(now, view);
            }
        }
        match *event {
            Event::Leave { vm } => self.leave(now, vm, view),
            Event::Wake { vcpu } => self.wake(now, vcpu, view),
            Event::Halt { vcpu } => self.halt(vcpu, view),
            Event::Tick if self.ticking && now >= self.slot_end => self.begin_slot(now, view),
            // The rest the revision has told already.
            _ => {}
        }
        self.watch_slot(now, event, view, plan);
        self.write(view, plan);
        if let Event::Wake { vcpu } = *event {
            self.boost(now, vcpu, view, plan);
        }
    }
}

/// See [`Claims::ready_max_ns`]. Before a gang's turn comes, each other one can have as many slots as
/// its weight is larger, for each stride of the lightest gang by which it may be ahead: three of those
/// that wait, which may be three ahead of who is always on. And one more. A VM that is wider than the host
/// is several gangs.
fn ready_max(load: &Load) -> Nanos {
    let gangs = load.vms + load.vcpus / load.cpus;
    QUANTUM * gangs * (6 * load.weight_ratio + 2)
}

#[cfg(test)]
mod tests;
