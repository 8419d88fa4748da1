//! One agent per CPU: it lets vCPUs on and off its CPU, at the time for which that was planned.
//!
//! Problem: to switch all CPUs of a gang one after the other takes as long as all switches together,
//! and vCPUs that are already on wait for those that are not yet.
//!
//! Approach: the manager plans a little ahead and tells every agent for when. Each sleeps until that
//! moment, on its own CPU and ahead of everything else there, and does its own switch: the vCPU that
//! goes is stopped and has said so before the next one's gate opens. What takes time and disturbs
//! nobody, such as binding a parked vCPU to this CPU, is done before.
//!
//! Order: an agent gives up the vCPU that it has before it waits for the one that it is to have. So
//! agents never wait for each other in a circle.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use muster_scheduler::{CpuId, Level, Nanos};
use muster_vmm::board::{LockSeen, now_ns};
use muster_vmm::thread_schedule::{Class, set_affinity, set_class};

use crate::clock::Clock;
use crate::end_with_thread::EndWithThread;
use crate::enforcement::{Enforcement, PULSE, Permits, USUAL, punctual};
use crate::manager::Message;
use crate::seat::Seat;

/// How long a vCPU that has to go is waited for, beyond its grace.
const STOP_TIMEOUT_NS: u64 = 5_000_000;
/// How long a vCPU that is still somewhere else is waited for.
const TAKE_TIMEOUT_NS: u64 = 10_000_000;

/// The most by which a timer is set early.
const OVERSLEEP_NS_MAX: Nanos = 60_000;

/// What an agent is to do.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// When, by the node manager's clock.
    pub at: Nanos,
    /// Who gets the CPU.
    pub next: Option<(Arc<Seat>, Level)>,
    /// How long who has it may stay for a lock.
    pub grace_ns: Nanos,
    /// vCPUs may have a real-time class for a moment.
    pub may_pulse: bool,
    /// Leave whoever has the CPU as it is: the host's kernel schedules from now on.
    pub let_go: bool,
}

/// What has happened on a CPU.
#[derive(Debug)]
pub(crate) struct Switched {
    pub cpu: CpuId,
    /// Who is on it now.
    pub occupant: Option<Arc<Seat>>,
    pub level: Option<Level>,
    /// Who was stopped for it, how much grace it used, and what it was about.
    pub left: Option<(Arc<Seat>, Nanos, LockSeen)>,
    /// For when it was planned, and when it was done. A CPU that is only given up for the moment has
    /// no such time.
    pub times: Option<(Nanos, Nanos)>,
    /// When this was reported.
    pub at: Nanos,
    /// It did not stop in time.
    pub late: bool,
}

/// What agents have reported and the manager has not heard yet, in order. It listens whenever it wakes
/// for something else; only what cannot wait wakes it.
pub(crate) type Reports = Arc<Mutex<Vec<Switched>>>;

#[derive(Debug, Default)]
struct Mailbox {
    order: Option<Order>,
    /// For when the next order is likely to be.
    expected: Option<Nanos>,
    /// The agent sleeps, and wakes by itself then: what is to be done later need not wake it.
    wakes_at: Option<Nanos>,
    ends: bool,
}

type Shared = Arc<(Mutex<Mailbox>, Condvar)>;

