use super::*;

const ROOT: Permits = Permits {
    real_time: true,
    nice: true,
    nice_counts: true,
};
const FAVOURED: Permits = Permits {
    real_time: false,
    ..ROOT
};
const ORDINARY: Permits = Permits {
    nice: false,
    ..FAVOURED
};

#[test]
fn ways_are_written_as_they_are_read() {
    for way in Enforcement::ALL {
        assert_eq!(way.to_string().parse(), Ok(way));
    }
    let said = "force".parse::<Enforcement>().unwrap_err().to_string();
    assert!(
        said.ends_with("there are gate, pulse and affinity"),
        "{said}"
    );
}

#[test]
fn trying_what_is_permitted_changes_nothing() {
    let before = class_of(0).unwrap();
    let permits = Permits::probe();
    assert_eq!(class_of(0).unwrap(), before);
    if !permits.real_time {
        assert!(!matches!(permits.agent_class(), Class::Fifo { .. }));
    }
}

#[test]
fn the_best_that_is_permitted_is_taken() {
    for (permits, taken, class) in [
        (
            ROOT,
            "gate, switched by real-time threads",
            Class::Fifo { priority: 10 },
        ),
        (
            FAVOURED,
            "gate, switched by threads at nice -20",
            Class::Fair {
                nice: -20,
                slice_ns: 0,
            },
        ),
        (ORDINARY, "gate, switched by ordinary threads", USUAL),
    ] {
        let way = permits.choose(None).unwrap();
        assert_eq!((way.to_string().as_str(), way.asked), (taken, false));
        assert_eq!(permits.agent_class(), class, "{taken}");
        assert_eq!(way.shortfall().is_none(), permits.real_time, "{taken}");
    }
}

#[test]
fn what_was_asked_for_is_taken_or_refused() {
    for permits in [ROOT, FAVOURED, ORDINARY] {
        for asked in Enforcement::ALL {
            let way = permits.choose(Some(asked));
            if asked == Enforcement::Pulse && !permits.real_time {
                assert_eq!(way, Err(NotPermitted));
            } else {
                let way = way.unwrap();
                assert_eq!((way.enforcement, way.asked), (asked, true));
            }
        }
    }
    let said = NotPermitted.to_string();
    assert!(said.contains("priority 10") && said.contains("muster doctor"));
}

#[test]
fn what_falls_short_is_told() {
    let reason = |permits: Permits| permits.choose(None).unwrap().shortfall().unwrap();
    assert!(!reason(FAVOURED).contains("nice"));
    assert!(reason(ORDINARY).contains("neither"));
    let apart = Permits {
        nice_counts: false,
        ..FAVOURED
    };
    assert!(reason(apart).contains("autogroup"));
    // Every message names the priority that is tried.
    for permits in [FAVOURED, ORDINARY, apart] {
        assert!(reason(permits).contains(&format!("priority {AGENT_PRIORITY}")));
    }
}
