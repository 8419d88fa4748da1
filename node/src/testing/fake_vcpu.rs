//! A thread that behaves at its gate as a vCPU's does, on a real board, without KVM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use muster_scheduler::{VcpuId, VmId};
use muster_vmm::board::{Board, Place, VcpuCell, is_closed};
use muster_vmm::kick;
use nix::poll::{PollTimeout, poll};

use crate::enforcement::Enforcement;
use crate::seat::Seat;
use crate::thread::Thread;

/// How long it stays in the guest if nobody signals it.
const STAY_MS: u16 = 20_000;
/// Time for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module's head. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeVcpu {
    pub seat: Arc<Seat>,
    board: Arc<Board>,
    entries: Arc<AtomicU64>,
    deaf: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

impl FakeVcpu {
    /// vCPU number `id` of the engine, alone in its VM.
    pub(crate) fn start(id: u32) -> Self {
        kick::install_handler().unwrap();
        let board = Arc::new(Board::create(1).unwrap());
        let entries = Arc::<AtomicU64>::default();
        let (deaf, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let body = {
            let (board, entries) = (board.clone(), entries.clone());
            let (deaf, stop) = (deaf.clone(), stop.clone());
            move || run(board.cell(0), &entries, &deaf, &stop)
        };
        let thread = thread::spawn(body);
        until("it runs", || entries.load(Ordering::SeqCst) > 0);
        let pid = std::process::id();
        let tid = board.cell(0).tid.load(Ordering::SeqCst);
        let seat = Seat::new(
            (VmId(id), VcpuId(id)),
            format!("vm{id}/0"),
            0,
            Enforcement::Gate,
            (board.clone(), Thread { pid, tid }),
        );
        Self {
            seat: Arc::new(seat),
            board,
            entries,
            deaf,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn cell(&self) -> &VcpuCell {
        self.board.cell(0)
    }

    /// How often it has entered the guest.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::SeqCst)
    }

    /// It does not look at its gate, whoever signals it.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Its thread ends.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let tid = self.cell().tid.load(Ordering::SeqCst);
        let pid = std::process::id();
        while !thread.is_finished() {
            // It may have ended by now.
            let _ = Thread { pid, tid }.signal(kick::signal());
            thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap();
    }
}

impl Drop for FakeVcpu {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(cell: &VcpuCell, entries: &AtomicU64, deaf: &AtomicBool, stop: &AtomicBool) {
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    cell.tid.store(tid, Ordering::SeqCst);
    while !stop.load(Ordering::SeqCst) {
        let want = cell.want.load(Ordering::SeqCst);
        let is_deaf = deaf.load(Ordering::SeqCst);
        let is_parked = is_closed(want) && !is_deaf;
        let place = if is_parked {
            Place::Parked
        } else {
            Place::Guest
        };
        cell.place.store(place as u32, Ordering::SeqCst);
        if !is_deaf {
            cell.ack.store(want, Ordering::SeqCst);
        }
        if is_parked {
            thread::sleep(Duration::from_micros(100));
        } else {
            entries.fetch_add(1, Ordering::SeqCst);
            // A signal ends it, which is what counts.
            let _ = poll(&mut [], PollTimeout::from(STAY_MS));
        }
    }
    cell.place.store(Place::Ended as u32, Ordering::SeqCst);
}