/// The manager's side of an agent.
#[derive(Debug)]
pub(crate) struct Agent {
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts the agent of `cpu`, which leaves what it reports in `reports`, and tells `sender` if that is
    /// urgent.
    pub(crate) fn start(
        cpu: CpuId,
        clock: Clock,
        permits: Permits,
        reports: Reports,
        sender: Sender<Message>,
    ) -> io::Result<Self> {
        let shared = Shared::default();
        let mut worker = Worker {
            cpu,
            clock,
            shared: shared.clone(),
            reports,
            sender,
            current: None,
            oversleep_ns: 0,
        };
        let thread = thread::Builder::new()
            .name(format!("agent{}", cpu.0))
            .spawn(move || {
                if let Err(error) = set_affinity(0, &[cpu.index()]) {
                    tracing::warn!(%error, "an agent cannot stay on {cpu}");
                }
                if let Err(error) = punctual(permits.agent_class()) {
                    tracing::warn!(%error, "an agent has to wait like everybody");
                }
                worker.work();
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Tells it what to do. What it was told before and has not begun is forgotten.
    pub(crate) fn order(&self, order: Order) {
        let mut mailbox = lock(&self.shared);
        let wakes_in_time = mailbox.wakes_at.is_some_and(|at| at <= order.at);
        mailbox.order = Some(order);
        drop(mailbox);
        if !wakes_in_time {
            self.shared.1.notify_one();
        }
    }

    /// Tells it for when its next order is likely to be. It then looks for it by itself, so that it wakes
    /// once for a switch and not twice.
    pub(crate) fn expect(&self, at: Nanos) {
        lock(&self.shared).expected = Some(at);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        lock(&self.shared).ends = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Mailbox> {
    shared.0.lock().expect("no holder panics")
}

/// The agent's own side.
struct Worker {
    cpu: CpuId,
    clock: Clock,
    shared: Shared,
    reports: Reports,
    sender: Sender<Message>,
    /// Who has this CPU.
    current: Option<Arc<Seat>>,
    /// How late this thread usually wakes from sleep.
    oversleep_ns: Nanos,
}

impl Worker {
    fn work(&mut self) {
        let _guard = EndWithThread;
        while let Some(order) = self.next_order() {
            self.carry_out(&order);
        }
        self.give_up();
    }

    /// Waits for an order and its time.
    fn next_order(&mut self) -> Option<Order> {
        let mut order = self.hear()?;
        let mut early = order.at.saturating_sub(self.oversleep_ns);
        while self.clock.now() < early {
            self.prepare(&order);
            self.clock.sleep_until(early);
            self.learn(self.clock.now().saturating_sub(early));
            // What has been ordered meanwhile is what is wanted now.
            let newer = lock(&self.shared).order.take();
            order = newer.unwrap_or(order);
            early = order.at.saturating_sub(self.oversleep_ns);
        }
        Some(order)
    }

    /// Waits for an order; `None` if it is to end.
    fn hear(&mut self) -> Option<Order> {
        let shared = self.shared.clone();
        let news = &shared.1;
        let idle = |mailbox: &mut Mailbox| mailbox.order.is_none() && !mailbox.ends;
        let mut guard = lock(&shared);
        while idle(&mut guard) {
            let wake = guard
                .expected
                .take()
                .map(|at| at.saturating_sub(self.oversleep_ns));
            let Some(wake) = wake.filter(|&wake| wake > self.clock.now()) else {
                guard = news.wait_while(guard, idle).expect("no holder panics");
                continue;
            };
            guard.wakes_at = Some(wake);
            let length = Duration::from_nanos(wake - self.clock.now().min(wake));
            let waited = news.wait_timeout(guard, length).expect("no holder panics");
            guard = waited.0;
            guard.wakes_at = None;
            if waited.1.timed_out() {
                self.learn(self.clock.now().saturating_sub(wake));
            }
        }
        guard.order.take().filter(|_| !guard.ends)
    }

    /// Timers wake late, always by about the same. Next time this one is set so much earlier.
    fn learn(&mut self, late_ns: Nanos) {
        let late_ns = late_ns.min(OVERSLEEP_NS_MAX);
        self.oversleep_ns = (self.oversleep_ns * 7 + late_ns) / 8;
    }

    /// What can be done before the time, because it disturbs nobody.
    fn prepare(&self, order: &Order) {
        if let Some((next, _)) = &order.next
            && next.cpu().is_none()
            && next.is_parked()
        {
            next.bind(self.cpu);
        }
    }

    fn carry_out(&mut self, order: &Order) {
        if order.let_go {
            self.give_up();
            return;
        }
        let stays = match (&self.current, &order.next) {
            (Some(current), Some((next, _))) => Arc::ptr_eq(current, next),
            (None, None) => true,
            _ => false,
        };
        if stays {
            if let Some(current) = &self.current {
                current.bind(self.cpu);
            }
            // The engine may not know yet, or its level may be new.
            let times = (order.at, self.clock.now());
            self.report(order.next.as_ref(), None, false, Some(times));
            return;
        }
        let leaving = self.current.take();
        let stopped = leaving.as_ref().filter(|seat| seat.can_be_stopped());
        let (mut left, mut late) = match stopped {
            Some(seat) => stop(seat, order),
            None => (None, false),
        };
        let next = order.next.as_ref().map(|(next, _)| next);
        // Usually nobody else has the next one: it is let go before anything is told.
        self.try_start(next, now_ns());
        if next.is_some() && self.current.is_none() {
            // Somebody has it still, and may itself wait for who has left here.
            if let Some(leaving) = &leaving {
                self.report(None, left.take(), late, None);
                leaving.release_from(self.cpu);
            }
            self.try_start(next, now_ns() + TAKE_TIMEOUT_NS);
            late |= self.current.is_none();
        }
        // Nobody else can have who has left before this is told.
        let times = (order.at, self.clock.now());
        self.report(order.next.as_ref(), left, late, Some(times));
        if let Some(leaving) = leaving {
            leaving.release_from(self.cpu);
        }
    }

    /// Lets the next one go here, once nobody else has it, until `deadline_ns` at most.
    fn try_start(&mut self, next: Option<&Arc<Seat>>, deadline_ns: u64) {
        if let Some(next) = next.filter(|next| next.take(self.cpu, deadline_ns)) {
            start(next, self.cpu);
            self.current = Some(next.clone());
        }
    }

    fn report(
        &self,
        next: Option<&(Arc<Seat>, Level)>,
        left: Option<Left>,
        late: bool,
        times: Option<(Nanos, Nanos)>,
    ) {
        let level = next.map(|&(_, level)| level);
        self.send(Switched {
            cpu: self.cpu,
            occupant: self.current.clone(),
            level: level.filter(|_| self.current.is_some()),
            left,
            times,
            at: self.clock.now(),
            late,
        });
    }

    fn send(&self, switched: Switched) {
        let held = |left: &Left| left.2 == LockSeen::Holding;
        let is_urgent = switched.late || switched.left.as_ref().is_some_and(held);
        self.reports
            .lock()
            .expect("no holder panics")
            .push(switched);
        if is_urgent {
            // Without a receiver the node manager is ending.
            let _ = self.sender.send(Message::News);
        }
    }

    fn give_up(&mut self) {
        if let Some(current) = self.current.take() {
            self.report(None, None, false, None);
            current.release_from(self.cpu);
        }
    }
}

/// Takes a vCPU off its CPU. Tells what it was about, and whether it was late.
fn stop(seat: &Arc<Seat>, order: &Order) -> (Option<Left>, bool) {
    let mut late = false;
    let (grace_ns, lock) = match seat.enforcement {
        Enforcement::Gate => {
            // To stop it needs the CPU, for which other programs may be waiting.
            if order.may_pulse {
                class(seat, PULSE);
            }
            let want = seat.close(order.grace_ns);
            let deadline = now_ns() + order.grace_ns + STOP_TIMEOUT_NS;
            late = !seat.wait_obeyed(want, deadline);
            if order.may_pulse {
                class(seat, USUAL);
            }
            let (grace_ns, lock) = seat.last_stop();
            (grace_ns.min(order.grace_ns), lock)
        }
        Enforcement::Pulse => {
            // It goes on until the next one preempts it: this alone is not looked at before a tick.
            class(seat, Class::Idle);
            (0, seat.board().lock_told(seat.index))
        }
        // The kernel decides when it goes.
        Enforcement::Affinity => return (None, false),
    };
    seat.preemptions.fetch_add(1, Ordering::Relaxed);
    if lock == LockSeen::Holding {
        seat.holder_preemptions.fetch_add(1, Ordering::Relaxed);
    }
    (Some((seat.clone(), grace_ns, lock)), late)
}

/// Lets a vCPU go on `cpu`.
fn start(seat: &Seat, cpu: CpuId) {
    seat.bind(cpu);
    if seat.enforcement == Enforcement::Pulse {
        class(seat, PULSE);
        seat.open();
        class(seat, USUAL);
    } else {
        seat.open();
    }
}

type Left = (Arc<Seat>, Nanos, LockSeen);

fn class(seat: &Seat, class: Class) {
    if let Err(error) = set_class(seat.tid(), class)
        && error.raw_os_error() != Some(libc::ESRCH)
    {
        tracing::debug!(vcpu = seat.name, %error, "cannot set a vCPU's class");
    }
}

#[cfg(test)]
mod tests;
