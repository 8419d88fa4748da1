//! `muster sim sched` and `muster sched`, as people run them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SCENARIO: &str = r#"
name = "two gangs"
about = "Two VMs meet at barriers on two CPUs."
duration = "200ms"
baseline = "pinned:quantum=5ms"
policies = ["gang:quantum=5ms"]
host.topology = "2"
[[vm]]
name = "A"
vcpus = 2
workload = { kind = "barrier" }
[[vm]]
name = "B"
vcpus = 2
workload = { kind = "barrier" }
"#;

fn muster(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.current_dir(dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Checks that muster ends with `status` and one line that has `word` in it, and leaves nothing.
#[track_caller]
fn refuses(dir: &Path, arguments: &[&str], status: i32, word: &str) {
    let count = || fs::read_dir(dir).unwrap().count();
    let before = count();
    let output = muster(dir, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {stderr}"
    );
    assert!(
        stderr.contains(word),
        "{arguments:?}: {stderr:?} does not say {word:?}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    if !stderr.starts_with("error: ") {
        assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
        assert!(stderr.starts_with("muster: "), "{stderr:?}");
    }
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    assert_eq!(count(), before, "{arguments:?} left something behind");
}

#[test]
fn a_comparison_prints_tables_and_writes_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("two.toml"), SCENARIO).unwrap();
    let line = [
        "sim",
        "sched",
        "two.toml",
        "--json",
        "out.json",
        "--svg",
        "out.svg",
        "--html",
        "out.html",
        "--trace",
        "trace.json",
    ];
    let output = muster(dir.path(), &line);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.starts_with("two gangs: 2 CPUs, 200ms, seed 1\n"),
        "{table}"
    );
    assert!(table.contains("pinned:quantum=5ms (baseline)"), "{table}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(path("out.json")).unwrap()).unwrap();
    let gang = &json["policies"][1];
    assert_eq!(gang["policy"], "gang:quantum=5ms");
    // Both VMs have half of the time with their siblings beside them: near 1000 barriers each.
    for vm in gang["vms"].as_array().unwrap() {
        assert!((900..=1000).contains(&vm["ops"].as_u64().unwrap()), "{vm}");
    }
    let svg = fs::read_to_string(path("out.svg")).unwrap();
    assert!(svg.contains(">slot 1<") && svg.matches(">B1<").count() > 4);
    let trace: serde_json::Value =
        serde_json::from_slice(&fs::read(path("trace.json")).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
    let html = fs::read_to_string(path("out.html")).unwrap();
    assert!(html.contains("Two VMs meet at barriers"));
    // Nothing but what was asked for, and the same again.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
    let again = muster(dir.path(), &["sim", "sched", "two.toml"]);
    assert_eq!(text(&again.stdout), table);
    let other = muster(
        dir.path(),
        &["sim", "sched", "two.toml", "--seed", "2", "--json", "-"],
    );
    let other: serde_json::Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(other["seed"], 2);
}

#[test]
fn charts_of_all_policies_go_into_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("two.toml"), SCENARIO).unwrap();
    let output = muster(dir.path(), &["sim", "sched", "two.toml", "--svg", "charts"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let names = fs::read_dir(dir.path().join("charts")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "two-gangs.gang-quantum-5ms.svg",
            "two-gangs.pinned-quantum-5ms.svg"
        ]
    );
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    for (name, content) in [
        ("good.toml", SCENARIO.to_owned()),
        ("key.toml", SCENARIO.replace("vcpus = 2", "vcpu = 2")),
        ("zero.toml", SCENARIO.replace("quantum=5ms", "quantum=0ms")),
        ("cpus.toml", SCENARIO.replace("\"2\"", "\"2000\"")),
        ("syntax.toml", "name = \n".to_owned()),
        ("large.toml", "#".repeat(2 << 20)),
    ] {
        fs::write(here.join(name), content).unwrap();
    }
    fs::write(here.join("binary.toml"), [0xff, 0xfe]).unwrap();
    let sim = |arguments: &[&'static str]| [&["sim", "sched"], arguments].concat();
    for (arguments, word) in [
        (&["nowhere.toml"][..], "cannot read nowhere.toml"),
        (
            &["nothing"],
            "no scenario and no file is called \"nothing\"",
        ),
        (
            &["key.toml"],
            "key.toml: vm[0].vcpu: unknown key: there are name",
        ),
        (
            &["zero.toml"],
            "zero.toml: baseline: policy pinned: quantum",
        ),
        (&["cpus.toml"], "cpus.toml: host.topology: 2000 CPUs"),
        (&["syntax.toml"], "syntax.toml: line 1"),
        (&["large.toml"], "more than 1 MiB"),
        (&["binary.toml"], "cannot read binary.toml"),
        (&["/dev/zero"], "cannot read /dev/zero"),
        (
            &["good.toml", "--from", "1s"],
            "expected times from 0ns to 200ms",
        ),
        (&["good.toml", "--policy", "x"], "unknown policy"),
        (&["good.toml", "--svg", "x.png"], "ends in .svg"),
        (&[], "SCENARIO"),
    ] {
        refuses(here, &sim(arguments), 2, word);
    }
    for flag in ["--json", "--svg", "--html", "--trace"] {
        refuses(
            here,
            &[&sim(&["good.toml"])[..], &[flag, "no/out.svg"]].concat(),
            1,
            "no/out.svg",
        );
    }
}

#[test]
fn policies_are_listed_for_people_and_programs() {
    let here = Path::new(".");
    let page = text(&muster(here, &["sched", "policies"]).stdout);
    assert!(
        page.contains("  pinned\n      every vCPU has one CPU for ever"),
        "{page}"
    );
    let json = muster(here, &["sched", "policies", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["policies"][0]["name"], "pinned");
}

#[test]
fn scenarios_that_come_with_muster_are_listed() {
    let output = muster(Path::new("."), &["sim", "sched", "--list"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list = text(&output.stdout);
    let lines = list.lines().take_while(|line| !line.is_empty());
    assert_eq!(lines.count(), muster_scheduler::sim::shipped::SHIPPED.len());
    assert!(!list.contains("Tolerance"), "{list}");
}

#[test]
fn standard_output_is_no_directory_of_that_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("-")).unwrap();
    let output = muster(dir.path(), &["sim", "sched", "ready-queue", "--json", "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_scenario_tells_what_it_shows() {
    let output = muster(Path::new("."), &["sim", "sched", "skew", "--about"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let about = text(&output.stdout);
    assert!(about.starts_with("skew\n"), "{about}");
    assert!(about.contains("Tolerance: "), "{about}");
}
