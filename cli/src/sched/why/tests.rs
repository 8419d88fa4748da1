use super::*;

#[test]
fn decisions_stand_in_columns_and_nobody_is_called_so() {
    let decision = |at_ns, from: Option<&str>, to: Option<&str>| Decision {
        at_ns,
        cpu: 1,
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        reason: "its slot begins".to_owned(),
    };
    let decisions = [
        decision(1_000, None, Some("web/0")),
        decision(12_345_678_901, Some("web/10"), None),
    ];
    let expected = [
        " 0.000001 s  CPU 1  nobody -> web/0   its slot begins\n",
        "12.345679 s  CPU 1  web/10 -> nobody  its slot begins\n",
    ];
    assert_eq!(page(&decisions), expected.concat());
    assert!(page(&[]).contains("nothing"));
}
