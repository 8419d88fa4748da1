use crate::engine::Input;
use crate::testing::Host;
use crate::view::LockState;
use crate::{CpuId, Level, MS, Switch, US, VcpuId, VmSpec};

const CPU: CpuId = CpuId(0);

fn lock(host: &mut Host, vcpu: VcpuId, state: LockState) {
    host.input(Input::Lock { vcpu, state });
}

fn holding(host: &Host) -> LockState {
    LockState::Holding { since: host.now }
}

#[test]
fn who_leaves_gets_grace_and_who_stays_needs_none() {
    let mut host = Host::new(1, "pinned:quantum=10ms+smart:grace=150us");
    host.arrive(1);
    assert_eq!(host.switches.last().unwrap().grace_ns, 0);
    host.arrive(1);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [Some((1, 0))]);
    assert_eq!(host.switches.last().unwrap().grace_ns, 150 * US);
}

#[test]
fn a_halted_vcpu_gets_no_grace() {
    let mut host = Host::new(1, "pinned:quantum=10ms+smart");
    let first = host.arrive(1);
    host.arrive(1);
    host.halt(host.vcpu(first, 0));
    assert_eq!(host.on_cpus(), [Some((1, 0))]);
    assert_eq!(host.switches.last().unwrap().grace_ns, 0);
}

#[test]
fn grace_is_repaid_at_the_debtors_next_turn() {
    let mut host = Host::new(1, "pinned:quantum=10ms+smart");
    let debtor = host.arrive(1);
    host.arrive(1);
    host.grace_used_ns = 120 * US;
    host.run_until(10 * MS);
    assert_eq!(
        host.engine.view().vcpu(host.vcpu(debtor, 0)).grace_ns,
        120 * US
    );
    // The debtor's turn begins at 20 ms, and its creditor stays on.
    host.run_until(20 * MS + 119 * US);
    assert_eq!(host.on_cpus(), [Some((1, 0))]);
    let turn = host.engine.view().cpu(CPU).turn.unwrap();
    assert_eq!(turn.vcpu, host.vcpu(debtor, 0));
    host.run_until(20 * MS + 120 * US);
    assert_eq!(host.on_cpus(), [Some((0, 0))]);
    // The creditor, who left only now, could have left a lock first.
    assert_eq!(host.switches.last().unwrap().grace_ns, 200 * US);
    // It is repaid once.
    host.run_until(40 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0))]);
}

#[test]
fn a_debt_lapses_when_its_creditor_wants_no_cpu_for_long() {
    for (asleep, repaid) in [(50 * MS, true), (150 * MS, false)] {
        let mut host = Host::new(1, "pinned:quantum=10ms+smart");
        host.arrive(1);
        let creditor = host.arrive(1);
        host.grace_used_ns = 120 * US;
        host.run_until(10 * MS);
        host.halt(host.vcpu(creditor, 0));
        host.run_until(10 * MS + asleep);
        assert_eq!(host.engine.view().cpu(CPU).loan, None);
        host.wake(host.vcpu(creditor, 0));
        // The debtor goes on, and begins a turn when the creditor has had one.
        let switches = host.switches.len();
        host.run_until(50 * MS + asleep);
        let boosted = |switch: &Switch| switch.next.is_some_and(|next| next.1 == Level::Boosted);
        assert_eq!(host.switches[switches..].iter().any(boosted), repaid);
    }
}

#[test]
fn who_ran_on_where_nobody_waited_begins_its_next_turn_later() {
    let mut host = Host::new(2, "gang:quantum=10ms+smart");
    host.arrive(2);
    host.arrive_as(VmSpec {
        hard_affinity: "1".parse().unwrap(),
        ..VmSpec::new("narrow", 1)
    });
    // The first to leave is on CPU 0, where nobody is next.
    host.grace_used_ns = 120 * US;
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [None, Some((1, 0))]);
    host.run_until(20 * MS);
    assert_eq!(host.on_cpus(), [None, Some((0, 1))]);
    host.run_until(20 * MS + 119 * US);
    assert_eq!(host.on_cpus(), [None, Some((0, 1))]);
    host.run_until(20 * MS + 120 * US);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
    host.run_until(40 * MS);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
}

#[test]
fn what_a_boost_had_is_paid_back_to_the_sibling() {
    let (mut host, holder, waiter) = stranded();
    lock(&mut host, waiter, LockState::Waiting);
    host.run_until(host.now + 100 * US);
    let describe = |host: &Host| host.engine.policy().describe(host.engine.view());
    // The waiter loses its CPU: it is paid when the holder's turn begins.
    host.input(Input::HardAffinity(waiter, "0".parse().unwrap()));
    lock(&mut host, waiter, LockState::Free);
    host.run_until(20 * MS);
    assert_eq!(describe(&host), "vCPU 0.0 owes vCPU 0.1 100 us\n");
    let paid_by = host.engine.view().cpu(CPU).turn.unwrap().vcpu;
    assert_eq!((paid_by, host.on_cpus()[0]), (holder, Some((0, 1))));
    host.run_until(60 * MS);
    assert_eq!(describe(&host), "");
}

