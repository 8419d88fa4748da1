use super::*;
use crate::MS;

fn queue() -> RunQueue {
    RunQueue::new(3 * MS, 4 * MS)
}

fn unit() -> Entity {
    Entity::new(WEIGHT_UNIT)
}

/// Ticks every 4 ms until `until`, and tells who ran how long.
fn ticks(queue: &mut RunQueue, from: Nanos, until: Nanos, vcpus: usize) -> Vec<Nanos> {
    let mut ran = vec![0; vcpus];
    for now in (from..until).step_by(4 * MS as usize) {
        ran[queue.current().unwrap().index()] += 4 * MS;
        if queue.is_served(now + 4 * MS) {
            queue.pick(now + 4 * MS);
        }
    }
    ran
}

#[test]
fn equals_take_turns_of_a_tick() {
    let mut queue = queue();
    queue.join(0, VcpuId(0), unit());
    queue.join(0, VcpuId(1), unit());
    queue.pick(0);
    let mut order = Vec::new();
    for now in (0..24 * MS).step_by(4 * MS as usize) {
        order.push(queue.current().unwrap().0);
        assert!(!queue.is_served(now + MS), "a slice is 3 ms");
        assert!(queue.is_served(now + 4 * MS));
        queue.pick(now + 4 * MS);
    }
    assert_eq!(order, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn shares_follow_weights() {
    let mut queue = queue();
    for (vcpu, weight) in [(0, 1024), (1, 2048), (2, 512)] {
        queue.join(0, VcpuId(vcpu), Entity::new(weight));
    }
    queue.pick(0);
    let ran = ticks(&mut queue, 0, 7_000 * MS, 3);
    for (ran, ideal) in ran.iter().zip([2_000, 4_000, 1_000]) {
        assert!(ran.abs_diff(ideal * MS) <= 16 * MS, "{ran} of {ideal} ms");
    }
}

#[test]
fn one_who_has_had_less_comes_back_with_his_lag() {
    let mut queue = queue();
    queue.join(0, VcpuId(0), unit());
    queue.join(0, VcpuId(1), unit());
    queue.pick(0);
    // vCPU 0 has had 2 ms, and vCPU 1 none: the average is 1 ms.
    let behind = queue.leave(2 * MS, VcpuId(1), true);
    assert_eq!(behind.lag, MS as i64);
    // However long it sleeps, it is owed neither more nor less.
    queue.join(100 * MS, VcpuId(1), behind);
    assert_eq!(queue.leave(100 * MS, VcpuId(1), true).lag, MS as i64);
    let ahead = queue.leave(100 * MS, VcpuId(0), true);
    assert_eq!(ahead.lag, 0, "alone there is nobody to be ahead of");
}

#[test]
fn lag_is_bounded() {
    let mut queue = queue();
    queue.join(0, VcpuId(0), unit());
    queue.join(0, VcpuId(1), unit());
    queue.pick(0);
    let behind = queue.leave(100 * MS, VcpuId(1), true);
    assert_eq!(behind.lag, 6 * MS as i64, "two slices");
}

#[test]
fn who_runs_is_protected_for_a_slice() {
    let mut queue = queue();
    queue.join(0, VcpuId(0), unit());
    queue.join(0, VcpuId(1), unit());
    queue.pick(0);
    let behind = queue.leave(MS, VcpuId(1), true);
    queue.join(MS, VcpuId(1), behind);
    assert!(!queue.preempts(MS, VcpuId(1)), "0.5 of 1.5 ms are left");
    let behind = queue.leave(MS, VcpuId(1), true);
    queue.join(10 * MS, VcpuId(1), behind);
    assert!(queue.preempts(10 * MS, VcpuId(1)));
}

#[test]
fn who_moves_keeps_the_rest_of_his_request() {
    let (mut here, mut there) = (queue(), queue());
    for vcpu in [0, 1] {
        here.join(0, VcpuId(vcpu), unit());
    }
    here.pick(0);
    here.pick(MS);
    let moved = here.leave(MS, VcpuId(0), false);
    assert_eq!(moved.request, Some(MS as i64 / 2), "half a slice less 1 ms");
    assert_eq!(here.weight(), WEIGHT_UNIT);
    there.join(MS, VcpuId(0), moved);
    there.pick(MS);
    assert!(there.is_served(MS + MS / 2));
}
