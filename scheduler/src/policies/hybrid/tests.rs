use crate::testing::Host;
use crate::{MS, SECOND};

/// How often vCPUs that are more than the CPUs change their CPU within a second.
fn moves(policy: &str) -> usize {
    let mut host = Host::new(4, policy);
    let vms: Vec<_> = (0..7).map(|_| host.arrive(1)).collect();
    let mut last = vec![None; vms.len()];
    let mut moves = 0;
    while host.now < SECOND {
        host.run_until(host.now + MS);
        for (vm, last) in vms.iter().zip(&mut last) {
            if let Some(cpu) = host.cpu_of(*vm, 0) {
                moves += usize::from(last.is_some_and(|last| last != cpu));
                *last = Some(cpu);
            }
        }
    }
    moves
}

#[test]
fn vcpus_move_less_than_with_one_list() {
    let central = moves("central");
    let hybrid = moves("hybrid");
    assert!(
        hybrid * 2 < central,
        "{hybrid} moves, with one list {central}"
    );
}

#[test]
fn a_bonus_does_not_starve_those_who_were_elsewhere() {
    let mut host = Host::new(1, "hybrid:bonus=20,warm=10s,quantum=10ms");
    let first = host.arrive(1);
    host.run_until(5 * MS);
    let second = host.arrive(1);
    host.run_until(SECOND);
    assert!(host.running_ns(first) > 300 * MS);
    assert!(host.running_ns(second) > 300 * MS);
}

#[test]
fn an_idle_cpu_takes_those_who_were_elsewhere() {
    let mut host = Host::new(2, "hybrid");
    let pair = host.arrive(2);
    let waiting = host.arrive(1);
    let (first, second) = (host.vcpu(pair, 0), host.vcpu(pair, 1));
    host.run_until(35 * MS);
    host.halt(first);
    host.halt(second);
    assert!(host.cpu_of(waiting, 0).is_some());
    host.wake(first);
    host.wake(second);
    let on = host.on_cpus();
    assert!(on.iter().all(Option::is_some), "{on:?}");
}
