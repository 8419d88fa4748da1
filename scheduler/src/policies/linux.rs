//! `linux`: what the host's own scheduler would do, as a baseline.
//!
//! Problem: a policy is worth what it gains over the scheduler that is there anyway.
//!
//! Approach: a model of Linux's fair class. Each CPU has a queue under EEVDF (`linux/run_queue.rs`). Who runs
//! gives way at a *tick* once his slice is used up, so that slices are in fact whole ticks, or to one
//! who wakes and is due sooner. Who wakes goes where he was if that CPU idles, else to one that idles
//! around the same cache, else where he was. Who is new goes to the least loaded CPU. A CPU that runs
//! out of work takes a waiting vCPU from the busiest near it, unless that has just run; a tick on a
//! busy CPU has idle ones look too; and now and then loads are evened out.
//!
//! As in Linux, nothing of this knows what a VM is: siblings that start one by one may well be put on one
//! CPU, where they never run at the same time, and stay there. Those that start together are not, since
//! what each adds to a CPU is seen at once: real load averages lag, so that it happens more often there. With `pin` every vCPU is given a CPU for ever, siblings
//! apart as far as they can be: the best that one gets from Linux by hand.
//!
//! Not modelled: groups and their bandwidth, sleepers that stay queued until their debt is gone, the
//! pull towards the waker's CPU, idle states, and load averages that decay. Ticks of different CPUs
//! have each their own phase, drawn from `seed`, as have choices between equally loaded CPUs: real
//! hosts differ there from boot to boot.
//!
//! Source: Linux 6.12, kernel/sched/fair.c, as it behaves; Stoica and Abdel-Wahab (1995).

mod balance;
mod placement;
mod run_queue;

use std::collections::BTreeSet;

use crate::params::{Args, Kind, Param, quantum};
use crate::policy::{Claims, Event, Policy};
use crate::{CpuId, CpuSet, MS, Nanos, Plan, Topology, US, VcpuId, View, VmId};
use run_queue::{Entity, RunQueue, WEIGHT_UNIT};

/// A vCPU that has left its CPU for less than this has its caches still warm, and is not taken away.
const HOT: Nanos = 500 * US;

/// Where a vCPU is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a CPU's queue.
    On(CpuId),
    /// In none; where it was last.
    Off(Entity, Option<CpuId>),
}

/// What can be set.
pub const PARAMS: &[Param] = &[
    Param {
        name: "slice",
        kind: quantum(3 * MS),
        meaning: "what a vCPU asks for at a time",
    },
    Param {
        name: "tick",
        kind: quantum(4 * MS),
        meaning: "how often a CPU looks whether a slice is used up (4ms is HZ=250)",
    },
    Param {
        name: "pin",
        kind: Kind::Flag { default: false },
        meaning: "every vCPU has a CPU for ever, siblings apart",
    },
    Param {
        name: "seed",
        kind: Kind::Count {
            default: 1,
            min: 0,
            max: u64::MAX,
            unit: "a seed",
        },
        meaning: "for the phases of ticks, and choices between equal CPUs",
    },
];

/// See the module's head.
#[derive(Debug)]
pub struct Linux {
    tick_ns: Nanos,
    balance_ns: Nanos,
    pin: bool,
    random: u64,
    queues: Vec<RunQueue>,
    phases: Vec<Nanos>,
    /// Per vCPU.
    places: Vec<Option<Place>>,
    /// Per vCPU: its weight.
    shares: Vec<i64>,
    /// Per vCPU, if they are pinned.
    pins: Vec<Option<CpuId>>,
    /// Per CPU: how many are pinned there.
    pinned: Vec<usize>,
    /// Runnable vCPUs that may run nowhere at present.
    stranded: BTreeSet<VcpuId>,
    /// CPUs with an empty queue, and those where somebody waits.
    idle: CpuSet,
    overloaded: CpuSet,
    /// CPUs for which something may have changed in this event.
    touched: CpuSet,
    balance_at: Option<Nanos>,
}

impl Linux {
    /// From `linux:slice=,tick=,pin=,seed=`.
    pub fn new(args: &Args, topology: &Topology) -> Self {
        let cpus = topology.cpu_count();
        let tick_ns = args.duration("tick");
        let queue = || RunQueue::new(args.duration("slice"), tick_ns);
        let mut linux = Self {
            tick_ns,
            // A busy CPU looks around the rarer the more CPUs there are.
            balance_ns: (16 * cpus as u64 * MS).clamp(32 * MS, 1024 * MS),
            pin: args.flag("pin"),
            random: args.count("seed"),
            queues: (0..cpus).map(|_| queue()).collect(),
            phases: Vec::new(),
            places: Vec::new(),
            shares: Vec::new(),
            pins: Vec::new(),
            pinned: vec![0; cpus],
            stranded: BTreeSet::new(),
            idle: topology.cpus(),
            overloaded: CpuSet::EMPTY,
            touched: CpuSet::EMPTY,
            balance_at: None,
        };
        linux.phases = (0..cpus).map(|_| linux.draw() % tick_ns).collect();
        linux
    }

