//! `muster experiment`, as people run it: with real VMs where there is `/dev/kvm`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use muster_guest_images::{BenchGuest, Cache};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// No test takes nearly as long.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Two VMs, under the host's scheduler and as gangs. `name` is in the names of the VMs.
fn two_vms(name: &str, workload: &str, round: &str) -> String {
    format!(
        r#"
name = "{name}"
about = "Two VMs."
baselines = ["host"]
schedules = ["gang:quantum=10ms"]
repetitions = 2
round = "{round}"
settle = "50ms"
[[vm]]
name = "{name}-A"
vcpus = 2
workload = "{workload}"
[[vm]]
name = "{name}-B"
vcpus = 2
workload = "{workload}"
[[metric]]
name = "exchanges"
vcpu = 0
[[goal]]
row = "gang:quantum=10ms"
against = "host"
at_least = 0.0
"#
    )
}

/// A name that no other process on this host has.
fn unique(word: &str) -> String {
    format!("{word}-{}", std::process::id())
}

fn muster(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.current_dir(dir).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for its end, but not for ever.
fn output(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > TIMEOUT {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!(
                "it does not end: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// How many processes have this word in their command line.
fn processes(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(word))
        .count()
}

/// The benchmark guest, unless there is no KVM to run it.
fn bench_guest() -> Option<BenchGuest> {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return None;
    }
    let cache = Cache::open_default().unwrap();
    Some(BenchGuest::build(&cache).unwrap())
}

#[test]
fn real_vms_are_measured_and_reported() {
    let Some(guest) = bench_guest() else { return };
    let dir = tempfile::tempdir().unwrap();
    let name = unique("measured");
    let experiment = two_vms(&name, "request-reply spin", "200ms");
    fs::write(dir.path().join("two.toml"), experiment).unwrap();
    let arguments = [
        "experiment",
        "run",
        "two.toml",
        "--out",
        "out",
        "--steal-limit",
        "100",
    ];
    let mut command = muster(dir.path(), &arguments);
    command.env("MUSTER_BENCH_GUEST", &guest.path);
    let output = output(command.spawn().unwrap());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(processes(&format!("{name}-")), 0);
    let table = text(&output.stdout);
    for words in [
        "2 repetitions",
        "gang:quantum=10ms",
        "over host",
        "met",
        "simulated",
    ] {
        assert!(table.contains(words), "no {words}: {table}");
    }
    let file = |name: &str| fs::read_to_string(dir.path().join("out").join(name)).unwrap();
    let data: Value = serde_json::from_str(&file("data.json")).unwrap();
    let rounds = data["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 4);
    for round in rounds {
        assert!(
            round["length_ns"].as_u64().unwrap() >= 200_000_000,
            "{round}"
        );
        for vm in 0..2 {
            let vcpu = &round["vms"][vm]["vcpus"][0];
            assert!(vcpu["run_ns"].as_u64().unwrap() > 0, "{round}");
        }
    }
    let gang = rounds
        .iter()
        .filter(|round| round["row"] == "gang:quantum=10ms");
    let switches = gang.map(|round| round["manager"]["switches"].as_u64().unwrap());
    assert!(switches.min().unwrap() > 4);
    assert!(file("report.md").contains("# measured-"));
    assert!(file("report.html").contains("Who was on which CPU"));
    assert!(file("lanes-gang-quantum-10ms.svg").contains("gang:quantum=10ms"));
    assert!(file("rounds-1.svg").contains("<circle"));
    let scenario = muster(dir.path(), &["sim", "sched", "out/scenario.toml"]);
    assert!({ scenario }.output().unwrap().status.success());
}

#[test]
fn who_interrupts_it_finds_no_vm_and_no_file() {
    let Some(guest) = bench_guest() else { return };
    let dir = tempfile::tempdir().unwrap();
    let name = unique("interrupted");
    fs::write(dir.path().join("long.toml"), two_vms(&name, "hog", "60s")).unwrap();
    let mut command = muster(dir.path(), &["experiment", "run", "long.toml"]);
    command.env("MUSTER_BENCH_GUEST", &guest.path);
    let child = command.spawn().unwrap();
    let start = Instant::now();
    while processes(&format!("{name}-B")) == 0 {
        assert!(start.elapsed() < TIMEOUT, "the VMs do not start");
        sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = output(child);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("interrupted"), "{output:?}");
    assert_eq!(processes(&format!("{name}-")), 0);
    assert_eq!(fs::read_dir(dir.path().join(&name)).unwrap().count(), 0);
}

#[test]
fn a_vm_that_ends_is_told_with_its_words() {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = unique("ended");
    let experiment = two_vms(&name, "hog", "200ms");
    fs::write(dir.path().join("bad.toml"), experiment).unwrap();
    fs::write(dir.path().join("guest"), "no kernel at all").unwrap();
    let mut command = muster(dir.path(), &["experiment", "run", "bad.toml"]);
    command.env("MUSTER_BENCH_GUEST", dir.path().join("guest"));
    let output = output(command.spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let words = format!("the VM {name}-A has ended (exit status: 1): muster: ");
    assert!(said.contains(&words), "{said}");
    assert_eq!(processes(&format!("{name}-")), 0);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "name = \"x\"\n").unwrap();
    for (arguments, words) in [
        (
            &["nothing"][..],
            "no experiment and no file is called \"nothing\"",
        ),
        (&["./none.toml"], "cannot read ./none.toml"),
        (&["bad.toml"], "bad.toml: about: missing"),
        (&["skew", "--reps", "0"], "--reps"),
        (&["skew", "--steal-limit", "nan"], "--steal-limit"),
        (
            &["skew", "--enforcement", "force"],
            "gate, pulse and affinity",
        ),
    ] {
        let arguments: Vec<&str> = ["experiment", "run"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let output = muster(dir.path(), &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let output = muster(dir.path(), &["experiment", "list"])
        .output()
        .unwrap();
    let list = text(&output.stdout);
    let mut lines = list.lines();
    let line = lines.find(|line| line.starts_with("request-reply "));
    assert!(line.unwrap().contains("  Two VMs "), "{list}");
}
