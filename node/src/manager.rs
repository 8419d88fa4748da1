//! The thread that holds the engine.
//!
//! It sleeps until the engine's next deadline, its next look at KVM's statistics, or a message.
//! Deadlines are dealt with a little ahead of their time, so that agents have their orders when it
//! comes. What else happens is told to the engine when it is noticed, never with a time before the last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;

use muster_scheduler::engine::Input;
use muster_scheduler::view::LockState;
use muster_scheduler::{Claims, CpuSet, Engine, Event, MS, Nanos, Plan, Policy, US, View, VmId};
use muster_vmm::board::{LEASE_NS_MAX, LockSeen};

use crate::agent::{Reports, Switched};
use crate::clock::Clock;
use crate::end_with_thread::EndWithThread;
use crate::engine_actuator::AgentActuator;
use crate::guest::{Guest, Seen};
use crate::handle::{ReplyTo, Request};
use crate::reception::Newcomer;
use crate::schedule::{HostSchedule, Schedule};
use crate::seat::Seat;

mod coming;
mod requests;
mod threads;

/// How long before a deadline it is dealt with: what a decision, and telling the agents, takes.
const LEAD: Nanos = 300 * US;
/// How often vCPUs are looked at, at most; and how much longer it takes for each of them, so that
/// looking does not become the work.
const LOOK_PERIOD: Nanos = MS;
const LOOK_PERIOD_PER_VCPU: Nanos = 50 * US;
/// How many times as long it takes where no vCPU halts or wakes.
const CALM_MAX: Nanos = 24;
/// How often leases are renewed.
const LEASE_PERIOD: Nanos = LEASE_NS_MAX / 4;
/// How often load is measured.
const LOAD_PERIOD: Nanos = 500 * MS;

/// What reaches the manager.
#[derive(Debug)]
pub(crate) enum Message {
    /// From whoever has a handle.
    Request(Request, ReplyTo),
    /// A VM wants to join.
    Join(Box<Newcomer>, SyncSender<Result<(), String>>),
    /// A VM has gone: its connection.
    Left(u64),
    /// An agent has reported something that cannot wait.
    News,
    /// It is to end.
    End,
}

/// See the module's head.
pub(crate) struct Manager {
    clock: Clock,
    inbox: Receiver<Message>,
    reports: Reports,
    engine: Engine,
    actuator: AgentActuator,
    schedule: Schedule,
    /// The CPUs that VMs may use.
    cpus: CpuSet,
    guests: BTreeMap<VmId, Guest>,
    /// The engine's time.
    last: Nanos,
    next_look: Nanos,
    /// How much longer than necessary nobody is looked at.
    calm: Nanos,
    next_lease: Nanos,
    next_load: Nanos,
}

/// The policy while the host's kernel schedules: it plans nothing.
#[derive(Debug)]
struct Bystander;

impl Policy for Bystander {
    fn name(&self) -> &'static str {
        "host"
    }

    fn claims(&self) -> Claims {
        Claims::default()
    }

    fn on_event(&mut self, _: Nanos, _: &Event, _: &View, _: &mut Plan) {}
}

impl Manager {
    /// A manager of a host without VMs. `cpus` are those of `engine`'s topology that VMs may use.
    pub(crate) fn new(
        clock: Clock,
        (inbox, reports): (Receiver<Message>, Reports),
        topology: muster_scheduler::Topology,
        cpus: CpuSet,
        actuator: AgentActuator,
    ) -> Self {
        let mut manager = Self {
            clock,
            inbox,
            reports,
            engine: Engine::new(topology, Box::new(Bystander)),
            actuator,
            schedule: Schedule::Host(HostSchedule::default()),
            cpus,
            guests: BTreeMap::new(),
            last: 0,
            next_look: 0,
            calm: 1,
            next_lease: 0,
            next_load: 0,
        };
        manager.actuator.is_idle = true;
        let all = manager.engine.view().topology().cpus();
        for cpu in (all - cpus).iter() {
            manager.input(0, Input::Offline(cpu));
        }
        manager
    }

    /// The first schedule.
    pub(crate) fn begin(&mut self, schedule: Schedule) {
        self.set_schedule(schedule);
    }

