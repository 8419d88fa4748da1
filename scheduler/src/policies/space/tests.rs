use crate::engine::Input;
use crate::testing::Host;
use crate::{CpuId, CpuSet, MS, Runstate, SECOND, VmId, VmSpec};

/// The CPUs that a VM has, as Linux writes them.
fn cpus(host: &Host, vm: VmId) -> String {
    let view = host.engine.view();
    let turns = view.vm(vm).vcpus().filter_map(|vcpu| view.vcpu(vcpu).turn);
    turns.collect::<CpuSet>().to_string()
}

fn job(vcpus: u32, run_time_ns: u64) -> VmSpec {
    VmSpec {
        run_time_ns: Some(run_time_ns),
        ..VmSpec::new("job", vcpus)
    }
}

fn pinned_to(cpus: &str, vcpus: u32) -> VmSpec {
    VmSpec {
        hard_affinity: cpus.parse().unwrap(),
        ..VmSpec::new("vm", vcpus)
    }
}

#[test]
fn the_textbooks_32_cpus_in_four_partitions() {
    let mut host = Host::new(32, "space");
    let jobs = [8, 6, 4, 12].map(|size| host.arrive(size));
    let partitions = jobs.map(|vm| cpus(&host, vm));
    assert_eq!(partitions, ["0-7", "8-13", "14-17", "18-29"]);
    assert_eq!(host.on_cpus()[30..], [None, None]);
    // A fifth does not fit, and a sixth that would may not pass it, however short it is.
    let (fifth, sixth) = (host.arrive(4), host.arrive_as(job(2, 1)));
    assert_eq!(cpus(&host, fifth), "");
    assert_eq!(cpus(&host, sixth), "");
    host.run_until(10 * SECOND);
    assert_eq!(
        jobs.map(|vm| cpus(&host, vm)),
        partitions,
        "time changes nothing"
    );
    // The job on 8-13 ends: now both fit.
    host.leave(jobs[1]);
    assert_eq!(cpus(&host, fifth), "8-11");
    assert_eq!(cpus(&host, sixth), "12-13");
    host.leave(jobs[3]);
    let seventh = host.arrive(13);
    assert_eq!(cpus(&host, seventh), "18-30");
    assert_eq!(cpus(&host, jobs[0]), "0-7");
}

#[test]
fn a_blocked_vcpu_holds_its_cpu() {
    let mut host = Host::new(2, "space");
    let (a, b) = (host.arrive(2), host.arrive(1));
    host.halt(host.vcpu(a, 1));
    host.run_until(SECOND);
    assert_eq!(cpus(&host, a), "0-1");
    assert_eq!(host.running_ns(b), 0);
    host.wake(host.vcpu(a, 1));
    host.run_until(2 * SECOND);
    assert_eq!(host.running_ns(a), 3 * SECOND);
}

#[test]
fn the_smallest_product_of_cpus_and_time_goes_first() {
    let mut host = Host::new(4, "space:order=smallest");
    let first = host.arrive(4);
    let unknown = host.arrive(1);
    let long = host.arrive_as(job(2, 10 * SECOND));
    let wide = host.arrive_as(job(4, 4 * SECOND));
    let short = host.arrive_as(job(3, 5 * SECOND));
    host.leave(first);
    assert_eq!(cpus(&host, short), "0-2", "15 CPU seconds");
    assert_eq!(
        cpus(&host, wide),
        "",
        "16 CPU seconds, and it holds up the rest"
    );
    host.leave(short);
    assert_eq!(cpus(&host, wide), "0-3");
    host.leave(wide);
    assert_eq!(cpus(&host, long), "0-1");
    assert_eq!(cpus(&host, unknown), "2");
}

#[test]
fn the_head_is_passed_so_many_times_and_no_more() {
    let mut host = Host::new(4, "space:backfill=2");
    let base = host.arrive(3);
    let head = host.arrive(4);
    for _ in 0..2 {
        let small = host.arrive(1);
        assert_eq!(cpus(&host, small), "3");
        host.leave(small);
    }
    let third = host.arrive(1);
    assert_eq!(cpus(&host, third), "", "the head has been passed twice");
    host.leave(base);
    assert_eq!(cpus(&host, head), "0-3");
}

#[test]
fn a_vm_wider_than_the_host_is_folded() {
    let mut host = Host::new(2, "space:quantum=10ms");
    let small = host.arrive(1);
    let wide = host.arrive(4);
    assert_eq!(cpus(&host, wide), "", "it waits for every CPU");
    host.leave(small);
    host.run_until(40 * MS);
    for index in 0..4 {
        let times = host.engine.times(host.vcpu(wide, index));
        assert_eq!(times[Runstate::Running], 20 * MS);
    }
    // vCPUs 0 and 2 share a CPU. Without 0, 2 has it alone.
    host.halt(host.vcpu(wide, 0));
    host.run_until(80 * MS);
    assert_eq!(
        host.engine.times(host.vcpu(wide, 2))[Runstate::Running],
        60 * MS
    );
    host.halt(host.vcpu(wide, 2));
    host.wake(host.vcpu(wide, 0));
    assert_eq!(host.cpu_of(wide, 0), Some(CpuId(0)));
}

