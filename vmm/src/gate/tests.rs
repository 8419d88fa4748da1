use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Instant;

use vmm_sys_util::signal::Killable;

use super::*;
use crate::board::LEASE_NS_MAX;
use crate::kick;

/// A thread that passes the gate of vCPU 0 over and over, as a vCPU's does, until `stop`.
struct Runner {
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    passes: Arc<AtomicU64>,
    /// Whoever looks sees a lock.
    holds: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Runner {
    fn start() -> Self {
        kick::install_handler().unwrap();
        let board = Arc::new(Board::create(1).unwrap());
        let (stop, passes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (on_board, stopped, passed) = (board.clone(), stop.clone(), passes.clone());
        let holds = Arc::<AtomicBool>::default();
        let seen = holds.clone();
        let thread = thread::spawn(move || {
            let page = Arc::new(crate::kvm::RunPage::blank().unwrap());
            let listening = Listening::start(page).unwrap();
            let mut gate = Gate::new(on_board, 0);
            while !stopped.load(Ordering::SeqCst) {
                listening.clear();
                let look = || match seen.load(Ordering::SeqCst) {
                    true => LockSeen::Holding,
                    false => LockSeen::Free,
                };
                gate.pass(&listening, &stopped, look);
                passed.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        let runner = Self {
            board,
            stop,
            passes,
            holds,
            thread: Some(thread),
        };
        runner.until("the thread runs", |runner| runner.passes() > 0);
        runner
    }

    fn cell(&self) -> &VcpuCell {
        self.board.cell(0)
    }

    fn passes(&self) -> u64 {
        self.passes.load(Ordering::SeqCst)
    }

    fn lease(&self) {
        self.board.renew_lease(now_ns(), LEASE_NS_MAX);
    }

    fn wish(&self, want: u32) {
        self.cell().want.store(want, Ordering::SeqCst);
        let _ = futex::wake(&self.cell().want, futex::Flags::empty(), u32::MAX);
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.cell());
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn is_parked(&self) -> bool {
        self.cell().place.load(Ordering::SeqCst) == Place::Parked as u32
    }

    fn acked(&self) -> u32 {
        self.cell().ack.load(Ordering::SeqCst)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().unwrap();
        while !thread.is_finished() {
            let _ = thread.kill(kick::signal());
            thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap();
        let place = self.cell().place.load(Ordering::SeqCst);
        assert!(thread::panicking() || place == Place::Ended as u32);
    }
}

#[test]
fn a_closed_gate_holds_within_its_lease_and_opens_when_told() {
    let runner = Runner::start();
    runner.lease();
    runner.wish(1);
    runner.until("it parks", |runner| {
        runner.is_parked() && runner.acked() == 1
    });
    let passes = runner.passes();
    runner.lease();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(runner.passes(), passes, "it went on");
    assert!(runner.cell().parked_until(now_ns()) >= 20_000_000);
    runner.wish(2);
    runner.until("it goes on", |runner| runner.passes() > passes);
    assert_eq!(runner.acked(), 2);
    let parked = runner.cell().parked_ns.load(Ordering::SeqCst);
    assert!(parked >= 20_000_000, "parked for {parked} ns");
}

#[test]
fn without_a_lease_no_gate_holds() {
    let runner = Runner::start();
    let passes = runner.passes();
    runner.wish(1);
    runner.until("it goes on", |runner| runner.passes() > passes + 10);
}

#[test]
fn a_lease_that_is_not_renewed_opens_the_gate() {
    let runner = Runner::start();
    // Longer than is allowed.
    runner.board.renew_lease(now_ns(), 60_000_000_000);
    let began = Instant::now();
    runner.board.renew_lease(now_ns(), 100_000_000);
    runner.wish(1);
    runner.until("it parks", Runner::is_parked);
    let passes = runner.passes();
    runner.until("it goes on", |runner| runner.passes() > passes + 1);
    assert!(began.elapsed() >= Duration::from_millis(100), "too early");
}

#[test]
fn a_machine_that_stops_waits_for_no_gate() {
    let runner = Runner::start();
    runner.board.renew_lease(now_ns(), LEASE_NS_MAX);
    runner.wish(1);
    runner.until("it parks", Runner::is_parked);
    let stopped = Instant::now();
    drop(runner);
    assert!(stopped.elapsed() < Duration::from_nanos(LEASE_NS_MAX) / 2);
}

#[test]
fn a_lock_holder_gets_its_grace_and_no_more() {
    let runner = Runner::start();
    runner.lease();
    runner.board.record(0).lock_depth.store(1, Ordering::SeqCst);
    runner.cell().grace_ns.store(300_000, Ordering::SeqCst);
    runner.wish(1);
    runner.until("it parks", Runner::is_parked);
    let used = runner.cell().grace_used_ns.load(Ordering::SeqCst);
    assert!(used >= 300_000, "used {used} ns");
    assert_eq!(LockSeen::of(runner.cell()), LockSeen::Holding);

    runner.board.record(0).lock_depth.store(0, Ordering::SeqCst);
    runner.lease();
    runner.wish(3);
    runner.until("it obeys", |runner| runner.acked() == 3);
    assert_eq!(runner.cell().grace_used_ns.load(Ordering::SeqCst), 0);
    assert_eq!(LockSeen::of(runner.cell()), LockSeen::Free);
}

#[test]
fn a_lock_that_the_guest_does_not_tell_of_counts_as_well() {
    let runner = Runner::start();
    runner.lease();
    runner.holds.store(true, Ordering::SeqCst);
    // More than anybody gets.
    runner.cell().grace_ns.store(u32::MAX, Ordering::SeqCst);
    runner.wish(1);
    runner.until("it parks", Runner::is_parked);
    let used = runner.cell().grace_used_ns.load(Ordering::SeqCst);
    assert!(u64::from(used) >= GRACE_NS_MAX, "used {used} ns");
    assert_eq!(LockSeen::of(runner.cell()), LockSeen::Holding);

    runner.holds.store(false, Ordering::SeqCst);
    runner.lease();
    runner.wish(3);
    runner.until("it obeys", |runner| runner.acked() == 3);
    assert_eq!(runner.cell().grace_used_ns.load(Ordering::SeqCst), 0);
    assert_eq!(LockSeen::of(runner.cell()), LockSeen::Free);
}

#[test]
fn steps_of_a_grace_meet_no_rhythm_in_the_same_phase() {
    let steps = std::iter::successors(Some(next_step(0)), |&step| Some(next_step(step)));
    let looks = steps.scan(0, |at, step| {
        *at += step;
        Some(*at)
    });
    let looks: Vec<u64> = looks.take_while(|&at| at < GRACE_NS_MAX).collect();
    // A lock that is held for the first half of each period, from whatever phase on, and looks that
    // come late by whatever time.
    let (mut always, mut cases) = (0, 0);
    for period in [20_000, 40_000, 80_000, 100_000] {
        for late in (0..50_000).step_by(1000) {
            for phase in (0..period / 2).step_by(1000) {
                let holds = |(number, at): (usize, &u64)| {
                    (phase + at + late * (number as u64 + 1)) % period < period / 2
                };
                always += u32::from(looks.iter().enumerate().all(holds));
                cases += 1;
            }
        }
    }
    // With looks at a steady pace it is a sixteenth.
    assert!(always * 30 < cases, "{always} of {cases}");
}

#[test]
fn a_lock_that_is_given_back_ends_the_grace() {
    let runner = Runner::start();
    runner.lease();
    runner.board.record(0).lock_depth.store(1, Ordering::SeqCst);
    runner.cell().grace_ns.store(u32::MAX, Ordering::SeqCst);
    runner.wish(1);
    let record = runner.board.record(0);
    let held = Instant::now();
    while held.elapsed() < Duration::from_micros(100) {}
    record.lock_depth.store(0, Ordering::SeqCst);
    runner.until("it parks", Runner::is_parked);
    assert_eq!(LockSeen::of(runner.cell()), LockSeen::Free);
}
