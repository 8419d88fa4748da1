use std::thread;
use std::time::Duration;

use muster_vmm::thread_schedule::affinity_of;

use super::*;
use crate::testing::fake_vcpu::{FakeVcpu, until};

/// So far away that no test reaches it.
fn late() -> u64 {
    now_ns() + 20_000_000_000
}

#[test]
fn a_closed_gate_holds_a_vcpu_until_it_is_opened() {
    let vcpu = FakeVcpu::start(0);
    let seat = &vcpu.seat;
    assert!(!seat.is_closed() && !seat.is_parked());
    let want = seat.close(7);
    assert!(seat.wait_obeyed(want, late()), "it is signalled");
    assert!(seat.is_closed() && seat.is_parked() && !seat.has_escaped());
    assert_eq!(vcpu.cell().grace_ns.load(Ordering::SeqCst), 7);
    // It is closed already: nothing new is wished, nor another grace given.
    assert_eq!(seat.close(9), want);
    assert_eq!(vcpu.cell().grace_ns.load(Ordering::SeqCst), 7);
    let entries = vcpu.entries();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(vcpu.entries(), entries, "it went on");
    let before = now_ns();
    seat.open();
    assert!(vcpu.cell().opened_ns.load(Ordering::SeqCst) >= before);
    until("it goes on", || vcpu.entries() > entries);
    let opened = vcpu.cell().want.load(Ordering::SeqCst);
    seat.open();
    assert_eq!(vcpu.cell().want.load(Ordering::SeqCst), opened);
}

#[test]
fn wishes_count_on_past_the_largest_number() {
    let board = Arc::new(Board::create(1).unwrap());
    board.cell(0).want.store(u32::MAX, Ordering::SeqCst);
    let this = Thread {
        pid: std::process::id(),
        tid: nix::unistd::gettid().as_raw().cast_unsigned(),
    };
    let ids = (VmId(0), VcpuId(0));
    let seat = Seat::new(ids, "a/0".to_owned(), 0, Enforcement::Gate, (board, this));
    assert!(seat.is_closed());
    seat.open();
    assert_eq!(seat.cell().want.load(Ordering::SeqCst), 0);
    assert!(!seat.is_closed());
}

#[test]
fn a_vcpu_that_does_not_hear_is_asked_again_and_not_waited_for_for_ever() {
    let vcpu = FakeVcpu::start(0);
    vcpu.set_deaf(true);
    let want = vcpu.seat.close(0);
    let deadline = now_ns() + 10_000_000;
    assert!(!vcpu.seat.wait_obeyed(want, deadline));
    assert!(now_ns() >= deadline);
    // It was signalled once and then again, about every millisecond.
    assert!(vcpu.entries() > 3, "asked {} times", vcpu.entries());
    vcpu.set_deaf(false);
    assert!(vcpu.seat.wait_obeyed(want, late()));
}

#[test]
fn who_has_ended_is_not_waited_for() {
    let mut vcpu = FakeVcpu::start(0);
    vcpu.end();
    let want = vcpu.seat.close(0);
    assert!(vcpu.seat.is_gone() && !vcpu.seat.can_be_stopped());
    // Whatever its board says.
    vcpu.cell().ack.store(0, Ordering::SeqCst);
    assert!(vcpu.seat.wait_obeyed(want, late()));
    assert_eq!(vcpu.seat.kernel_times(), None);
}

#[test]
fn who_runs_although_its_gate_is_closed_has_escaped() {
    let vcpu = FakeVcpu::start(0);
    let want = vcpu.seat.close(0);
    assert!(vcpu.seat.wait_obeyed(want, late()));
    vcpu.set_deaf(true);
    until("it has escaped", || vcpu.seat.has_escaped());
    vcpu.set_deaf(false);
    vcpu.seat.kick();
    until("it obeys again", || !vcpu.seat.has_escaped());
}

#[test]
fn one_agent_at_a_time_has_a_vcpu() {
    let vcpu = FakeVcpu::start(0);
    let seat = &vcpu.seat;
    let (one, other) = (CpuId(0), CpuId(1));
    assert!(seat.take(one, now_ns()));
    assert!(seat.take(one, now_ns()), "it has it");
    assert!(!seat.take(other, now_ns() + 2_000_000));
    seat.release_from(other);
    assert_eq!(seat.cpu(), Some(one), "only who has it gives it away");
    thread::scope(|scope| {
        let waits = scope.spawn(|| seat.take(other, late()));
        thread::sleep(Duration::from_millis(5));
        seat.release_from(one);
        assert!(waits.join().unwrap());
    });
    assert_eq!(seat.cpu(), Some(other));
    seat.release_from(other);
    assert_eq!(seat.cpu(), None);
}

#[test]
fn a_binding_is_made_once_and_again_when_it_is_forgotten() {
    let vcpu = FakeVcpu::start(0);
    let seat = &vcpu.seat;
    let all = affinity_of(seat.tid()).unwrap();
    let cpu = CpuId(all[0] as u16);
    seat.bind(cpu);
    assert_eq!(affinity_of(seat.tid()).unwrap(), all[..1]);
    set_affinity(seat.tid(), &all).unwrap();
    seat.bind(cpu);
    assert_eq!(
        affinity_of(seat.tid()).unwrap(),
        all,
        "it is taken to be bound"
    );
    seat.forget_binding();
    seat.bind(cpu);
    assert_eq!(affinity_of(seat.tid()).unwrap(), all[..1]);
}

#[test]
fn whatever_a_board_says_can_be_read() {
    let vcpu = FakeVcpu::start(0);
    let (seat, cell) = (&vcpu.seat, vcpu.cell());
    vcpu.set_deaf(true);
    cell.lock.store(77, Ordering::SeqCst);
    cell.grace_used_ns.store(u32::MAX, Ordering::SeqCst);
    cell.parked_ns.store(u64::MAX, Ordering::SeqCst);
    cell.parked_since_ns.store(1, Ordering::SeqCst);
    assert_eq!(seat.last_stop(), (u32::MAX.into(), LockSeen::Free));
    assert_eq!(seat.parked_ns(), u64::MAX);
    // Since some time to come.
    cell.parked_ns.store(3, Ordering::SeqCst);
    cell.parked_since_ns.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(seat.parked_ns(), 3);
    // A wish of its own changes nothing of ours.
    cell.want.store(41, Ordering::SeqCst);
    assert!(!seat.is_closed());
    seat.close(0);
    assert!(is_closed(cell.want.load(Ordering::SeqCst)));
    seat.open();
    assert!(!is_closed(cell.want.load(Ordering::SeqCst)));
}
