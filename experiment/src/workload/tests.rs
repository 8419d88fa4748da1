use super::*;

fn work(text: &str) -> Work {
    text.parse::<Workload>().unwrap().work
}

#[test]
fn every_workload_has_defaults() {
    for (name, _) in WORKLOADS {
        let workload: Workload = name.parse().unwrap();
        assert_eq!(
            (workload.to_string().as_str(), workload.obey),
            (name, false)
        );
    }
    assert_eq!(
        work("compute"),
        Work::Compute {
            set_bytes: 256 << 10
        }
    );
}

#[test]
fn options_stand_in_any_order() {
    let workload: Workload = "obey grain=1.5ms  barrier halt".parse().unwrap();
    let (wait, grain_ns) = (Wait::Halt, 1_500_000);
    assert_eq!(
        (workload.work, workload.obey),
        (Work::Barrier { wait, grain_ns }, true)
    );
    let lock = Work::Lock {
        kind: LockKind::Ticket,
        critical_ns: 20_000,
        outside_ns: 0,
    };
    assert_eq!(work("critical=20us outside=0ns lock=ticket"), lock);
    assert_eq!(work("compute set=2M"), Work::Compute { set_bytes: 2 << 20 });
}

#[test]
fn what_the_guest_would_refuse_is_refused() {
    for (text, words) in [
        ("", "expected one of request-reply"),
        ("barriers", "expected one of"),
        ("hog timer", "expected one of"),
        ("lock=mutex", "expected one of"),
        (
            "hog seconds=1",
            "\"seconds=1\" does not go with hog: there are obey",
        ),
        ("barrier spin=1", "does not go"),
        ("barrier grain", "does not go"),
        ("barrier grain=1us grain=2us", "twice"),
        ("barrier spin halt", "either spin or halt"),
        ("barrier grain=10", "expected a time"),
        ("barrier grain=4000s", "expected a time"),
        ("barrier grain=0.5ns", "expected a time"),
        ("barrier grain=99999999999999999999s", "expected a time"),
        ("barrier grain=1.000000000000000000000s", "expected a time"),
        ("timer period=1us", "expected a time"),
        ("compute set=1K", "expected a size"),
        ("compute set=99999999999999999M", "expected a size"),
        ("message size=5000", "expected a number"),
    ] {
        let said = text.parse::<Workload>().unwrap_err().to_string();
        assert!(
            said.contains(words) && !said.contains('\n'),
            "{text}: {said}"
        );
    }
}
