use crate::sim::scenario::Scenario;

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(&format!("name = \"x\"\n{text}")).map_err(|error| error.to_string())
}

fn vm(rest: &str) -> String {
    format!("host.topology = \"4\"\n[[vm]]\nvcpus = 8\n{rest}")
}

#[test]
fn what_would_not_end_is_refused_with_what_would() {
    let cases = [
        (
            vm("[host.steal]\nevery = \"1ns\"\nlength = \"1ns\"").replace("host.topology", "#"),
            "host.steal.every = 1ns: expected 50ns or more",
        ),
        (
            vm("workload = { kind = \"compute\", grain = \"1ns\" }"),
            "vm[0].workload.grain = 1ns: expected 20ns or more in a run of 1s on 4 CPUs, or a shorter duration",
        ),
        (
            vm("workload = { kind = \"barrier\", grain = \"3ns\" }"),
            "vm[0].workload.grain = 3ns: expected",
        ),
        (
            vm("workload = { kind = \"lock\", outside = \"1ns\", critical = \"2ns\" }"),
            "vm[0].workload.outside = 1ns: expected",
        ),
        (
            vm("workload = { kind = \"request-reply\", think = \"1ns\", reply = \"1ns\" }"),
            "vm[0].workload.think = 1ns: expected",
        ),
        (
            vm(
                "workload = { kind = \"messages\", to = \"all\", between = \"1ns\", handle = \"1ns\" }",
            ),
            "vm[0].workload.handle = 1ns: expected",
        ),
        (
            vm("workload = { kind = \"timer\", period = \"1ns\", work = \"1ns\" }"),
            "vm[0].workload.work = 1ns: expected",
        ),
        (
            vm("workload = { kind = \"io\", compute = \"1ns\", wait = \"1ns\" }"),
            "vm[0].workload.",
        ),
        (
            vm(
                "[vm.workload]\nkind = \"phases\"\n[[vm.workload.phase]]\n[[vm.workload.phase]]\ngrain = \"2ns\"",
            ),
            "vm[0].workload.phase[1].grain = 2ns: expected",
        ),
        (
            vm("[faults]\noffline-every = \"1ns\"").replace("[[vm]]", "duration = \"2s\"\n[[vm]]"),
            "faults.offline-every = 1ns: expected 50ns or more",
        ),
        (
            format!(
                "duration = \"100000s\"\n{}",
                vm("workload = { kind = \"compute\", grain = \"10us\" }")
            ),
            "vm[0].workload.grain = 10us: expected 2ms or more in a run of 100000s",
        ),
        (
            vm("arrivals = { every = \"1us\" }\nwork = \"1us\""),
            "vm[0].arrivals.every = 1us: expected a longer time, a lower count, or a shorter duration",
        ),
        (
            format!(
                "duration = \"100000s\"\npolicies = [\"pinned:quantum=10us\"]\n{}",
                vm("")
            ),
            "policies: pinned:quantum=10us would do something every 10us on 4 CPUs, too often",
        ),
        (
            format!(
                "duration = \"100000s\"\nbaseline = \"linux:tick=10us\"\n{}",
                vm("")
            ),
            "baseline: linux:tick=10us would do something every 10us",
        ),
        (
            format!("policies = [{}]\n{}", "\"pinned\",".repeat(101), vm("")),
            "policies = 101 policies: expected at most 100",
        ),
        (
            vm("[host]\ncosts = { refill-remote = \"2s\" }").replace("host.topology", "#"),
            "host.costs.refill-remote = 2s: expected at most 1s",
        ),
    ];
    for (text, expected) in cases {
        let message = parse(&text).expect_err(&text);
        assert!(
            message.starts_with(expected),
            "{message}\nexpected: {expected}"
        );
    }
}

#[test]
fn what_is_advised_is_taken() {
    let text = |grain| {
        vm(&format!(
            "workload = {{ kind = \"compute\", grain = \"{grain}\" }}"
        ))
    };
    assert!(parse(&text("19ns")).is_err());
    parse(&text("20ns")).unwrap();
    // Of several that share the room, each is told to leave some to the others.
    let both = |grain| {
        let one = format!("{}\n", text("1ns"));
        let other = text(grain).replace("host.topology = \"4\"\n", "");
        one.replace("1ns", grain) + &other
    };
    let advised = parse(&both("20ns")).unwrap_err();
    assert!(advised.contains("expected 50ns or more"), "{advised}");
    parse(&both("50ns")).unwrap();
    // A decision of a policy counts more than what a guest does.
    let lasting = |seconds| {
        let policies = "policies = [\"pinned:quantum=10us\"]";
        parse(&format!(
            "duration = \"{seconds}s\"\n{policies}\n{}",
            vm("")
        ))
    };
    lasting(124).unwrap();
    assert!(lasting(126).is_err());
    // What takes no CPU time is limited by what does.
    parse(&vm("workload = { kind = \"timer\", period = \"1ns\" }")).unwrap();
    parse(&vm(
        "workload = { kind = \"messages\", to = \"all\", between = \"1ns\" }",
    ))
    .unwrap();
    // A count of VMs limits those that arrive.
    parse(&vm(
        "arrivals = { every = \"1us\" }\ncount = 100\nwork = \"1us\"",
    ))
    .unwrap();
}
