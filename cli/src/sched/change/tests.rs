use super::*;

#[test]
fn a_vm_or_one_of_its_vcpus_is_meant() {
    let of = |vm: &str, vcpu| {
        let vm = vm.to_owned();
        Ok(Target { vm, vcpu })
    };
    assert_eq!(target("web"), of("web", None));
    assert_eq!(target("web/0"), of("web", Some(0)));
    assert_eq!(target("web-1.2/17"), of("web-1.2", Some(17)));
    for (text, hint) in [
        ("", "is not a name"),
        ("/1", "is not a name"),
        ("web/", "web/1"),
        ("web/one", "web/1"),
        ("web/-1", "web/1"),
        ("web/1/2", "web/1"),
        ("we b", "is not a name"),
        ("../1", "is not a name"),
    ] {
        let error = target(text).unwrap_err();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn caps_are_percentages_or_none() {
    assert_eq!(cap_value("none"), Ok(Cap(None)));
    assert_eq!(cap_value("150"), Ok(Cap(Some(150))));
    assert_eq!(cap_value("50%"), Ok(Cap(Some(50))));
    for text in ["", "0", "-1", "102401", "1.5", "%", "None"] {
        assert!(cap_value(text).unwrap_err().contains("or none"), "{text}");
    }
}
