use super::*;

const VM: &str = "[[vm]]\nname = \"A\"\nvcpus = 2\nworkload = \"barrier\"\n";
const HEAD: &str = "name = \"t\"\nabout = \"a test\"\n";

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse(text).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_said_has_a_default() {
    let experiment = parse(&format!("{HEAD}{VM}[[metric]]\n")).unwrap();
    let labels: Vec<&str> = experiment
        .rows
        .iter()
        .map(|row| row.label.as_str())
        .collect();
    assert_eq!(labels, BASELINES);
    assert!(experiment.rows.iter().all(|row| row.is_baseline));
    assert_eq!((experiment.round_ns, experiment.repetitions), (SECOND, 10));
    let metric = &experiment.metrics[0];
    assert_eq!(
        metric.measure,
        Measure::Rate {
            counter: 0,
            vcpu: None
        }
    );
    assert_eq!(
        (metric.name.as_str(), metric.vms.as_slice()),
        ("rate", &[0][..])
    );
    assert_eq!(experiment.vms[0].memory_bytes, 64 << 20);
    assert_eq!(experiment.length_ns(10), 3 * 10 * (SECOND + 300 * MS));
}

#[test]
fn all_that_there_is_can_be_said() {
    let text = r#"
        name = "all"
        about = "everything"
        round = "200ms"
        settle = "0s"
        repetitions = 3
        baselines = ["host:pin"]
        schedules = ["gang:quantum=20ms+smart"]
        alone = "B"
        swap = { every = "50ms", between = ["gang", "host"] }
        [[vm]]
        name = "A"
        vcpus = 4
        weight = 512
        cap = 150
        memory = "128MiB"
        workload = "lock=ticket critical=5us"
        [[vm]]
        name = "B"
        kernel = "vmlinuz"
        initrd = "initrd"
        cmdline = "quiet"
        boot = "5s"
        [[metric]]
        name = "late"
        kind = "rate"
        counter = "late-ns"
        vms = ["A"]
        vcpu = 3
        unit = "ns/s"
        [[metric]]
        kind = "percentile"
        percent = 99.9
        [[goal]]
        metric = "p99.9"
        row = "swap"
        against = "alone"
        at_most = 2
    "#;
    let experiment = parse(text).unwrap();
    let labels: Vec<&str> = experiment
        .rows
        .iter()
        .map(|row| row.label.as_str())
        .collect();
    assert_eq!(
        labels,
        ["host:pin", "gang:quantum=20ms+smart", "alone", "swap"]
    );
    let measure = Measure::Rate {
        counter: 6,
        vcpu: Some(3),
    };
    assert_eq!(
        (
            experiment.metrics[0].measure,
            &experiment.metrics[0].vms[..]
        ),
        (measure, &[0][..])
    );
    let goal = Goal {
        metric: 1,
        row: 3,
        against: Some(2),
        bound: Bound::AtMost(2.0),
    };
    assert_eq!(experiment.goals, [goal]);
    assert!(
        matches!(&experiment.vms[1].guest, Guest::Kernel { cmdline, .. } if cmdline == "quiet")
    );
}

