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
use std::{io, thread};

use muster_scheduler::{CpuId, Level, Nanos};
use muster_vmm::board::{LockSeen, now_ns};
use muster_vmm::thread_schedule::{Class, set_affinity, set_class};

use crate::clock::Clock;
use crate::enforcement::{Enforcement, PULSE_PRIORITY, Permits};
use crate::manager::Message;
use crate::seat::Seat;

/// How long a vCPU that has to go is waited for, beyond its grace.
const STOP_TIMEOUT_NS: u64 = 5_000_000;
/// How long a vCPU that is still somewhere else is waited for.
const TAKE_TIMEOUT_NS: u64 = 10_000_000;

/// What an agent is to do.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// When, by the node manager's clock.
    pub at: Nanos,
    /// Who gets the CPU.
    pub next: Option<(Arc<Seat>, Level)>,
    /// How long who has it may stay for a lock.
    pub grace_ns: Nanos,
    pub enforcement: Enforcement,
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
    /// It did not stop in time.
    pub late: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    order: Option<Order>,
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
    /// Starts the agent of `cpu`, which reports to `sender`.
    pub(crate) fn start(
        cpu: CpuId,
        clock: Clock,
        permits: Permits,
        sender: Sender<Message>,
    ) -> io::Result<Self> {
        let shared = Shared::default();
        let mut worker = Worker {
            cpu,
            clock,
            shared: shared.clone(),
            sender,
            current: None,
        };
        let thread = thread::Builder::new()
            .name(format!("agent{}", cpu.0))
            .spawn(move || {
                if let Err(error) = set_affinity(0, &[cpu.index()]) {
                    tracing::warn!(%error, "an agent cannot stay on {cpu}");
                }
                if let Err(error) = set_class(0, permits.agent_class()) {
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
        lock(&self.shared).order = Some(order);
        self.shared.1.notify_one();
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
    sender: Sender<Message>,
    /// Who has this CPU.
    current: Option<Arc<Seat>>,
}

impl Worker {
    fn work(&mut self) {
        while let Some(order) = self.next_order() {
            self.carry_out(&order);
        }
        self.give_up();
    }

    /// Waits for an order and its time.
    fn next_order(&self) -> Option<Order> {
        let mut mailbox = lock(&self.shared);
        let mut prepared = false;
        loop {
            if mailbox.ends {
                return None;
            }
            let Some(order) = &mailbox.order else {
                mailbox = self.shared.1.wait(mailbox).expect("no holder panics");
                prepared = false;
                continue;
            };
            let at = order.at;
            if self.clock.now() >= at {
                return mailbox.order.take();
            }
            if !prepared {
                prepared = true;
                let order = order.clone();
                drop(mailbox);
                self.prepare(&order);
                mailbox = lock(&self.shared);
                continue;
            }
            let wait = self
                .clock
                .instant(at)
                .saturating_duration_since(std::time::Instant::now());
            let before = mailbox.order.as_ref().map(|order| order.at);
            mailbox = self
                .shared
                .1
                .wait_timeout(mailbox, wait)
                .expect("no holder panics")
                .0;
            prepared = mailbox.order.as_ref().map(|order| order.at) == before;
        }
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
            // The engine may not know yet, or its level may be new.
            self.report(order, false);
            return;
        }
        let late = match order.enforcement {
            Enforcement::Gate => self.pass_by_gate(order),
            Enforcement::Pulse => self.pass_by_pulse(order),
            Enforcement::Affinity => self.pass_by_affinity(order),
        };
        self.report(order, late);
    }

    /// Stops who is here, then lets the next one go. Tells whether somebody was late; so do the others.
    fn pass_by_gate(&mut self, order: &Order) -> bool {
        let mut late = false;
        if let Some(current) = self.current.take() {
            let mut left = None;
            // A halted vCPU keeps its gate open, or nobody would notice that it is woken.
            if !current.is_halted() && !current.is_gone() {
                let want = current.close(order.grace_ns);
                let deadline = now_ns() + order.grace_ns + STOP_TIMEOUT_NS;
                late = !current.wait_obeyed(want, deadline);
                let (grace, lock) = current.last_stop();
                count_stop(&current, lock);
                left = Some((current.clone(), grace.min(order.grace_ns), lock));
            }
            self.vacate(&current, left);
        }
        if let Some((next, _)) = &order.next {
            late |= !self.take(next);
        }
        if let Some(next) = &self.current {
            next.bind(self.cpu);
            next.open();
        }
        late
    }

    /// The next one preempts who is here, then gets its usual class.
    fn pass_by_pulse(&mut self, order: &Order) -> bool {
        if let Some(current) = self.current.take() {
            // It goes on until the next one preempts it: this alone is not looked at before a tick.
            class(&current, Class::Idle);
            let lock = current.board().lock_told(current.index);
            count_stop(&current, lock);
            self.vacate(&current, Some((current.clone(), 0, lock)));
        }
        let late = order
            .next
            .as_ref()
            .is_some_and(|(next, _)| !self.take(next));
        if let Some(next) = &self.current {
            next.bind(self.cpu);
            class(
                next,
                Class::Fifo {
                    priority: PULSE_PRIORITY,
                },
            );
            next.open();
            class(
                next,
                Class::Fair {
                    nice: 0,
                    slice_ns: 0,
                },
            );
        }
        late
    }

    /// The next one comes here; the kernel sees to the rest.
    fn pass_by_affinity(&mut self, order: &Order) -> bool {
        if let Some(current) = self.current.take() {
            self.vacate(&current, None);
        }
        let late = order
            .next
            .as_ref()
            .is_some_and(|(next, _)| !self.take(next));
        if let Some(next) = &self.current {
            next.bind(self.cpu);
            next.open();
        }
        late
    }

    /// A vCPU is off this CPU: others may have it, once the manager has been told.
    fn vacate(&self, seat: &Arc<Seat>, left: Option<Left>) {
        self.send(Switched {
            cpu: self.cpu,
            occupant: None,
            level: None,
            left,
            times: None,
            late: false,
        });
        seat.release();
    }

    /// Waits until nobody else has a vCPU.
    fn take(&mut self, next: &Arc<Seat>) -> bool {
        let deadline = now_ns() + TAKE_TIMEOUT_NS;
        let taken = next.take(self.cpu, deadline);
        if taken {
            self.current = Some(next.clone());
        }
        taken
    }

    fn report(&self, order: &Order, late: bool) {
        let level = order.next.as_ref().map(|&(_, level)| level);
        self.send(Switched {
            cpu: self.cpu,
            occupant: self.current.clone(),
            level: level.filter(|_| self.current.is_some()),
            left: None,
            times: Some((order.at, self.clock.now())),
            late,
        });
    }

    fn send(&self, switched: Switched) {
        // Without a receiver the node manager is ending.
        let _ = self.sender.send(Message::Switched(switched));
    }

    fn give_up(&mut self) {
        if let Some(current) = self.current.take() {
            self.vacate(&current, None);
        }
    }
}

type Left = (Arc<Seat>, Nanos, LockSeen);

fn count_stop(seat: &Seat, lock: LockSeen) {
    seat.preemptions.fetch_add(1, Ordering::Relaxed);
    if lock == LockSeen::Holding {
        seat.holder_preemptions.fetch_add(1, Ordering::Relaxed);
    }
}

fn class(seat: &Seat, class: Class) {
    if let Err(error) = set_class(seat.tid(), class)
        && error.raw_os_error() != Some(libc::ESRCH)
    {
        tracing::debug!(vcpu = seat.name, %error, "cannot set a vCPU's class");
    }
}
