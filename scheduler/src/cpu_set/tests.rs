use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn text_is_as_linux_writes_it() {
    let set: CpuSet = "0-3,8,10-11,1023".parse().unwrap();
    assert_eq!(set.to_string(), "0-3,8,10-11,1023");
    assert_eq!(set.len(), 8);
    assert_eq!(CpuSet::EMPTY.to_string(), "");
    assert_eq!(CpuSet::ALL.to_string(), "0-1023");
}

#[test]
fn wrong_text_is_told() {
    let error = |text: &str| text.parse::<CpuSet>().unwrap_err().to_string();
    assert_eq!(error("3-1"), "the range \"3-1\" ends before it begins");
    assert_eq!(
        error("1,x"),
        "\"x\" is not a CPU number or a range like 0-3"
    );
    assert_eq!(error(""), "\"\" is not a CPU number or a range like 0-3");
    assert_eq!(
        error("1024"),
        "CPU 1024 is over the highest possible number 1023"
    );
}

#[test]
fn first_n_has_n() {
    for count in [0, 1, 63, 64, 65, 1023, 1024] {
        let set = CpuSet::first_n(count);
        assert_eq!(set.len(), count);
        assert!(set.iter().eq((0..count as u16).map(CpuId)));
    }
}

proptest! {
    #[test]
    fn behaves_as_a_set_of_numbers(
        a in prop::collection::btree_set(0_u16..1024, 0..80),
        b in prop::collection::btree_set(0_u16..1024, 0..80),
    ) {
        let set = |numbers: &BTreeSet<u16>| numbers.iter().copied().map(CpuId).collect::<CpuSet>();
        let numbers = |set: CpuSet| set.iter().map(|cpu| cpu.0).collect::<BTreeSet<u16>>();
        prop_assert_eq!(numbers(set(&a)), a.clone());
        prop_assert_eq!(numbers(set(&a) & set(&b)), &a & &b);
        prop_assert_eq!(numbers(set(&a) | set(&b)), &a | &b);
        prop_assert_eq!(numbers(set(&a) - set(&b)), &a - &b);
        prop_assert_eq!(set(&a).is_subset(&set(&b)), a.is_subset(&b));
        if !a.is_empty() {
            prop_assert_eq!(set(&a).to_string().parse::<CpuSet>().unwrap(), set(&a));
        }
    }
}
