use std::io::Write;

use super::*;

fn hand_over(board: &Board) -> File {
    board.as_fd().try_clone_to_owned().unwrap().into()
}

#[test]
fn both_sides_see_the_same() {
    let vm = Board::create(3).unwrap();
    let node = Board::open(hand_over(&vm)).unwrap();
    assert_eq!(node.vcpus(), 3);
    node.cell(2).want.store(7, Ordering::Relaxed);
    assert_eq!(vm.cell(2).want.load(Ordering::Relaxed), 7);
    assert_eq!(vm.cell(1).want.load(Ordering::Relaxed), 0);
    vm.record(2).lock_depth.store(1, Ordering::Relaxed);
    assert_eq!(node.lock_told(2), LockSeen::Holding);
    assert_eq!(node.lock_told(1), LockSeen::Free);
    let header = node.guest_header();
    assert_eq!(header.magic.load(Ordering::Relaxed), guest_page::MAGIC);
    assert_eq!(header.vcpus.load(Ordering::Relaxed), 3);
}

#[test]
fn a_lease_ends_and_no_lease_is_long() {
    let board = Board::create(1).unwrap();
    assert_eq!(board.lease_left_ns(5_000), 0);
    board.renew_lease(5_000, 300);
    assert_eq!(board.lease_left_ns(5_100), 200);
    assert_eq!(board.lease_left_ns(5_300), 0);
    board
        .header()
        .lease_until_ns
        .store(u64::MAX, Ordering::Relaxed);
    assert_eq!(board.lease_left_ns(5_000), LEASE_NS_MAX);
}

#[test]
fn what_is_no_board_is_refused() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; LEN]).unwrap();
    assert!(matches!(Board::open(file), Err(BoardError::NotSealed)));

    let memfd = |len: u64, seals| {
        let file = File::from(memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.set_len(len).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file
    };
    let sealed = SealFlag::F_SEAL_SHRINK;
    let refusal = |file| Board::open(file).unwrap_err();
    assert!(matches!(
        refusal(memfd(LEN as u64, SealFlag::F_SEAL_GROW)),
        BoardError::NotSealed
    ));
    assert!(matches!(
        refusal(memfd(4096, sealed)),
        BoardError::Length(4096)
    ));
    assert!(matches!(
        refusal(memfd(LEN as u64, sealed)),
        BoardError::Version
    ));
}

#[test]
fn impossible_numbers_of_vcpus_are_refused() {
    assert!(matches!(Board::create(0), Err(BoardError::Vcpus(0))));
    assert!(matches!(Board::create(65), Err(BoardError::Vcpus(65))));
    let board = Board::create(64).unwrap();
    board.header().vcpus.store(65, Ordering::Relaxed);
    let refusal = Board::open(hand_over(&board)).unwrap_err();
    assert!(matches!(refusal, BoardError::Vcpus(65)));
}

#[test]
fn nonsense_about_locks_is_nothing() {
    let board = Board::create(1).unwrap();
    board.cell(0).lock.store(99, Ordering::Relaxed);
    assert_eq!(LockSeen::of(board.cell(0)), LockSeen::Free);
}

#[test]
fn how_locks_are_known_is_told() {
    let vm = Board::create(1).unwrap();
    let node = Board::open(hand_over(&vm)).unwrap();
    assert_eq!(node.lock_source(), LockSource::Page);
    let mut reasons = Vec::new();
    for number in 0..9 {
        let source = LockSource::of_number(number);
        vm.set_lock_source(source);
        assert_eq!(vm.header().lock_source.load(Ordering::Relaxed), number);
        assert_eq!(node.lock_source(), source);
        reasons.extend(match source {
            LockSource::Unseen(reason) => Some(reason.to_string()),
            _ => None,
        });
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 6);
    vm.header().lock_source.store(99, Ordering::Relaxed);
    assert_eq!(node.lock_source(), LockSource::Page);
}

#[test]
#[should_panic(expected = "vCPU 2 of 2")]
fn a_vcpu_that_is_not_there_has_no_cell() {
    Board::create(2).unwrap().cell(2);
}
