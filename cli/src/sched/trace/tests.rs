use super::*;

fn switch(done_ns: Nanos, cpu: u16, vcpu: &str) -> SwitchRecord {
    SwitchRecord {
        planned_ns: done_ns,
        done_ns,
        cpu,
        vcpu: Some(vcpu.to_owned()),
        level: None,
    }
}

#[test]
fn what_is_fetched_twice_counts_once() {
    let mut collected = Collected::default();
    collected.add(vec![switch(5, 1, "a/0"), switch(3, 0, "b/0")]);
    collected.add(vec![
        switch(3, 0, "b/0"),
        switch(5, 0, "c/0"),
        switch(7, 1, "d/0"),
    ]);
    let order: Vec<_> = collected.0.into_values().map(|s| s.vcpu.unwrap()).collect();
    assert_eq!(order, ["b/0", "c/0", "a/0", "d/0"]);
}

#[test]
fn outputs_that_cannot_be_written_are_found_first() {
    let dir = tempfile::tempdir().unwrap();
    check(&dir.path().join("trace.json")).unwrap();
    check(Path::new("trace.json")).unwrap();
    let said = |path: &Path| check(path).unwrap_err().to_string();
    assert!(said(dir.path()).contains("is a directory"));
    assert!(said(&dir.path().join("no/file")).contains("is no directory"));
    assert!(check(Path::new("-")).unwrap_err().is::<UsageError>());
}
