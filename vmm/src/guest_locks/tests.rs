use super::*;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

#[test]
fn a_finder_that_nobody_asks_ends() {
    let board = Arc::new(Board::create(1).unwrap());
    let finder = Finder::start(ram(), board.clone()).unwrap();
    // As a vCPU's thread that is stuck in the host keeps it.
    let _kept = finder.locks().clone();
    drop(finder);
    assert_eq!(board.lock_source(), LockSource::Awaited);
}

#[test]
fn a_kernel_without_types_is_told() {
    let board = Arc::new(Board::create(1).unwrap());
    let finder = Finder::start(ram(), board.clone()).unwrap();
    assert!(finder.locks().is_awaited());
    finder.locks().look_at(GuestAddress(0x1000));
    // Asked twice, it looks once.
    finder.locks().look_at(GuestAddress(0x2000));
    assert!(!finder.locks().is_awaited());
    drop(finder);
    assert_eq!(board.lock_source(), LockSource::Unseen(Unseen::NoTypes));
}
