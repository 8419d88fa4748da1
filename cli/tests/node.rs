//! `muster node` and `muster sched`, as people run them, without a machine.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Time for anything that a node manager does.
const PATIENCE: Duration = Duration::from_secs(60);

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_muster"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A node manager that is ready. It is killed when it is dropped.
struct Node {
    child: Child,
    /// What it said when it was ready.
    line: String,
}

impl Node {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command.arg("node").arg("--dir").arg(dir).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (said, line) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = said.send(line);
        });
        let mut node = Self {
            child,
            line: String::new(),
        };
        node.line = line.recv_timeout(PATIENCE).expect("it is ready");
        assert!(node.line.starts_with("muster: scheduling"), "{}", node.line);
        node
    }

    fn end_by(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        let status = wait(&mut self.child);
        status
            .unwrap_or_else(|| panic!("it does not end by {signal}"))
            .code()
    }
}

/// Waits for a child's end, but not for ever.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Runs a program that is to end by itself, and is killed if it does not. It says less than a pipe
/// holds.
#[track_caller]
fn ends(command: &mut Command) -> Output {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let has_ended = wait(&mut child).is_some();
    if !has_ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(has_ended, "it does not end: {output:?}");
    output
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sched(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = command();
    command.arg("sched").args(arguments).arg("--node").arg(dir);
    ends(&mut command)
}

/// Checks that it succeeds; gives what it prints.
#[track_caller]
fn does(dir: &Path, arguments: &[&str]) -> String {
    let output = sched(dir, arguments);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    text(&output.stdout)
}

/// Checks that it fails with one line.
#[track_caller]
fn fails(output: &Output, status: i32, word: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(
        stderr.starts_with("muster: ") && stderr.contains(word),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_node_manager_is_looked_at_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &["--sched", "gang:quantum=10ms"]);
    assert!(
        node.line.contains("by gang:quantum=10ms on CPUs 0"),
        "{}",
        node.line
    );
    let page = does(dir.path(), &["show"]);
    assert!(page.starts_with("gang:quantum=10ms on CPUs 0"), "{page}");
    assert!(page.contains("No machine has joined"), "{page}");
    assert_eq!(does(dir.path(), &["set", "affinity"]), "");
    let shown: Value = serde_json::from_str(&does(dir.path(), &["show", "--json"])).unwrap();
    assert_eq!(
        (&shown["schema"], &shown["schedule"]),
        (&1.into(), &"affinity".into())
    );
    does(dir.path(), &["set", "host"]);
    assert!(does(dir.path(), &["show"]).starts_with("host on CPUs"));
    does(dir.path(), &["why"]);
    assert_eq!(does(dir.path(), &["why", "0", "--json"]), "[]\n");
    for line in [
        &["weight", "web", "5"][..],
        &["cap", "web", "none"],
        &["pin", "web/1", "0"],
        &["pin", "web", "0"],
    ] {
        fails(&sched(dir.path(), line), 2, "there is no VM \"web\"");
    }
    assert_eq!(node.end_by(Signal::SIGTERM), Some(0));
    fails(&sched(dir.path(), &["show"]), 1, "no node manager runs at");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "more than the lock is left: {left:?}");
}

#[test]
fn traces_and_charts_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let _node = Node::start(dir.path(), &[]);
    let (trace, svg) = (dir.path().join("t.json"), dir.path().join("t.svg"));
    let (trace_arg, svg_arg) = (trace.to_str().unwrap(), svg.to_str().unwrap());
    let said = does(dir.path(), &["trace", "-o", trace_arg, "--svg", svg_arg]);
    assert_eq!(said, "0 turns of 0 VMs in 1 s\n");
    let trace: Value = serde_json::from_str(&fs::read_to_string(trace).unwrap()).unwrap();
    assert!(
        trace["traceEvents"]
            .as_array()
            .is_some_and(|events| !events.is_empty())
    );
    let svg = fs::read_to_string(svg).unwrap();
    assert!(
        svg.contains("CPU 0") && svg.contains("muster node: gang"),
        "{svg}"
    );
    let lost = dir.path().join("no/file");
    let lost = sched(dir.path(), &["trace", "-o", lost.to_str().unwrap()]);
    fails(&lost, 1, "is no directory");
}

#[test]
fn there_is_one_node_manager_for_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Node::start(dir.path(), &["--sched", "host"]);
    let second = ends(command().arg("node").arg("--dir").arg(dir.path()));
    let pid = format!(
        "a node manager is running already (pid {})",
        first.child.id()
    );
    fails(&second, 1, &pid);
    // The first one was not harmed.
    does(dir.path(), &["show"]);
    assert_eq!(first.end_by(Signal::SIGKILL), None);
    assert!(dir.path().join("api.sock").exists());
    fails(&sched(dir.path(), &["show"]), 1, "no node manager runs at");
    let mut third = Node::start(dir.path(), &["--sched", "host"]);
    does(dir.path(), &["show"]);
    assert_eq!(third.end_by(Signal::SIGINT), Some(0));
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = ends(command().arg("node").arg("--dir").arg(dir.path()));
    fails(&output, 1, "chmod go-w");
}

#[test]
fn what_makes_no_sense_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        &["sched", "set", "gnag"][..],
        &["sched", "pin", "web/x", "0"],
        &["sched", "pin", "web", "1-0"],
        &["sched", "weight", "web", "0"],
        &["sched", "cap", "web", "0"],
        &["sched", "trace"],
        &["sched", "trace", "-o", "x", "--seconds", "0"],
        &["sched", "show", "--json", "--watch"],
        &["node", "--sched", "linux"],
    ] {
        let output = ends(command().args(line).current_dir(&dir));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn metrics_are_scraped_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &["--metrics", "127.0.0.1:0"]);
    let (_, address) = node
        .line
        .trim()
        .split_once("http://")
        .expect("it says where");
    let address = address.strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(
        page.contains("muster_schedule_info{schedule=\"gang"),
        "{page}"
    );
    assert!(page.contains("muster_manager_cpu_seconds_total "), "{page}");
    drop(node);
    let mut open = command();
    open.args(["node", "--metrics", "0.0.0.0:0", "--dir"]);
    let refused = ends(open.arg(dir.path()));
    fails(&refused, 1, "127.0.0.1:9273");
}

/// Who looks on through a pipe that is closed is done.
#[test]
fn watching_ends_with_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let _node = Node::start(dir.path(), &["--sched", "host"]);
    let mut watch = command();
    watch
        .args(["sched", "show", "--watch", "--node"])
        .arg(dir.path());
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("node manager: ") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
    }
    drop(stdout);
    let status = wait(&mut watch);
    if status.is_none() {
        watch.kill().unwrap();
    }
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
