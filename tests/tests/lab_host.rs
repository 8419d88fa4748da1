//! The lab host itself: what a command says and how it ends comes back as it was.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use muster_guest_images::Cache;
use muster_tests::lab::{Lab, LabError, LabOutput};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(180);

fn output(command: &str) -> LabOutput {
    let cache = Cache::open_default().unwrap();
    Lab::new(["sh", "-c", command])
        .timeout(LIMIT)
        .output(&cache)
        .unwrap()
}

#[test]
fn output_is_byte_for_byte_what_the_command_wrote() {
    let output = output(
        "for n in $(seq 0 255); do printf \\\\$(printf %03o $n); done; \
         printf 'no newline' >&2; exit 42",
    );
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(output.stdout, all_bytes);
    assert_eq!(output.stderr, b"no newline");
    assert_eq!(output.outcome.status, 42);
}

#[test]
fn much_output_comes_whole_also_from_processes_that_the_command_left() {
    let output =
        output("(sleep 1; echo late >&2) & seq 1 200000; sleep 2; sleep 1000 & kill -9 $$");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 200_000);
    assert!(
        text.lines()
            .zip(1_u32..)
            .all(|(line, number)| line == number.to_string())
    );
    assert_eq!(output.stderr, b"late\n");
    assert_eq!(output.outcome.status, 128 + 9);
}

#[test]
fn it_has_kvm_with_nested_paging_and_an_ordinary_user() {
    let cache = Cache::open_default().unwrap();
    let command = "cat /sys/module/kvm_amd/parameters/npt; id -un; id -Gn; test -w /dev/kvm";
    let output = Lab::new(["sh", "-c", command])
        .as_user()
        .timeout(LIMIT)
        .output(&cache)
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "Y\nuser\nuser kvm\n");
    assert_eq!(output.outcome.status, 0);
}

#[test]
fn files_and_disks_are_there_and_the_host_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk,with a comma");
    fs::write(&disk, [b'x'; 1 << 20]).unwrap();
    let cache = Cache::open_default().unwrap();
    let command = "cat /lab/some/file; head -c 3 /dev/vda; \
                   dd if=/dev/zero of=/dev/vda bs=1M count=1 2>/dev/null && sync && echo written";
    let file = dir.path().join("file");
    fs::write(&file, "content\n").unwrap();
    let output = Lab::new(["sh", "-c", command])
        .file(&file, "/lab/some/file")
        .disk(&disk)
        .timeout(LIMIT)
        .output(&cache)
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "content\nxxxwritten\n"
    );
    assert_eq!(fs::read(&disk).unwrap(), [b'x'; 1 << 20]);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "something was left behind"
    );
}

#[test]
fn a_command_that_cannot_run_is_told_as_shells_tell_it() {
    let cache = Cache::open_default().unwrap();
    let output = Lab::new(["no-such-command"])
        .timeout(LIMIT)
        .output(&cache)
        .unwrap();
    assert_eq!(output.outcome.status, 127);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-command"));
}

#[test]
fn a_lab_that_goes_down_is_an_error_with_its_last_words() {
    let cache = Cache::open_default().unwrap();
    let result = Lab::new(["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 100"])
        .timeout(LIMIT)
        .output(&cache);
    let Err(error @ LabError::Died { .. }) = result else {
        panic!("{result:?}")
    };
    assert!(error.to_string().contains("Kernel panic"), "{error}");
}

/// Not a test by itself: a process with a lab whose emulator is known.
#[test]
#[ignore = "runs until it or its emulator is stopped"]
fn sleeping_caller() {
    let cache = Cache::open_default().unwrap();
    let lab = Lab::new(["sh", "-c", "echo asleep; exec sleep 1000"]);
    panic!("{:?}", lab.timeout(LIMIT).run(&cache));
}

/// Starts [`sleeping_caller`]; gives it and its emulator when its lab is up.
fn start_sleeping_caller() -> (Child, Pid) {
    let mut caller = Command::new(env::current_exe().unwrap());
    caller.args(["--exact", "sleeping_caller", "--ignored", "--nocapture"]);
    caller.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut caller = caller.spawn().unwrap();
    let mut stdout = BufReader::new(caller.stdout.take().unwrap());
    assert!(
        stdout
            .by_ref()
            .lines()
            .any(|line| line.unwrap() == "asleep")
    );
    // Given back: a test that cannot write ends when it has been running for a minute.
    caller.stdout = Some(stdout.into_inner());
    let emulator = emulator_of(caller.id()).expect("the lab runs");
    (caller, Pid::from_raw(emulator.parse().unwrap()))
}

#[test]
fn a_lab_that_stands_still_is_an_error_long_before_the_time_limit() {
    let (caller, emulator) = start_sleeping_caller();
    let start = Instant::now();
    kill(emulator, Signal::SIGSTOP).unwrap();
    let output = caller.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("StoodStill"), "{text}");
    assert!(start.elapsed() < LIMIT / 2);
}

#[test]
fn a_killed_caller_leaves_no_emulator() {
    let (mut caller, emulator) = start_sleeping_caller();
    caller.kill().unwrap();
    caller.wait().unwrap();
    let start = Instant::now();
    while fs::read_to_string(format!("/proc/{emulator}/cmdline")).is_ok_and(|line| !line.is_empty())
    {
        assert!(start.elapsed() < Duration::from_secs(10), "QEMU lives on");
        sleep(Duration::from_millis(50));
    }
}

/// The process that was given a file of this one as its initramfs.
fn emulator_of(pid: u32) -> Option<String> {
    let file = format!("/proc/{pid}/fd/");
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let arguments = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        arguments
            .contains(&file)
            .then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[test]
fn a_time_limit_ends_the_lab() {
    let cache = Cache::open_default().unwrap();
    let limit = Duration::from_secs(1);
    let start = Instant::now();
    let result = Lab::new(["sleep", "1000"]).timeout(limit).output(&cache);
    assert!(
        matches!(result, Err(LabError::Timeout { .. })),
        "{result:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(60));
}