    /// Works until it is told to end.
    pub(crate) fn work(&mut self) {
        let _guard = EndWithThread;
        loop {
            let wake = self.next_wake();
            let timeout = self
                .clock
                .instant(wake)
                .saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(timeout) {
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.keep_time();
        }
        self.give_back();
    }

    fn next_wake(&self) -> Nanos {
        let deadline = self
            .engine
            .next_deadline()
            .map(|at| at.saturating_sub(LEAD));
        let regular = self.next_look.min(self.next_lease).min(self.next_load);
        deadline.map_or(regular, |deadline| deadline.min(regular))
    }

    fn take(&mut self, message: Message) {
        self.hear_agents();
        match message {
            Message::Request(request, reply_to) => {
                let reply = self.answer(request);
                // Whoever asked may have given up.
                let _ = reply_to.send(reply);
            }
            Message::Join(newcomer, reply_to) => {
                let _ = reply_to.send(self.join(*newcomer));
            }
            Message::Left(connection) => self.leave(connection),
            Message::News | Message::End => {}
        }
    }

    /// Does what is due.
    fn keep_time(&mut self) {
        self.hear_agents();
        let now = self.clock.now();
        while let Some(deadline) = self.engine.next_deadline()
            && deadline <= now + LEAD
        {
            self.input(deadline, Input::Time);
            if let Some(next) = self.engine.next_deadline() {
                self.actuator.expect(next);
            }
        }
        // What is due soon is done while this thread is awake, which costs less than to wake for it.
        let is_due = |at: Nanos, period: Nanos| now + period / 2 >= at;
        if is_due(self.next_lease, LEASE_PERIOD) {
            if now.saturating_sub(self.next_lease) > LEASE_NS_MAX - LEASE_PERIOD {
                // This process was stopped. VMs have taken their threads back meanwhile.
                for seat in self.seats() {
                    seat.forget_binding();
                }
                self.settle_threads();
            }
            self.next_lease = now + LEASE_PERIOD;
            for guest in self.guests.values() {
                threads::renew_lease(guest);
            }
        }
        let vcpus = self.seats().count() as Nanos;
        let look_period = LOOK_PERIOD.max(vcpus * LOOK_PERIOD_PER_VCPU);
        if is_due(self.next_look, look_period * (self.calm - 1)) {
            // Who has just halted or woken will do so again soon. Where nobody does, or the kernel
            // decides, nobody waits for news.
            let has_changed = self.look();
            self.calm = match has_changed && !self.actuator.is_idle {
                true => 1,
                false => (self.calm * 2).min(CALM_MAX),
            };
            self.next_look = now + look_period * self.calm;
        }
        if is_due(self.next_load, LOAD_PERIOD / 8) {
            self.next_load = now + LOAD_PERIOD;
            for guest in self.guests.values_mut() {
                guest.measure(now);
            }
        }
    }

    /// Tells the engine.
    fn input(&mut self, at: Nanos, input: Input) {
        self.last = self.last.max(at);
        let handled = self.engine.handle(self.last, input, &mut self.actuator);
        if let Err(error) = handled {
            self.actuator.records.illegal_plans += 1;
            tracing::warn!(%error, "the engine refuses");
        }
    }

    fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.actuator.seats.iter().flatten()
    }

    /// Looks which vCPUs wait for interrupts, and whether all of them do what they should. Tells
    /// whether one has halted or woken.
    fn look(&mut self) -> bool {
        let now = self.clock.now();
        let mut inputs = Vec::new();
        for vcpu in self.guests.values_mut().flat_map(|guest| &mut guest.vcpus) {
            let seen = vcpu.look(now);
            let seat = &vcpu.seat;
            match (seen, seat.is_halted()) {
                (Seen::Waits, false) => {
                    self.actuator.set_halted(seat, true);
                    inputs.push(Input::Halt(seat.id));
                }
                (Seen::Active, true) => {
                    self.actuator.set_halted(seat, false);
                    inputs.push(Input::Wake(seat.id));
                }
                _ => {}
            }
        }
        let has_changed = !inputs.is_empty();
        if self.engine.policy().wants_lock_hints() {
            self.look_at_locks(&mut inputs);
        }
        for input in inputs {
            self.input(now, input);
        }
        self.mend();
        has_changed
    }

    /// Which vCPUs on CPUs hold locks or wait for them, as their guests say.
    fn look_at_locks(&self, inputs: &mut Vec<Input>) {
        for seat in self.seats().filter(|seat| seat.cpu().is_some()) {
            let vcpu = seat.id;
            let known = self.engine.view().vcpu(vcpu).lock;
            let state = match (seat.board().lock_told(seat.index), known) {
                (LockSeen::Free, LockState::Free)
                | (LockSeen::Waiting, LockState::Waiting)
                | (LockSeen::Holding, LockState::Holding { .. }) => continue,
                (seen, _) => self.lock_state(seen),
            };
            inputs.push(Input::Lock { vcpu, state });
        }
    }

    fn lock_state(&self, seen: LockSeen) -> LockState {
        match seen {
            LockSeen::Free => LockState::Free,
            LockSeen::Waiting => LockState::Waiting,
            LockSeen::Holding => LockState::Holding { since: self.last },
        }
    }

    /// Hears what agents have reported, in its order and with its times.
    fn hear_agents(&mut self) {
        let mut reports = self.reports.lock().expect("no holder panics");
        let news = std::mem::take(&mut *reports);
        drop(reports);
        for switched in news {
            self.switched(switched);
        }
    }

    fn switched(&mut self, switched: Switched) {
        let now = switched.at;
        let is_here = |seat: &Arc<Seat>| {
            let known = self.actuator.seat(seat.id.index());
            known.is_some_and(|known| Arc::ptr_eq(known, seat))
        };
        let occupant = switched.occupant.filter(is_here);
        let left = switched.left.filter(|(seat, ..)| is_here(seat));
        let mut grace_used_ns = 0;
        if let Some((seat, grace, lock)) = left {
            grace_used_ns = grace;
            if self.engine.policy().wants_lock_hints() {
                let state = self.lock_state(lock);
                self.input(
                    now,
                    Input::Lock {
                        vcpu: seat.id,
                        state,
                    },
                );
            }
        }
        let cpu = switched.cpu;
        self.input(
            now,
            Input::Switched {
                cpu,
                occupant: occupant.as_ref().map(|seat| seat.id),
                grace_used_ns,
            },
        );
        let records = &mut self.actuator.records;
        records.late_stops += u64::from(switched.late);
        if let Some(times) = switched.times {
            let name = occupant.as_ref().map(|seat| seat.name.clone());
            records.switch(cpu, name, switched.level, times);
            if switched.late && occupant.is_none() {
                self.actuator.insist(cpu.index(), self.clock.now());
            }
        }
    }
}
