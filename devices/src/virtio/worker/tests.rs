use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use super::super::chain::GuestBytes;
use super::super::driver::{
    AVAILABLE, Buffer, DATA, Driver, Interrupts, eventually, ram, resources,
};
use super::*;

const SIZE: u16 = 8;

/// Counts chains and reports one byte written.
#[derive(Clone, Default)]
struct Count(Arc<Mutex<u64>>);

impl Count {
    fn get(&self) -> u64 {
        *self.0.lock().unwrap()
    }
}

impl ChainService for Count {
    fn serve<'ram>(&mut self, _: GuestBytes<'_, 'ram>, _: GuestBytes<'_, 'ram>) -> u32 {
        *self.0.lock().unwrap() += 1;
        1
    }
}

/// Says when a request begins, and does not end it before it is told to.
struct Gate {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl ChainService for Gate {
    fn serve<'ram>(&mut self, _: GuestBytes<'_, 'ram>, _: GuestBytes<'_, 'ram>) -> u32 {
        self.begun.send(()).unwrap();
        self.go_on.recv().unwrap();
        1
    }
}

fn chain() -> [Buffer; 1] {
    [Buffer::writable(DATA, 1)]
}

#[test]
fn no_chain_is_missed_by_suppressing_notifications() {
    for event_idx in [false, true] {
        let ram = ram();
        let mut driver = Driver::new(&ram, SIZE);
        let mut queue = driver.queue();
        queue.set_event_idx(event_idx);
        let interrupts = Arc::new(Interrupts::default());
        let (resources, kick) = resources(queue, &ram, &interrupts, 0);
        let count = Count::default();
        // Available before the start, and its kick is lost.
        driver.submit(&chain());
        let worker = QueueWorker::start("test", 0, resources, None, count.clone()).unwrap();
        for round in 1..=1000u64 {
            eventually("a chain is used", || driver.take_used().is_some());
            assert_eq!(count.get(), round);
            eventually("its interrupt", || {
                interrupts.used_buffers.load(Ordering::SeqCst) == round
            });
            driver.set_used_event(round as u16);
            driver.submit(&chain());
            if driver.wants_kick(event_idx) {
                kick.write(1).unwrap();
            }
        }
        eventually("the last chain is used", || driver.take_used().is_some());
        assert_eq!(
            worker.stop(),
            QueueState {
                next_avail: 1001,
                next_used: 1001
            }
        );
    }
}

