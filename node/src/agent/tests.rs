use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::testing::fake_vcpu::{FakeVcpu, until};

const MS: Nanos = 1_000_000;

/// An agent without a manager.
struct Desk {
    agent: Option<Agent>,
    clock: Clock,
    reports: Reports,
    urgent: Receiver<Message>,
}

impl Desk {
    fn new(cpu: u16) -> Self {
        let clock = Clock::start();
        let reports = Reports::default();
        let (sender, urgent) = channel();
        // Of the usual class, so that tests need no leave and disturb nobody.
        let permits = Permits {
            real_time: false,
            nice: false,
            nice_counts: true,
        };
        let agent = Agent::start(CpuId(cpu), clock, permits, reports.clone(), sender);
        Self {
            agent: Some(agent.unwrap()),
            clock,
            reports,
            urgent,
        }
    }

    /// Orders a switch for `delay` from now.
    fn order(&self, delay: Nanos, next: Option<&FakeVcpu>) -> Nanos {
        let at = self.clock.now() + delay;
        self.agent.as_ref().unwrap().order(Order {
            at,
            next: next.map(|vcpu| (vcpu.seat.clone(), Level::Slot)),
            grace_ns: 0,
            may_pulse: false,
            let_go: false,
        });
        at
    }

    /// What it reports next.
    fn next(&self) -> Switched {
        until("it reports", || !self.reports.lock().unwrap().is_empty());
        self.reports.lock().unwrap().remove(0)
    }
}

fn has(switched: &Switched, vcpu: &FakeVcpu) -> bool {
    let occupant = switched.occupant.as_ref();
    occupant.is_some_and(|seat| Arc::ptr_eq(seat, &vcpu.seat))
}

#[test]
fn a_cpu_is_handed_over_at_its_time() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    other.seat.close(0);
    desk.order(0, Some(&one));
    let began = desk.next();
    assert!(has(&began, &one) && began.left.is_none() && !began.late);
    assert_eq!(one.seat.cpu(), Some(CpuId(0)));

    let entries = other.entries();
    let at = desk.order(20 * MS, Some(&other));
    let switched = desk.next();
    assert!(has(&switched, &other) && !switched.late, "{switched:?}");
    assert_eq!(switched.level, Some(Level::Slot));
    let (planned, done) = switched.times.unwrap();
    assert_eq!(planned, at);
    assert!(done + OVERSLEEP_NS_MAX >= at, "{} ns too early", at - done);
    let (left, _, lock) = switched.left.unwrap();
    assert!(Arc::ptr_eq(&left, &one.seat) && lock == LockSeen::Free);
    assert!(one.seat.is_parked() && one.seat.cpu().is_none());
    assert_eq!(one.seat.preemptions.load(Ordering::Relaxed), 1);
    until("the other runs", || other.entries() > entries);
    assert!(desk.urgent.try_recv().is_err(), "nothing was urgent");

    // Whoever has the CPU already is left alone.
    desk.order(0, Some(&other));
    let same = desk.next();
    assert!(has(&same, &other) && same.left.is_none());
    assert!(!other.seat.is_closed());
}

#[test]
fn who_does_not_stop_holds_nobody_up_and_is_told_at_once() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    desk.order(0, Some(&one));
    desk.next();
    one.set_deaf(true);
    desk.order(0, Some(&other));
    let switched = desk.next();
    assert!(switched.late && has(&switched, &other));
    let told = desk.urgent.recv_timeout(Duration::from_secs(5));
    assert!(matches!(told, Ok(Message::News)));
    assert!(one.seat.is_closed(), "it stops when it can");
}

#[test]
fn who_held_a_lock_is_told_at_once() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    desk.order(0, Some(&one));
    desk.next();
    one.cell()
        .lock
        .store(LockSeen::Holding as u32, Ordering::SeqCst);
    desk.order(0, Some(&other));
    assert_eq!(desk.next().left.unwrap().2, LockSeen::Holding);
    assert_eq!(one.seat.holder_preemptions.load(Ordering::Relaxed), 1);
    let told = desk.urgent.recv_timeout(Duration::from_secs(5));
    assert!(matches!(told, Ok(Message::News)));
}

#[test]
fn the_last_order_counts() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    desk.order(50 * MS, Some(&one));
    // It sleeps for the first one by now.
    thread::sleep(Duration::from_millis(10));
    let at = desk.order(45 * MS, Some(&other));
    let switched = desk.next();
    assert!(has(&switched, &other), "{switched:?}");
    assert_eq!(switched.times.unwrap().0, at);
    assert!(one.seat.cpu().is_none());
}

#[test]
fn an_expected_order_finds_the_agent_awake() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    let agent = desk.agent.as_ref().unwrap();
    let wakes_at = || lock(&agent.shared).wakes_at;
    let at = desk.clock.now() + 100 * MS;
    agent.expect(at);
    desk.order(0, Some(&one));
    desk.next();
    until("it sleeps until then", || wakes_at().is_some());
    assert!(wakes_at().unwrap() <= at);
    // It is not woken for this, and yet in time.
    desk.order(at - desk.clock.now(), Some(&other));
    assert!(wakes_at().is_some(), "it sleeps on");
    let switched = desk.next();
    assert!(has(&switched, &other) && !switched.late);
    let (planned, done) = switched.times.unwrap();
    assert!(done + OVERSLEEP_NS_MAX >= planned, "too early");

    // What comes before the expected time wakes it.
    agent.expect(desk.clock.now() + 60_000 * MS);
    desk.order(0, Some(&one));
    desk.next();
    until("it sleeps for a minute", || wakes_at().is_some());
    desk.order(0, Some(&other));
    assert!(has(&desk.next(), &other));

    // It has looked in vain: who comes then wakes it as ever.
    agent.expect(desk.clock.now() + 20 * MS);
    desk.order(0, Some(&one));
    desk.next();
    until("it has looked", || {
        wakes_at().is_none() && lock(&agent.shared).expected.is_none()
    });
    thread::sleep(Duration::from_millis(25));
    desk.order(0, Some(&other));
    assert!(has(&desk.next(), &other));
}

#[test]
fn two_agents_change_places() {
    let (here, there) = (Desk::new(0), Desk::new(1));
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    here.order(0, Some(&one));
    here.next();
    there.order(0, Some(&other));
    there.next();
    here.order(0, Some(&other));
    there.order(0, Some(&one));
    // Either may have to give up what it has before it gets the other.
    until("they have changed places", || {
        other.seat.cpu() == Some(CpuId(0)) && one.seat.cpu() == Some(CpuId(1))
    });
    until("nobody is held", || {
        !one.seat.is_parked() && !other.seat.is_parked()
    });
}

#[test]
fn who_waits_for_interrupts_is_not_stopped() {
    let desk = Desk::new(0);
    let (one, other) = (FakeVcpu::start(0), FakeVcpu::start(1));
    desk.order(0, Some(&one));
    desk.next();
    one.seat.set_halted(true);
    desk.order(0, Some(&other));
    let switched = desk.next();
    assert!(has(&switched, &other) && switched.left.is_none());
    assert!(!one.seat.is_closed());
}

#[test]
fn an_agent_that_ends_lets_its_vcpu_go() {
    let mut desk = Desk::new(0);
    let one = FakeVcpu::start(0);
    desk.order(0, Some(&one));
    desk.next();
    drop(desk.agent.take());
    assert!(desk.next().occupant.is_none());
    assert!(one.seat.cpu().is_none() && !one.seat.is_closed());
}