    /// A pseudo-random number: Steele, Lea and Flood's SplitMix.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next_tick(&self, now: Nanos, cpu: CpuId) -> Nanos {
        let phase = self.phases[cpu.index()];
        let since = (now + self.tick_ns - phase) % self.tick_ns;
        now + self.tick_ns - since
    }

    fn place(&self, vcpu: VcpuId) -> Option<Place> {
        self.places.get(vcpu.index()).copied().flatten()
    }

    fn queue_of(&self, vcpu: VcpuId) -> Option<CpuId> {
        match self.place(vcpu)? {
            Place::On(cpu) => Some(cpu),
            Place::Off(..) => None,
        }
    }

    /// A queue has changed.
    fn note(&mut self, cpu: CpuId) {
        let set = |set: &mut CpuSet, member: bool| {
            if member {
                set.insert(cpu);
            } else {
                set.remove(cpu);
            }
        };
        let len = self.queues[cpu.index()].len();
        set(&mut self.idle, len == 0);
        set(&mut self.overloaded, len > 1);
        self.touched.insert(cpu);
    }

    /// Puts a vCPU into a queue. Whoever is there may have to give way to one who `wakes`.
    fn join(&mut self, now: Nanos, vcpu: VcpuId, cpu: CpuId, wakes: bool) {
        let Some(Place::Off(entity, _)) = self.place(vcpu) else {
            unreachable!("{vcpu} is in a queue already");
        };
        let queue = &mut self.queues[cpu.index()];
        queue.join(now, vcpu, entity);
        if queue.current().is_none() || (wakes && queue.preempts(now, vcpu)) {
            queue.pick(now);
        }
        self.places[vcpu.index()] = Some(Place::On(cpu));
        self.note(cpu);
    }

    /// Takes a vCPU out of its queue, if it is in one.
    fn withdraw(&mut self, now: Nanos, vcpu: VcpuId, asleep: bool) {
        self.stranded.remove(&vcpu);
        let Some(cpu) = self.queue_of(vcpu) else {
            return;
        };
        let queue = &mut self.queues[cpu.index()];
        let entity = queue.leave(now, vcpu, asleep);
        if queue.current().is_none() {
            queue.pick(now);
        }
        self.places[vcpu.index()] = Some(Place::Off(entity, Some(cpu)));
        self.note(cpu);
    }

    /// Finds a runnable vCPU a queue.
    fn enqueue(&mut self, now: Nanos, vcpu: VcpuId, view: &View, wakes: bool) {
        let Some(Place::Off(_, last)) = self.place(vcpu) else {
            return;
        };
        let allowed = view.vcpu(vcpu).allowed;
        let cpu = if self.pin {
            self.pin_of(vcpu, view)
        } else {
            match last.filter(|&cpu| allowed.contains(cpu)) {
                Some(cpu) => Some(self.idle_near(cpu, &allowed, view.topology())),
                None => self.least_loaded(&allowed, view.topology()),
            }
        };
        match cpu {
            Some(cpu) => self.join(now, vcpu, cpu, wakes),
            None => drop(self.stranded.insert(vcpu)),
        }
    }
}

/// A vCPU's weight, as Linux counts.
fn share(vcpu: VcpuId, view: &View) -> i64 {
    i64::from(view.weight(vcpu)) * WEIGHT_UNIT / i64::from(crate::vm::WEIGHT_DEFAULT)
}

impl Linux {
    fn arrive(&mut self, now: Nanos, vm: VmId, view: &View, plan: &mut Plan) {
        self.places.resize(view.vcpu_ids(), None);
        self.pins.resize(view.vcpu_ids(), None);
        self.shares.resize(view.vcpu_ids(), 0);
        for vcpu in view.vm(vm).vcpus() {
            self.shares[vcpu.index()] = share(vcpu, view);
            let entity = Entity::new(share(vcpu, view));
            self.places[vcpu.index()] = Some(Place::Off(entity, None));
            if self.pin {
                self.pin_of(vcpu, view);
            }
            if view.vcpu(vcpu).runnable() {
                self.enqueue(now, vcpu, view, true);
            }
        }
        if self.balance_at.is_none() && !self.pin {
            self.balance_at = Some(now + self.balance_ns);
            plan.tick(now + self.balance_ns);
        }
    }