#[test]
fn who_owes_much_gets_no_grace() {
    let mut host = Host::new(2, "pinned:quantum=10ms+smart:grace=500us,debt=200us");
    let on = |cpus: &str| VmSpec {
        hard_affinity: cpus.parse().unwrap(),
        ..VmSpec::new("vm", 1)
    };
    let [debtor, creditor, third] = [(); 3].map(|()| host.arrive_as(on("0")));
    host.grace_used_ns = 300 * US;
    host.run_until(15 * MS);
    // The creditor can't be repaid where it is from now on, and waits for nobody.
    let elsewhere = "1".parse().unwrap();
    host.input(Input::HardAffinity(host.vcpu(creditor, 0), elsewhere));
    assert_eq!(host.cpu_of(creditor, 0), Some(CpuId(1)));
    assert_eq!(host.cpu_of(debtor, 0), None);
    host.run_until(25 * MS);
    assert_eq!(host.cpu_of(debtor, 0), Some(CPU));
    assert_eq!(host.engine.view().cpu(CPU).loan, None);
    assert_eq!(host.switches.last().unwrap().grace_ns, 500 * US);
    host.run_until(35 * MS);
    assert_eq!(host.cpu_of(third, 0), Some(CPU));
    assert_eq!(host.switches.last().unwrap().grace_ns, 0);
    // The creditor has waited for no CPU for long: the debt lapses.
    host.run_until(155 * MS);
    assert_eq!(host.switches.last().unwrap().grace_ns, 500 * US);
}

#[test]
fn debts_to_a_vm_that_has_left_are_not_paid_to_its_numbers_heir() {
    let mut host = Host::new(1, "pinned:quantum=10ms+smart");
    host.arrive(1);
    let creditor = host.arrive(1);
    host.grace_used_ns = 120 * US;
    host.run_until(10 * MS);
    host.leave(creditor);
    let heir = host.arrive(1);
    assert_eq!(heir, creditor);
    for quantum in 2..6 {
        host.run_until(quantum * 10 * MS);
        assert_eq!(host.engine.view().cpu(CPU).loan, None);
    }
}

/// Two CPUs: vm0's vCPUs on one each, vm1's only one with vm0's first. vm0's first holds a lock and
/// has lost its CPU to vm1; its second runs.
fn stranded() -> (Host, VcpuId, VcpuId) {
    let mut host = Host::new(2, "pinned:quantum=10ms+smart");
    let vm = host.arrive(2);
    host.arrive(1);
    let (holder, waiter) = (host.vcpu(vm, 0), host.vcpu(vm, 1));
    let state = holding(&host);
    lock(&mut host, holder, state);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 1))]);
    (host, holder, waiter)
}

#[test]
fn a_sibling_that_spins_makes_way_for_a_stranded_holder() {
    let (mut host, holder, waiter) = stranded();
    lock(&mut host, waiter, LockState::Waiting);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 0))]);
    // The turn is still the waiter's.
    assert_eq!(host.engine.view().vcpu(waiter).turn, Some(CpuId(1)));
    host.run_until(host.now + 30 * US);
    lock(&mut host, holder, LockState::Free);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 1))]);
}

#[test]
fn a_boost_ends_and_the_pair_rests() {
    let (mut host, holder, waiter) = stranded();
    let start = host.now;
    lock(&mut host, waiter, LockState::Waiting);
    host.run_until(start + 100 * US);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 1))]);
    // Asked again, it does not do it again so soon.
    lock(&mut host, waiter, LockState::Waiting);
    host.run_until(start + 6 * MS - 1);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 1))]);
    // A scan finds that the pause is over.
    host.run_until(start + 6 * MS);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 0))]);
    assert!(host.engine.view().vcpu(holder).loan.is_some());
}

#[test]
fn a_holder_that_loses_its_cpu_while_a_sibling_spins_is_boosted_at_once() {
    let mut host = Host::new(2, "pinned:quantum=10ms+smart");
    let vm = host.arrive(2);
    host.arrive(1);
    let state = holding(&host);
    let (holder, waiter) = (host.vcpu(vm, 0), host.vcpu(vm, 1));
    lock(&mut host, holder, state);
    lock(&mut host, waiter, LockState::Waiting);
    assert_eq!(host.on_cpus(), [Some((0, 0)), Some((0, 1))]);
    host.run_until(10 * MS);
    assert_eq!(host.on_cpus(), [Some((1, 0)), Some((0, 0))]);
}

#[test]
fn no_ticks_without_stranded_holders() {
    let mut host = Host::new(1, "pinned:quantum=1s+smart");
    host.arrive(1);
    assert_eq!(host.engine.next_deadline(), Some(1000 * MS));
    let (mut host, holder, _) = stranded();
    assert_eq!(host.engine.next_deadline(), Some(11 * MS));
    lock(&mut host, holder, LockState::Free);
    host.run_until(11 * MS);
    assert_eq!(host.engine.next_deadline(), Some(20 * MS));
}