#[test]
fn the_driver_gets_no_more_interrupts_than_it_asks_for() {
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    let mut queue = driver.queue();
    queue.set_event_idx(true);
    let interrupts = Arc::new(Interrupts::default());
    let (resources, _kick) = resources(queue, &ram, &interrupts, 0);
    driver.set_used_event(3);
    for _ in 0..6 {
        driver.submit(&chain());
    }
    let count = Count::default();
    let worker = QueueWorker::start("test", 0, resources, None, count.clone()).unwrap();
    eventually("all are served", || count.get() == 6);
    worker.stop();
    assert_eq!(interrupts.used_buffers.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stop_finishes_the_request_in_flight_and_leaves_the_rest() {
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    let interrupts = Arc::new(Interrupts::default());
    let (first, _kick) = resources(driver.queue(), &ram, &interrupts, 0);
    for _ in 0..3 {
        driver.submit(&chain());
    }
    let ((begun, has_begun), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let gate = Gate {
        begun,
        go_on: may_go_on,
    };
    let worker = QueueWorker::start("test", 0, first, None, gate).unwrap();
    has_begun.recv().unwrap();
    let stop = worker.stop.clone();
    let stopped = thread::spawn(move || worker.stop());
    eventually("the worker is told to stop", || stop.load(Ordering::SeqCst));
    assert!(!stopped.is_finished(), "a request is in flight");
    go_on.send(()).unwrap();
    let state = stopped.join().unwrap();
    assert_eq!(
        state,
        QueueState {
            next_avail: 1,
            next_used: 1
        }
    );
    assert!(driver.take_used().is_some() && driver.take_used().is_none());

    // Started again there, it serves the other two.
    let (second, _kick) = resources(driver.queue(), &ram, &interrupts, 0);
    let count = Count::default();
    let worker = QueueWorker::start("test", 0, second, Some(state), count.clone()).unwrap();
    eventually("the rest is served", || count.get() == 2);
    assert_eq!(
        worker.stop(),
        QueueState {
            next_avail: 3,
            next_used: 3
        }
    );
}

#[test]
fn a_broken_ring_ends_the_service_but_not_the_vmm() {
    let broken_index = |driver: &mut Driver<'_>| driver.write(AVAILABLE + 2, SIZE + 1);
    let broken_head = |driver: &mut Driver<'_>| driver.offer(SIZE);
    for break_ring in [&broken_index as &dyn Fn(&mut Driver<'_>), &broken_head] {
        let ram = ram();
        let mut driver = Driver::new(&ram, SIZE);
        let interrupts = Arc::new(Interrupts::default());
        let (resources, kick) = resources(driver.queue(), &ram, &interrupts, 0);
        let count = Count::default();
        let worker = QueueWorker::start("test", 0, resources, None, count.clone()).unwrap();
        break_ring(&mut driver);
        kick.write(1).unwrap();
        eventually("the driver is told", || {
            interrupts.needs_reset.load(Ordering::SeqCst) == 1
        });
        let thread = worker.thread.as_ref().unwrap();
        eventually("the thread has ended", || thread.is_finished());
        assert_eq!(count.get(), 0);
        worker.stop();
    }
}

#[test]
fn malformed_chains_go_back_unserved() {
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    let interrupts = Arc::new(Interrupts::default());
    let (resources, _kick) = resources(driver.queue(), &ram, &interrupts, 0);
    let head = driver.submit(&[Buffer::writable(u64::MAX, 1)]);
    driver.submit(&chain());
    let count = Count::default();
    let worker = QueueWorker::start("test", 0, resources, None, count.clone()).unwrap();
    eventually("the good one is served", || count.get() == 1);
    worker.stop();
    assert_eq!(driver.take_used(), Some((head, 0)));
    assert_eq!(driver.take_used().map(|(_, len)| len), Some(1));
}

#[test]
fn a_stop_does_not_wait_for_a_driver_that_never_ends() {
    /// Makes every chain it serves available again.
    struct Refill(GuestRamHandle);
    type GuestRamHandle = crate::memory::GuestRam;
    impl ChainService for Refill {
        fn serve<'ram>(&mut self, _: GuestBytes<'_, 'ram>, _: GuestBytes<'_, 'ram>) -> u32 {
            use vm_memory::{Bytes, GuestAddress};
            let index: u16 = self
                .0
                .load(GuestAddress(AVAILABLE + 2), Ordering::SeqCst)
                .unwrap();
            let address = GuestAddress(AVAILABLE + 2);
            self.0
                .store(index.wrapping_add(1), address, Ordering::SeqCst)
                .unwrap();
            0
        }
    }
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    let interrupts = Arc::new(Interrupts::default());
    let (resources, _kick) = resources(driver.queue(), &ram, &interrupts, 0);
    driver.submit(&chain());
    let worker = QueueWorker::start("test", 0, resources, None, Refill(ram.clone())).unwrap();
    eventually("it is busy", || {
        interrupts.used_buffers.load(Ordering::SeqCst) > 100
    });
    worker.stop();
}

#[test]
fn threads_have_names_that_the_kernel_keeps() {
    struct Name(Sender<String>);
    impl ChainService for Name {
        fn serve<'ram>(&mut self, _: GuestBytes<'_, 'ram>, _: GuestBytes<'_, 'ram>) -> u32 {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            self.0.send(name.trim_end().to_owned()).unwrap();
            0
        }
    }
    let ram = ram();
    let mut driver = Driver::new(&ram, SIZE);
    let (resources, _kick) = resources(driver.queue(), &ram, &Arc::default(), 0);
    driver.submit(&chain());
    let (sender, name) = mpsc::channel();
    let long = "blk-a-very-long-serial";
    let worker = QueueWorker::start(long, 0, resources, None, Name(sender)).unwrap();
    assert_eq!(name.recv().unwrap(), "blk-a-very-long");
    worker.stop();
}