#[test]
fn affinities_are_kept_and_others_make_room() {
    let mut host = Host::new(3, "space");
    let picky = host.arrive(2);
    host.leave(picky);
    let vm = host.arrive(3);
    // vCPU 2 must go to CPU 0: the partition is given anew.
    host.input(Input::HardAffinity(
        host.vcpu(vm, 2),
        CpuSet::only(CpuId(0)),
    ));
    assert_eq!(host.cpu_of(vm, 2), Some(CpuId(0)));
    assert_eq!(cpus(&host, vm), "0-2");
    host.leave(vm);
    // Each may use one CPU only; the other's does not help.
    let (a, b) = (
        host.arrive_as(pinned_to("1", 1)),
        host.arrive_as(pinned_to("1-2", 2)),
    );
    assert_eq!(
        (cpus(&host, a), cpus(&host, b)),
        ("1".into(), String::new())
    );
    host.leave(a);
    assert_eq!(cpus(&host, b), "1-2");
}

#[test]
fn a_partition_lies_in_the_fullest_cache_that_has_room() {
    let topology = "llcs=2,cores=4".parse::<crate::topology::TopologySpec>();
    let topology = topology.unwrap().build().unwrap();
    let spec: crate::PolicySpec = "space".parse().unwrap();
    let policy = spec.build(&topology);
    let mut host = Host::with(topology, policy);
    let (three, two) = (host.arrive(3), host.arrive(2));
    assert_eq!(cpus(&host, three), "0-2");
    assert_eq!(cpus(&host, two), "4-5", "CPU 3 is left for a small one");
    let one = host.arrive(1);
    assert_eq!(cpus(&host, one), "3");
}

#[test]
fn cpus_that_go_take_the_partition_along() {
    let mut host = Host::new(4, "space");
    let (a, b) = (host.arrive(2), host.arrive(1));
    host.input(Input::Offline(CpuId(1)));
    assert_eq!((cpus(&host, a), cpus(&host, b)), ("0,3".into(), "2".into()));
    host.input(Input::Offline(CpuId(3)));
    assert_eq!(cpus(&host, a), "", "one CPU is not enough");
    host.input(Input::Online(CpuId(1)));
    assert_eq!(cpus(&host, a), "0-1");
    // All that it may use is one CPU: folded.
    host.leave(b);
    host.input(Input::Offline(CpuId(0)));
    host.input(Input::Offline(CpuId(1)));
    assert_eq!(cpus(&host, a), "2");
    host.run_until(SECOND);
    assert_eq!(host.running_ns(a), SECOND);
    let second = host.engine.times(host.vcpu(a, 1));
    assert_eq!(second[Runstate::Running], SECOND / 2);
}

#[test]
fn a_vm_without_any_cpu_holds_up_nobody() {
    let mut host = Host::new(2, "space");
    let stranded = host.arrive_as(pinned_to("1", 1));
    host.input(Input::Offline(CpuId(1)));
    let other = host.arrive(1);
    assert_eq!(cpus(&host, other), "0");
    host.input(Input::Online(CpuId(1)));
    assert_eq!(cpus(&host, stranded), "1");
}

#[test]
fn it_takes_over_a_running_host() {
    let mut host = Host::new(4, "pinned");
    let (a, b) = (host.arrive(3), host.arrive(2));
    host.run_until(5 * MS);
    host.set_policy("space");
    assert_eq!(
        (cpus(&host, a), cpus(&host, b)),
        ("0-2".into(), String::new())
    );
    host.leave(a);
    assert_eq!(cpus(&host, b), "0-1");
}

#[test]
fn a_wake_is_not_answered_with_a_cpu_that_is_forbidden_by_now() {
    let mut host = Host::new(1, "space");
    let spec = VmSpec {
        cap_percent: Some(50),
        ..VmSpec::new("capped", 2)
    };
    let vm = host.arrive_as(spec);
    host.run_until(99 * MS);
    let turn = host.engine.view().cpu(CpuId(0)).turn.unwrap();
    host.halt(turn.vcpu);
    // The cap's refill wakes the other at the very moment at which the CPU goes.
    host.now = 100 * MS;
    host.input(Input::Offline(CpuId(0)));
    assert_eq!(cpus(&host, vm), "");
    host.input(Input::Online(CpuId(0)));
    assert_eq!(cpus(&host, vm), "0");
}
