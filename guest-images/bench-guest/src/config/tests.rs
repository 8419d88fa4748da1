use super::*;

fn parse(line: &str) -> Result<Workload, ConfigError<'_>> {
    Config::parse(line).map(|config| config.workload)
}

#[test]
fn every_workload_has_defaults() {
    for name in NAMES {
        let line = if name == "lock" { "lock=tas" } else { name };
        let config = Config::parse(line).unwrap();
        assert!(!config.obey && config.duration_ns.is_none() && config.tsc_khz.is_none());
    }
}

#[test]
fn options_are_read_in_any_order() {
    let config =
        Config::parse("seconds=0.2 obey critical=1.5us lock=queue tsc_khz=2300000").unwrap();
    assert_eq!(
        config,
        Config {
            workload: Workload::Lock {
                kind: LockKind::Queue,
                critical_ns: 1_500,
                outside_ns: 20_000,
            },
            obey: true,
            duration_ns: Some(200_000_000),
            tsc_khz: Some(2_300_000),
        }
    );
    let barrier = parse("halt barrier grain=0ns").unwrap();
    assert_eq!(
        barrier,
        Workload::Barrier {
            wait: Wait::Halt,
            grain_ns: 0,
        }
    );
    assert_eq!(
        parse("compute set=2M"),
        Ok(Workload::Compute { set_kib: 2048 })
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    use ConfigError::{NoSuchLock, NoWorkload, NotHere, Second, Twice, Unknown, Value};
    for (line, error) in [
        ("", NoWorkload),
        ("seconds=1", NoWorkload),
        ("foo", Unknown("foo")),
        ("hog foo", Unknown("foo")),
        ("hog foo=1", Unknown("foo=1")),
        ("hog=1", Unknown("hog=1")),
        ("barrier spin=1", Unknown("spin=1")),
        ("hog timer", Second("timer")),
        ("hog hog", Second("hog")),
        ("hog grain=1us", NotHere("grain=1us")),
        ("timer obey", NotHere("obey")),
        ("barrier spin halt", NotHere("halt")),
        ("barrier obey obey", Twice("obey")),
        ("barrier grain=1us grain=2us", Twice("grain=2us")),
        ("barrier grain", Value("grain", Unit::Time)),
        ("barrier grain=10", Value("grain=10", Unit::Time)),
        ("barrier grain=1h", Value("grain=1h", Unit::Time)),
        ("barrier grain=2000s grain=1s", Twice("grain=1s")),
        ("barrier grain=4000s", Value("grain=4000s", Unit::Time)),
        ("phases run=0ns", Value("run=0ns", Unit::Time)),
        ("timer period=1ns", Value("period=1ns", Unit::Time)),
        ("compute set=1K", Value("set=1K", Unit::Kib)),
        ("message size=5000", Value("size=5000", Unit::Count)),
        ("hog seconds=0", Value("seconds=0", Unit::Seconds)),
        ("lock", NoSuchLock("lock")),
        ("lock=mutex", NoSuchLock("lock=mutex")),
    ] {
        assert_eq!(Config::parse(line), Err(error), "{line:?}");
    }
}

#[test]
fn numbers_are_whole_in_their_unit() {
    for (text, unit, value) in [
        ("100us", Unit::Time, Some(100_000)),
        ("1.5ms", Unit::Time, Some(1_500_000)),
        ("0.5ns", Unit::Time, None),
        (".5s", Unit::Time, None),
        ("1.s", Unit::Time, None),
        ("1.2.3s", Unit::Time, None),
        ("-1s", Unit::Time, None),
        ("99999999999999999999s", Unit::Time, None),
        ("18446744073709551615s", Unit::Time, None),
        ("1.000000000000000000000s", Unit::Time, None),
        ("0.25", Unit::Seconds, Some(250_000_000)),
        ("64", Unit::Kib, Some(64)),
        ("64k", Unit::Kib, None),
        ("", Unit::Count, None),
    ] {
        assert_eq!(super::parse(text, unit), value, "{text:?}");
    }
}