    fn leave(&mut self, now: Nanos, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            let cpu = self.queue_of(vcpu);
            self.withdraw(now, vcpu, true);
            self.places[vcpu.index()] = None;
            self.unpin(vcpu);
            if let Some(cpu) = cpu.filter(|&cpu| self.idle.contains(cpu)) {
                self.pull(now, cpu, view);
            }
        }
    }

    fn halt(&mut self, now: Nanos, vcpu: VcpuId, view: &View) {
        let cpu = self.queue_of(vcpu);
        self.withdraw(now, vcpu, true);
        if let Some(cpu) = cpu.filter(|&cpu| self.idle.contains(cpu)) {
            self.pull(now, cpu, view);
        }
    }

    fn tick(&mut self, now: Nanos, cpu: CpuId, view: &View) {
        let queue = &mut self.queues[cpu.index()];
        if queue.is_served(now) {
            queue.pick(now);
        }
        self.touched.insert(cpu);
        let idle = self.idle & *view.online();
        if self.overloaded.contains(cpu)
            && let Some(idle) = balance::nearest(cpu, &idle, view.topology())
        {
            self.pull(now, idle, view);
        }
    }

    /// Whoever may not be in this queue any more gets another.
    fn evict(&mut self, now: Nanos, cpu: CpuId, view: &View) {
        let queue = &self.queues[cpu.index()];
        let here: Vec<VcpuId> = queue.current().into_iter().chain(queue.waiting()).collect();
        for vcpu in here {
            if !view.vcpu(vcpu).allowed.contains(cpu) {
                self.withdraw(now, vcpu, false);
                self.enqueue(now, vcpu, view, false);
            }
        }
        for vcpu in std::mem::take(&mut self.stranded) {
            self.enqueue(now, vcpu, view, false);
        }
        self.touched.insert(cpu);
    }

    /// Weight or affinity may be others now.
    fn change(&mut self, now: Nanos, vm: VmId, view: &View) {
        for vcpu in view.vm(vm).vcpus() {
            let allowed = view.vcpu(vcpu).allowed;
            let cpu = self.queue_of(vcpu).filter(|&cpu| allowed.contains(cpu));
            let weight = share(vcpu, view);
            let before = std::mem::replace(&mut self.shares[vcpu.index()], weight);
            if cpu.is_some() && weight == before {
                continue;
            }
            self.withdraw(now, vcpu, false);
            if let Some(Place::Off(entity, _)) = &mut self.places[vcpu.index()] {
                entity.weight = weight;
            }
            match cpu {
                Some(cpu) => self.join(now, vcpu, cpu, false),
                None if view.vcpu(vcpu).runnable() => self.enqueue(now, vcpu, view, false),
                None => {}
            }
        }
    }

    /// Makes the plan: what each touched CPU has is what its queue says.
    fn write(&mut self, now: Nanos, view: &View, plan: &mut Plan) {
        let touched = std::mem::replace(&mut self.touched, CpuSet::EMPTY);
        for cpu in (touched & *view.online()).iter() {
            let queue = &self.queues[cpu.index()];
            // One that is forbidden here by now will be moved when that is told.
            let wanted = queue.current();
            let wanted = wanted.filter(|&vcpu| view.vcpu(vcpu).allowed.contains(cpu));
            let turn = view.cpu(cpu).turn;
            let until = (queue.len() > 1).then(|| self.next_tick(now, cpu));
            match (wanted, turn) {
                (Some(vcpu), Some(turn)) if turn.vcpu == vcpu => {
                    let armed = turn.until.is_some_and(|until| until > now);
                    if let Some(until) = until.filter(|_| !armed) {
                        plan.extend(cpu, until);
                    }
                }
                (Some(vcpu), _) => plan
                    .because("the earliest eligible deadline")
                    .run(cpu, vcpu, until),
                (None, Some(_)) => plan.because("nobody waits here or near").idle(cpu),
                (None, None) => {}
            }
        }
    }
}

impl Policy for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn claims(&self) -> Claims {
        Claims::default()
    }

    fn on_event(&mut self, now: Nanos, event: &Event, view: &View, plan: &mut Plan) {
        match *event {
            Event::Arrive { vm } => self.arrive(now, vm, view, plan),
            Event::Leave { vm } => self.leave(now, vm, view),
            Event::Wake { vcpu } => self.enqueue(now, vcpu, view, true),
            Event::Halt { vcpu } => self.halt(now, vcpu, view),
            Event::SliceEnd { cpu } => self.tick(now, cpu, view),
            Event::Offline { cpu } => self.evict(now, cpu, view),
            Event::Idle { cpu } => {
                self.evict(now, cpu, view);
                if self.idle.contains(cpu) {
                    self.pull(now, cpu, view);
                }
            }
            Event::Changed { vm } => self.change(now, vm, view),
            Event::Tick => {
                if self.balance_at.is_some_and(|at| at <= now) {
                    self.balance(now, view);
                    self.balance_at = Some(now + self.balance_ns);
                    plan.tick(now + self.balance_ns);
                }
            }
            Event::LockHint { .. } | Event::Borrowed { .. } => {}
        }
        self.write(now, view, plan);
    }
}

#[cfg(test)]
mod tests;
