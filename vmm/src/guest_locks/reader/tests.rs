use std::cell::Cell;
use std::time::{Duration, Instant};

use super::super::Finder;
use super::super::testing::{COUNT, CURRENT, NUMBER, OWN_OFFSET, kernel_types};
use super::*;
use crate::board::{Board, LockSource};

/// Where the test's kernel thinks that memory is, and where its area and its code are.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const AREA: u64 = 0x20_0000;
const CODE: u64 = 0x10_0000;
const TASK: u64 = 0x30_0000;
const RAM_LEN: usize = 4 << 20;

/// A guest of one vCPU, in the kernel and with an empty area to begin with.
struct Guest {
    ram: GuestRam,
    board: Arc<Board>,
    finder: Finder,
    standing: Cell<Standing>,
    /// The kernel's memory is hidden.
    is_hidden: Cell<bool>,
}

impl Stopped for Guest {
    fn standing(&self) -> Option<Standing> {
        Some(self.standing.get())
    }

    fn system_call_entry(&self) -> Option<u64> {
        Some(DIRECT_MAP + CODE)
    }

    fn translate(&self, address: u64) -> Option<GuestAddress> {
        let found = address.checked_sub(DIRECT_MAP).map(GuestAddress);
        found.filter(|_| !self.is_hidden.get())
    }
}

impl Guest {
    fn new() -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM_LEN)]).unwrap();
        let types = kernel_types().bytes();
        ram.write_slice(&types, GuestAddress(CODE + 0x1000))
            .unwrap();
        let board = Arc::new(Board::create(1).unwrap());
        let finder = Finder::start(ram.clone(), board.clone()).unwrap();
        let guest = Self {
            ram,
            board,
            finder,
            standing: Cell::new(Standing {
                in_user_mode: false,
                is_halted: false,
                kernel_gs: DIRECT_MAP + AREA,
            }),
            is_hidden: Cell::new(false),
        };
        guest.write_u64(AREA + u64::from(OWN_OFFSET), DIRECT_MAP + AREA);
        guest.set_count(0);
        guest.write_u64(AREA + u64::from(CURRENT), DIRECT_MAP + TASK);
        guest.set_task(1);
        guest
    }

    /// A reader that knows where the count is.
    fn reader(&self) -> LockReader {
        let mut reader = LockReader::new(self.finder.locks().clone());
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.source() == LockSource::Awaited {
            assert_eq!(reader.look(self), LockSeen::Free);
            assert!(Instant::now() < deadline, "nothing is found");
        }
        reader
    }

    fn source(&self) -> LockSource {
        self.board.lock_source()
    }

    fn write_u64(&self, at: u64, value: u64) {
        self.ram.write_obj(value, GuestAddress(at)).unwrap();
    }

    /// As Linux does: with nobody who should run instead.
    fn set_count(&self, count: u32) {
        let at = GuestAddress(AREA + u64::from(COUNT));
        self.ram.write_obj(count | NEED_RESCHED, at).unwrap();
    }

    /// The number of the task that runs.
    fn set_task(&self, number: u32) {
        let at = GuestAddress(TASK + u64::from(NUMBER));
        self.ram.write_obj(number, at).unwrap();
    }

    fn stand(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.get();
        change(&mut standing);
        self.standing.set(standing);
    }
}

#[test]
fn what_the_kernel_counts_is_what_is_seen() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    assert_eq!(guest.source(), LockSource::Linux);
    assert_eq!(reader.look(&guest), LockSeen::Free);
    // A spin lock, a soft interrupt, an interrupt, an NMI.
    for count in [1, 0x100, 0x1_0000, 0x10_0000, 0x11_0102] {
        guest.set_count(count);
        assert_eq!(reader.look(&guest), LockSeen::Holding, "{count:#x}");
        guest.set_count(0);
        assert_eq!(reader.look(&guest), LockSeen::Free);
    }
    // Somebody should run: the bit is 0.
    let at = GuestAddress(AREA + u64::from(COUNT));
    guest.ram.write_obj(0_u32, at).unwrap();
    assert_eq!(reader.look(&guest), LockSeen::Free);
    guest.ram.write_obj(1_u32, at).unwrap();
    assert_eq!(reader.look(&guest), LockSeen::Holding);
}

#[test]
fn who_is_idle_holds_nothing() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    guest.set_count(1);
    guest.stand(|standing| standing.is_halted = true);
    for _ in 0..2 * DOUBTS_MAX {
        assert_eq!(reader.look(&guest), LockSeen::Free);
    }
    assert_eq!(guest.source(), LockSource::Linux);
}

