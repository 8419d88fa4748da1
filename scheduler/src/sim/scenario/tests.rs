use super::*;
use crate::US;
use crate::vm::WEIGHT_DEFAULT;

const SMALLEST: &str = "name = \"x\"\n[[vm]]\n";

fn parse(text: &str) -> Scenario {
    Scenario::parse(text).unwrap()
}

/// The message for a file that is wrong; always one line.
fn error(text: &str) -> String {
    let message = Scenario::parse(text).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn the_smallest_file_has_defaults_everywhere() {
    let scenario = parse(SMALLEST);
    assert_eq!(scenario.topology.cpu_count(), 2);
    assert_eq!(scenario.costs, Costs::default());
    assert_eq!(scenario.total_ns(), SECOND);
    assert_eq!(scenario.policies.len(), 1);
    assert_eq!(scenario.baseline.to_string(), "pinned");
    let vm = &scenario.vms[0];
    assert_eq!((vm.spec.vcpus, vm.active, vm.count), (1, 1, 1));
    assert_eq!(vm.spec.weight, WEIGHT_DEFAULT);
    assert_eq!(
        vm.workload,
        Workload::Compute {
            grain_ns: 10 * MS,
            spread: Spread::Fixed
        }
    );
}

#[test]
fn every_key_is_read() {
    let scenario = parse(
        r#"
        name = "all"
        about = "everything"
        duration = "2s"
        warm-up = "100ms"
        seed = 7
        baseline = "pinned:quantum=4ms"
        policies = ["pinned", "pinned:quantum=20ms"]
        [host]
        topology = "llcs=2,cores=2,threads=2"
        costs = { actuation = "1us", jitter = "2us", switch = "3us", ipi = "4us", handoff = "5ns", evict = "6us", refill = "7us", refill-memory = "8us", refill-remote = "9us", smt = 70 }
        steal = { every = "50ms", length = "2ms" }
        [[vm]]
        name = "jobs"
        vcpus = 4
        weight = 512
        cap = 150
        hard-affinity = "0-5"
        soft-affinity = "0-1"
        arrive = "1ms"
        leave = "1s"
        work = "10ms"
        run-time = "known"
        working-set = "256KiB"
        cooperative = true
        arrivals = { every = "20ms", sizes = "harmonic", vary-work = true }
        workload = { kind = "barrier", grain = "1ms", imbalance = 10, wait = "spin-then-halt", spin-limit = "20us" }
        [[vm]]
        vcpus = 2
        [vm.workload]
        kind = "phases"
        [[vm.workload.phase]]
        ops = 3
        kind = "lock"
        lock = "ticket"
        [[vm.workload.phase]]
        kind = "messages"
        to = "all"
        [faults]
        late = 1
        late-by = "2ms"
        lost = 3
        lost-for = "4ms"
        never-halt = 5
        offline-every = "6ms"
        offline-for = "7ms"
        [[swap]]
        at = "500ms"
        policy = "pinned"
        [[offline]]
        cpu = 7
        at = "1ms"
        until = "2ms"
        "#,
    );
    assert_eq!(scenario.costs.refill_remote_ns, 9 * US);
    assert_eq!(scenario.costs.smt_percent, 70);
    assert_eq!(scenario.steal.unwrap().length_ns, 2 * MS);
    let jobs = &scenario.vms[0];
    assert_eq!(jobs.spec.cap_percent, Some(150));
    assert_eq!(jobs.spec.hard_affinity, CpuSet::first_n(6));
    assert_eq!(jobs.run_time, RunTime::Work);
    assert_eq!(jobs.count, u32::MAX);
    assert_eq!(jobs.working_set_bytes, 256 << 10);
    assert_eq!(jobs.arrivals.unwrap().sizes, Sizes::Harmonic);
    let Workload::Barrier { wait, .. } = jobs.workload else {
        panic!("{:?}", jobs.workload)
    };
    assert_eq!(wait, Wait::SpinThenHalt { limit_ns: 20 * US });
    let Workload::Phases(phases) = &scenario.vms[1].workload else {
        panic!("{:?}", scenario.vms[1].workload)
    };
    assert_eq!(phases.len(), 2);
    assert_eq!(phases[0].ops, 3);
    assert_eq!(scenario.faults.offline_every_ns, Some(6 * MS));
    assert_eq!(scenario.swaps[0].at_ns, 500 * MS);
    assert_eq!(scenario.outages[0].cpu, CpuId(7));
}

#[test]
fn errors_name_the_field_and_what_is_allowed() {
    let vm = |keys: &str| format!("{SMALLEST}{keys}\n");
    let work = |keys: &str| format!("{SMALLEST}vcpus = 3\nworkload = {{ {keys} }}\n");
    let cases = [
        ("name = \"x\"\nname".to_owned(), "line 2: "),
        (String::new(), "name: missing: expected a name"),
        (
            "name = \"x\"".to_owned(),
            "vm: missing: expected one [[vm]] at least",
        ),
        (
            vm("vcpu = 2"),
            "vm[0].vcpu: unknown key: there are name, vcpus, ",
        ),
        (
            vm("vcpus = 0"),
            "vm[0].vcpus = 0: expected a number from 1 to 1024",
        ),
        (
            vm("weight = -1"),
            "vm[0].weight = -1: expected a number from 1 to 10000",
        ),
        (vm("arrive = 5"), "vm[0].arrive = 5: expected a time up to"),
        (
            vm("leave = \"0s\""),
            "vm[0].leave = a time: expected a later one than arrive",
        ),
        (
            vm("hard-affinity = \"0-9\""),
            "vm[0].hard-affinity = 0-9: expected CPUs of the host: 0-1",
        ),
        (
            vm("working-set = \"2MB\""),
            "vm[0].working-set = \"2MB\": expected a size up to",
        ),
        (
            vm("run-time = \"known\""),
            "vm[0].run-time = \"known\": expected a time such as",
        ),
        (
            work("kind = \"x\""),
            "vm[0].workload.kind = \"x\": expected one of compute, idle, lock, ",
        ),
        (
            work("kind = \"request-reply\""),
            "vm[0].workload.kind = request-reply: expected another kind",
        ),
        (
            work("grain = \"0ms\""),
            "vm[0].workload.grain = \"0ns\": expected more than zero",
        ),
        (
            work("spin-limit = \"1us\""),
            "vm[0].workload.spin-limit: unknown key: there are kind, grain, spread",
        ),
        (
            work("kind = \"barrier\", spin-limit = \"1us\""),
            "vm[0].workload.spin-limit = a time: expected nothing",
        ),
        (
            vm("cooperative = true\nworkload = { kind = \"timer\" }"),
            "vm[0].cooperative = true: expected false",
        ),
        (
            vm("[host]\ntopology = \"0\""),
            "host.topology: 0 CPUs: a host has from 1 to 1024",
        ),
        (
            vm("[[swap]]\nat = \"1s\""),
            "swap[0].policy: missing: expected a policy",
        ),
        (
            vm("[[offline]]\ncpu = 2"),
            "offline[0].cpu = 2: expected a number from 0 to 1",
        ),
        (
            vm("[host]\ncosts = 3"),
            "host.costs = 3: expected a table: [host.costs]",
        ),
        (
            vm("[picture]\nto = \"2s\""),
            "picture.to = 2s: expected at most 1s",
        ),
        (
            vm("[picture]\nfrom = \"1s\""),
            "picture.from = 1s: expected less than 1s",
        ),
        (
            "name = \"x\"\npolicies = [\"none\"]\n[[vm]]".to_owned(),
            "policies: unknown policy \"none\": there are ",
        ),
    ];
    for (text, expected) in cases {
        let message = error(&text);
        assert!(
            message.starts_with(expected),
            "{message}\nexpected: {expected}"
        );
    }
}

#[test]
fn what_is_printed_stays_in_its_line() {
    let colour = "\"a\\u001b[31mb\"";
    for text in [
        format!("name = {colour}\n[[vm]]"),
        format!("name = \"x\"\n[[vm]]\nname = {colour}"),
        format!("name = \"x\"\n{colour} = 1\n[[vm]]"),
    ] {
        let error = error(&text);
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    error("name = \"x\"\n\"two\\nlines\" = 1\n[[vm]]");
}

#[test]
fn no_more_vcpus_than_anybody_could_wait_for() {
    let vms = |count: u32| format!("name = \"x\"\n[[vm]]\n[[vm]]\ncount = {count}\nvcpus = 1024");
    parse(&vms(63));
    assert_eq!(
        error(&vms(64)),
        "vm[1].count = 64: expected at most 65536 vCPUs in all VMs, not 65537"
    );
    parse(&(vms(1_000_000) + "\narrivals = {}"));
}