#[test]
fn mistakes_are_told_in_a_line_that_names_the_place_and_what_may_stand_there() {
    let metric = "[[metric]]\n";
    let vm = |more: &str| format!("{HEAD}[[vm]]\n{more}\n{metric}");
    let top = |more: &str| format!("{HEAD}{more}\n{VM}{metric}");
    let measured = |more: &str| format!("{HEAD}{VM}[[metric]]\n{more}\n");
    let goal = |more: &str| format!("{HEAD}{VM}{metric}[[goal]]\n{more}\n");
    let cases = [
        ("name = ".to_owned(), "line 1: "),
        (format!("about = \"x\"\n{VM}{metric}"), "name: missing"),
        (format!("name = \"x\"\n{VM}{metric}"), "about: missing"),
        (
            format!("name = \"a b\"\nabout = \"x\"\n{VM}{metric}"),
            "name = \"a b\": expected letters",
        ),
        (
            format!("{HEAD}{metric}"),
            "vm: missing: expected one [[vm]]",
        ),
        (
            format!("{HEAD}{VM}"),
            "metric: missing: expected one [[metric]]",
        ),
        (
            top("speed = 1"),
            "speed: unknown key: there are name, about, round",
        ),
        (
            top("round = \"1ms\""),
            "round = \"1ms\": expected a time from 10ms to 600s",
        ),
        (top("round = 5"), "round = 5: expected a time"),
        (
            top("settle = \"61s\""),
            "settle = \"61s\": expected a time from",
        ),
        (
            top("repetitions = 0"),
            "repetitions = 0: expected a number from 1 to 1000",
        ),
        (
            top("schedules = [\"host\"]"),
            "schedules = \"host\": expected every schedule only once",
        ),
        (top("schedules = [\"gangs\"]"), "schedules: unknown policy"),
        (
            top("schedules = [\"linux\"]"),
            "schedules: linux is a model",
        ),
        (
            top("baselines = [\"host:fast\"]"),
            "baselines: host: \"fast\" is not known",
        ),
        (top("alone = \"C\""), "alone = \"C\": expected one of A"),
        (
            top("swap = { between = [\"gang\"] }"),
            "swap.between = 1: expected 2 to",
        ),
        (
            top("swap = { every = \"1us\", between = [\"gang\", \"host\"] }"),
            "swap.every",
        ),
        (vm("workload = \"hog\""), "vm[0].name: missing"),
        (vm("name = \"A\""), "vm[0].workload: missing"),
        (
            vm("name = \"../A\"\nworkload = \"hog\""),
            "vm[0].name = \"../A\": expected up to 63",
        ),
        (
            vm("name = \"A\"\nworkload = \"dance\""),
            "vm[0].workload: \"dance\": expected one of",
        ),
        (
            vm("name = \"A\"\nworkload = \"hog\"\nkernel = \"k\""),
            "either workload or kernel",
        ),
        (
            vm("name = \"A\"\nworkload = \"hog\"\nvcpus = 65"),
            "vm[0].vcpus = 65: expected",
        ),
        (
            vm("name = \"A\"\nworkload = \"hog\"\nmemory = \"1MiB\""),
            "a size from 64MiB to 64GiB",
        ),
        (
            vm("name = \"A\"\nworkload = \"hog\"\ninitrd = \"i\""),
            "vm[0].initrd: unknown key",
        ),
        (
            format!("{HEAD}{VM}{VM}{metric}"),
            "vm[1].name = \"A\": expected a name of its own",
        ),
        (
            measured("kind = \"speed\""),
            "metric[0].kind = \"speed\": expected one of rate",
        ),
        (
            measured("counter = \"works\""),
            "metric[0].counter = \"works\": expected one of work",
        ),
        (measured("counter = \"16\""), "or a number from 0 to 15"),
        (
            measured("vcpu = 2"),
            "metric[0].vcpu = 2: expected a vCPU that each",
        ),
        (
            measured("vms = [\"B\"]"),
            "metric[0].vms = \"B\": expected one of A",
        ),
        (measured("percent = 5"), "metric[0].percent: unknown key"),
        (
            measured("kind = \"percentile\"\npercent = 101"),
            "expected a number from 0 to 100",
        ),
        (
            measured("unit = \"\""),
            "metric[0].unit = \"\": expected a text of 1 to 60",
        ),
        (
            format!("{HEAD}{VM}{metric}{metric}"),
            "metric[1].name = \"rate\": expected a name",
        ),
        (goal("row = \"host\""), "goal[0].at_least: missing"),
        (goal("at_least = 1"), "goal[0].row: missing"),
        (
            goal("row = \"gang\"\nat_least = 1"),
            "goal[0].row = \"gang\": expected one of host",
        ),
        (
            goal("row = \"host\"\nagainst = \"x\"\nat_least = 1"),
            "goal[0].against = \"x\"",
        ),
        (
            goal("row = \"host\"\nat_least = 1\nat_most = 2"),
            "either at_least or at_most",
        ),
        (
            goal("row = \"host\"\nat_least = nan"),
            "goal[0].at_least = nan: expected a number",
        ),
        (
            goal("row = \"host\"\nat_least = -1"),
            "goal[0].at_least = -1: expected a number",
        ),
        (
            goal("metric = \"x\"\nrow = \"host\"\nat_least = 1"),
            "goal[0].metric = \"x\"",
        ),
    ];
    for (text, words) in cases {
        let said = parse(&text).expect_err(&text);
        assert!(said.contains(words), "{text}\n{said}");
        assert!(!said.contains('\n'), "{said:?}");
    }
}

#[test]
fn there_are_limits_to_everything() {
    let vms = |count: usize, vcpus: u32| -> String {
        let vm =
            |number| format!("[[vm]]\nname = \"v{number}\"\nvcpus = {vcpus}\nworkload = \"hog\"\n");
        (0..count).map(vm).collect()
    };
    let text = |vms: String| format!("{HEAD}{vms}[[metric]]\n");
    assert!(parse(&text(vms(32, 8))).is_ok());
    assert!(
        parse(&text(vms(33, 1)))
            .unwrap_err()
            .contains("at most 32 tables")
    );
    assert!(
        parse(&text(vms(5, 64)))
            .unwrap_err()
            .contains("at most 256 vCPUs")
    );
    let schedules: Vec<String> = (1..=30)
        .map(|n| format!("\"gang:quantum={n}ms\""))
        .collect();
    let text = format!(
        "{HEAD}schedules = [{}]\n{VM}[[metric]]\n",
        schedules.join(",")
    );
    assert!(parse(&text).unwrap_err().contains("at most 32 rows"));
    let metrics: String = (0..9)
        .map(|n| format!("[[metric]]\nname = \"m{n}\"\n"))
        .collect();
    assert!(
        parse(&format!("{HEAD}{VM}{metrics}"))
            .unwrap_err()
            .contains("at most 8 tables")
    );
}