#[test]
fn who_goes_to_rest_holds_nothing_either() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    guest.set_task(0);
    guest.set_count(1);
    assert_eq!(reader.look(&guest), LockSeen::Free);
    // The idle task may be interrupted, and take a lock.
    for count in [2, 0x100, 0x1_0001] {
        guest.set_count(count);
        assert_eq!(reader.look(&guest), LockSeen::Holding, "{count:#x}");
    }
    // A task that is nowhere is not known to be idle.
    guest.set_count(1);
    for task in [0, TASK, DIRECT_MAP + (1 << 40), u64::MAX] {
        guest.write_u64(AREA + u64::from(CURRENT), task);
        assert_eq!(reader.look(&guest), LockSeen::Holding, "{task:#x}");
    }
    assert_eq!(guest.source(), LockSource::Linux);
}

#[test]
fn an_area_that_moves_is_found_again() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    guest.set_count(1);
    assert_eq!(reader.look(&guest), LockSeen::Holding);
    let other = AREA + 0x10_0000;
    guest.write_u64(AREA + u64::from(OWN_OFFSET), 0);
    guest.write_u64(other + u64::from(OWN_OFFSET), DIRECT_MAP + other);
    guest.stand(|standing| standing.kernel_gs = DIRECT_MAP + other);
    assert_eq!(reader.look(&guest), LockSeen::Free);
    let at = GuestAddress(other + u64::from(COUNT));
    guest.ram.write_obj(2 | NEED_RESCHED, at).unwrap();
    assert_eq!(reader.look(&guest), LockSeen::Holding);
}

#[test]
fn a_vcpu_that_has_not_started_has_no_area() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    guest.set_count(1);
    guest.stand(|standing| standing.kernel_gs = 0);
    for _ in 0..2 * DOUBTS_MAX {
        assert_eq!(reader.look(&guest), LockSeen::Free);
    }
    assert_eq!(guest.source(), LockSource::Linux);
    guest.stand(|standing| standing.kernel_gs = DIRECT_MAP + AREA);
    assert_eq!(reader.look(&guest), LockSeen::Holding);
}

#[test]
fn memory_that_is_hidden_from_user_mode_is_no_reason_to_doubt() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    guest.is_hidden.set(true);
    guest.stand(|standing| standing.in_user_mode = true);
    for _ in 0..2 * DOUBTS_MAX {
        assert_eq!(reader.look(&guest), LockSeen::Free);
    }
    assert_eq!(guest.source(), LockSource::Linux);
}

/// A guest that has gone wrong, or lies, is left alone after some looks, with its reason.
#[track_caller]
fn is_given_up(reason: Unseen, change: impl FnOnce(&Guest)) {
    let guest = Guest::new();
    let mut reader = guest.reader();
    assert_eq!(reader.look(&guest), LockSeen::Free);
    change(&guest);
    for _ in 1..DOUBTS_MAX {
        assert_eq!(reader.look(&guest), LockSeen::Free);
        assert_eq!(guest.source(), LockSource::Linux);
    }
    assert_eq!(reader.look(&guest), LockSeen::Free);
    assert_eq!(guest.source(), LockSource::Unseen(reason));
    // For good, and for all of its vCPUs.
    guest.set_count(1);
    guest.write_u64(AREA + u64::from(OWN_OFFSET), DIRECT_MAP + AREA);
    guest.standing.set(Guest::new().standing.get());
    assert_eq!(reader.look(&guest), LockSeen::Free);
    let mut other = LockReader::new(guest.finder.locks().clone());
    assert_eq!(other.look(&guest), LockSeen::Free);
}

#[test]
fn counts_that_make_no_sense_are_given_up() {
    is_given_up(Unseen::Nonsense, |guest| guest.set_count(1 << 24));
    is_given_up(Unseen::Nonsense, |guest| guest.set_count(u32::MAX));
}

#[test]
fn what_is_held_in_user_mode_is_no_spin_lock() {
    is_given_up(Unseen::HeldByUser, |guest| {
        guest.set_count(1);
        guest.stand(|standing| standing.in_user_mode = true);
    });
}

#[test]
fn an_area_that_is_none_is_given_up() {
    is_given_up(Unseen::NoArea, |guest| {
        guest.write_u64(AREA + u64::from(OWN_OFFSET), DIRECT_MAP + AREA + 8);
    });
    // Outside of memory, at its end, at the end of all addresses.
    for at in [1 << 40, RAM_LEN as u64 - 8, u64::MAX - DIRECT_MAP] {
        is_given_up(Unseen::NoArea, |guest| {
            guest.write_u64(AREA + u64::from(OWN_OFFSET), 0);
            guest.stand(|standing| standing.kernel_gs = DIRECT_MAP + at);
        });
    }
}

#[test]
fn one_look_that_makes_sense_takes_doubts_back() {
    let guest = Guest::new();
    let mut reader = guest.reader();
    for _ in 0..4 {
        guest.set_count(1 << 30);
        for _ in 1..DOUBTS_MAX {
            reader.look(&guest);
        }
        guest.set_count(1);
        assert_eq!(reader.look(&guest), LockSeen::Holding);
    }
    assert_eq!(guest.source(), LockSource::Linux);
}
