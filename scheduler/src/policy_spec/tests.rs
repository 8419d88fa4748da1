use super::*;

fn error(text: &str) -> String {
    text.parse::<PolicySpec>().unwrap_err().to_string()
}

#[test]
fn mistakes_are_told_with_what_is_allowed() {
    assert!(error("gangg").starts_with("unknown policy \"gangg\": there are "));
    assert!(error("").starts_with("unknown policy \"\""));
    assert_eq!(
        error("pinned:quanta=1ms"),
        "policy pinned: unknown parameter \"quanta\": it has quantum, vary, antiphase"
    );
    assert_eq!(
        error("pinned:quantum=0ms"),
        "policy pinned: quantum=\"0ms\": expected a time from 10us to 10s, such as 20ms"
    );
    assert_eq!(
        error("pinned:quantum=1ms,quantum=2ms"),
        "policy pinned: quantum is given twice"
    );
    assert!(error("pinned:quantum").contains("expected a time"));
    assert!(error("pinned:").contains("unknown parameter \"\""));
    assert!(error("pinned+pinned").contains("can't wrap another"));
}

#[test]
fn every_policy_can_be_built_with_its_defaults() {
    for entry in registry::ENTRIES {
        let spec: PolicySpec = entry.name.parse().unwrap();
        let policy = spec.build(&Topology::flat(4));
        assert_eq!(policy.name(), entry.name);
    }
}

#[test]
fn a_quantum_is_known_whether_it_is_given_or_not() {
    let quantum = |text: &str| text.parse::<PolicySpec>().unwrap().quantum();
    assert_eq!(quantum("pinned:quantum=3ms"), Some(3_000_000));
    assert_eq!(quantum("pinned"), Some(10_000_000));
}
