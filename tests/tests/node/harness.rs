//! A node manager under test, and what it and the kernel say of VMs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use muster_guest_images::{BenchGuest, Cache};
use muster_tests::child::die_with_parent;
use muster_tests::ordinary::Ordinary;
use muster_tests::place::muster;
use muster_tests::vm::{Vm, VmCommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Time for anything: the host may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether KVM can be tried here. Where it cannot, the test says so, or fails if KVM is required.
pub fn kvm_is_here() -> bool {
    let Err(error) = muster_vmm::kvm::open() else {
        return true;
    };
    assert!(
        std::env::var_os("MUSTER_REQUIRE_KVM").is_none(),
        "KVM is required: {error}"
    );
    eprintln!("SKIPPED, no KVM: {error}");
    false
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// A node manager with a directory of its own.
pub struct Host {
    dir: TempDir,
    /// Who runs everything, if it is not the user who tests.
    user: Option<Arc<Ordinary>>,
    child: Child,
    /// What it said when it was ready.
    pub line: String,
}

impl Host {
    pub fn start(schedule: &str) -> Self {
        Self::start_with(schedule, &[], None)
    }

    /// One with further options, run by another user.
    pub fn start_with(schedule: &str, options: &[&str], user: Option<Arc<Ordinary>>) -> Self {
        let dir = match &user {
            Some(user) => tempfile::tempdir_in(user.dir()),
            None => tempfile::tempdir(),
        };
        let dir = dir.unwrap();
        if let Some(user) = &user {
            user.own(dir.path()).unwrap();
        }
        let (child, line) = start(node(user.as_deref(), dir.path(), schedule, options));
        Self {
            dir,
            user,
            child,
            line,
        }
    }

    pub fn start_again(&mut self, schedule: &str) {
        self.start_again_with(schedule, &[]);
    }

    /// With further options.
    pub fn start_again_with(&mut self, schedule: &str, options: &[&str]) {
        let command = node(self.user.as_deref(), self.dir.path(), schedule, options);
        (self.child, self.line) = start(command);
    }

    /// Kills one thread of it.
    pub fn kill_thread(&self, name: &str) {
        let thread = thread_of(Pid::from_raw(self.child.id() as i32), name).unwrap();
        let tid = thread
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        kill(Pid::from_raw(tid), Signal::SIGKILL).unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the node manager ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Sends a signal that ends it; gives its status.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// A VM of two vCPUs that is to join it.
    pub fn vm_command(&self, name: &str, workload: &str) -> VmCommand {
        let cache = Cache::open_default().unwrap();
        let socket = self.dir.path().join("node.sock");
        let kernel = BenchGuest::build(&cache).unwrap().path;
        let (command, kernel) = match &self.user {
            Some(user) => {
                let kernel = user.take(&kernel).unwrap();
                (VmCommand::bare().by(user.clone()), kernel)
            }
            None => (VmCommand::bare(), kernel),
        };
        command
            .arg("--kernel", kernel)
            .arg("--raw-cmdline", workload)
            .arg("--cpus", "2")
            .arg("--memory", "64M")
            .arg("--console", "null")
            .arg("--name", name)
            .word(format!("--node={}", socket.display()))
    }

    pub fn vm(&self, name: &str, workload: &str) -> Vm {
        self.vm_command(name, workload).start()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program(self.user.as_deref());
        command.arg("sched").args(arguments);
        command.arg("--node").arg(self.dir.path());
        command.output().unwrap()
    }

    /// Runs `muster sched`, which succeeds; gives what it prints.
    #[track_caller]
    pub fn sched(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status of a `muster sched` that fails, and of what it says the part that a test knows.
    #[track_caller]
    pub fn status(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?} succeeds");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let known = ["web, db", "no vCPU 2"];
        let said = known.into_iter().find(|words| stderr.contains(words));
        (
            output.status.code().unwrap(),
            said.unwrap_or(&stderr).to_owned(),
        )
    }

    /// What it says of everything.
    pub fn shown(&self) -> Value {
        serde_json::from_str(&self.sched(&["show", "--json"])).unwrap()
    }

    #[track_caller]
    pub fn until_shown(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        until("the node manager shows what is expected", || {
            shown = self.shown();
            holds(&shown)
        });
        shown
    }

    /// Waits until so many VMs have joined.
    #[track_caller]
    pub fn until_vms(&self, count: usize) {
        self.until_shown(|shown| shown["vms"].as_array().unwrap().len() == count);
    }

    #[track_caller]
    pub fn vm_of<'a>(&self, shown: &'a Value, name: &str) -> &'a Value {
        let mut vms = shown["vms"].as_array().unwrap().iter();
        let vm = vms.find(|vm| vm["name"] == name);
        vm.unwrap_or_else(|| panic!("no {name} in {shown}"))
    }

    /// Time that all of a VM's vCPUs together have run.
    pub fn run_ns(&self, name: &str) -> u64 {
        let shown = self.shown();
        let vcpus = self.vm_of(&shown, name)["vcpus"].as_array().unwrap().iter();
        vcpus.map(|vcpu| vcpu["run_ns"].as_u64().unwrap()).sum()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `muster`, run by a user.
fn program(user: Option<&Ordinary>) -> Command {
    user.map_or_else(|| Command::new(muster()), Ordinary::command)
}

/// `muster node`, with a directory.
pub fn node(user: Option<&Ordinary>, dir: &Path, schedule: &str, options: &[&str]) -> Command {
    let mut command = program(user);
    command
        .args(["node", "--sched", schedule, "--dir"])
        .arg(dir);
    command.args(options);
    command
}

/// Starts a node manager and waits until it is ready. Gives what it says then.
fn start(mut command: Command) -> (Child, String) {
    die_with_parent(&mut command);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (said, line) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        let _ = said.send(line);
    });
    let line = line.recv_timeout(PATIENCE).unwrap_or_default();
    assert!(
        line.starts_with("muster: scheduling"),
        "not ready: {line:?}"
    );
    (child, line)
}

/// The directory of a process's thread.
fn thread_of(vm: Pid, name: &str) -> Option<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{vm}/task")).unwrap();
    let mut paths = threads.map(|thread| thread.unwrap().path());
    paths.find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name))
}

fn affinity_in(status: &Path) -> String {
    let status = fs::read_to_string(status).unwrap();
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.expect("the kernel says it").trim().to_owned()
}

/// Where the kernel lets a thread of a VM run.
pub fn affinity(vm: Pid, name: &str) -> String {
    let thread = thread_of(vm, name).expect("there is such a thread");
    affinity_in(&thread.join("status"))
}

/// Where it lets this test run.
pub fn affinity_here() -> String {
    affinity_in(Path::new("/proc/self/status"))
}

/// The scheduling class of a thread of a VM: 0 is the ordinary one.
pub fn policy(vm: Pid, name: &str) -> u32 {
    let thread = thread_of(vm, name).expect("there is such a thread");
    let stat = fs::read_to_string(thread.join("stat")).unwrap();
    // Behind the name, which may have anything in it: the state is field 3, the class 41.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(41 - 3).unwrap().parse().unwrap()
}

/// CPU time of a process.
pub fn cpu_ns(process: Pid) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |path: PathBuf| -> u64 {
        let stat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        stat.split(' ')
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0)
    };
    threads
        .map(|thread| of_thread(thread.unwrap().path()))
        .sum()
}
