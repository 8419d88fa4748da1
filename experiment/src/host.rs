//! The real host: a node manager in this process, and the experiment's VMs as its children.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use muster_node::snapshot::{Snapshot, SwitchRecord};
use muster_node::{
    Enforcement, Node, NodeError, NodeHandle, NodeSpec, Request, RequestError, Schedule,
};
use muster_scheduler::Nanos;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use thiserror::Error;

use crate::child::bind_to_parent;
use crate::guest_file::{self, GuestFileError};
use crate::interrupt::Interrupt;
use crate::round::find_vm;
use crate::run::Host;
use crate::spec::{Experiment, Guest, VmSpec};

/// How long the VMs may take until they work.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often they are looked at meanwhile, and how often it is looked whether one has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// What `/proc/stat` counts in: a hundredth of a second, whatever the kernel's own tick is.
const TICK_NS: Nanos = 10_000_000;
/// So much of what a VM says is shown when it has ended.
const STDERR_SHOWN: usize = 2000;

/// The experiment cannot go on.
#[derive(Debug, Error)]
pub enum HostError {
    /// A signal came.
    #[error("interrupted: the VMs are stopped, and nothing was written")]
    Interrupted,
    /// A VM has ended.
    #[error("the VM {name} has ended ({status}){}", said(stderr))]
    VmEnded {
        /// Which.
        name: String,
        /// How.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A VM does not begin.
    #[error(
        "the VM {name} does not count any work within {} s{}", START_TIMEOUT.as_secs(), said(stderr)
    )]
    NotWorking {
        /// Which.
        name: String,
        /// What it said.
        stderr: String,
    },
    /// There is no benchmark guest.
    #[error(transparent)]
    GuestFile(#[from] GuestFileError),
    /// The node manager does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node manager does not do what it was asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The host's system failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl HostError {
    fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }
}

/// What a VM said, as the end of a sentence.
fn said(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// CPU time that all programs have used, by `/proc/stat`: user, nice, system, and interrupts. Guests
/// are part of the first two.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_ascii_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].map(|place| numbers.get(place).copied().unwrap_or(0));
    busy.into_iter().fold(0, u64::saturating_add)
}

/// See the module's head. When it is dropped, all VMs are gone.
#[derive(Debug)]
pub struct RealHost {
    // In the order in which they go: VMs before the node manager, their files last.
    vms: Vec<Vm>,
    handle: NodeHandle,
    node: Node,
    interrupt: Interrupt,
    dir: TempDir,
}

#[derive(Debug)]
struct Vm {
    name: String,
    process: Child,
    /// What it says as a process.
    stderr: PathBuf,
    /// What its guest says.
    console: PathBuf,
    is_stopped: bool,
}

impl Vm {
    /// What it and its guest said last.
    fn words(&self) -> String {
        format!("{}\n{}", tail(&self.stderr), tail(&self.console))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl RealHost {
    /// Starts a node manager and the experiment's VMs, and waits until all of them work. `muster` is
    /// the program that runs a VM.
    pub fn start(
        experiment: &Experiment,
        muster: &Path,
        enforcement: Option<Enforcement>,
        mut interrupt: Interrupt,
    ) -> Result<Self, HostError> {
        let needs_guest = |vm: &VmSpec| matches!(vm.guest, Guest::Bench(_));
        let bench_guest = if experiment.vms.iter().any(needs_guest) {
            guest_file::find()?
        } else {
            PathBuf::new()
        };
        let dir = tempfile::tempdir().map_err(HostError::system("make a directory"))?;
        let socket = dir.path().join("node.sock");
        let node = Node::start(NodeSpec {
            socket: socket.clone(),
            schedule: "host".parse().expect("the host's schedule is one"),
            cpus: None,
            enforcement,
        })?;
        if interrupt
            .wait(Duration::ZERO)
            .map_err(HostError::system("wait for signals"))?
        {
            return Err(HostError::Interrupted);
        }
        let mut host = Self {
            vms: Vec::new(),
            handle: node.handle(),
            node,
            interrupt,
            dir,
        };
        // One after the other: a guest finds out at its start how fast it is.
        for vm in &experiment.vms {
            let console = host.dir.path().join(format!("{}.console", vm.name));
            let arguments = arguments(vm, &socket, &bench_guest, &console);
            host.spawn(muster, &vm.name, &arguments, console)?;
            host.wait_until_it_works(vm)?;
            let last = host.vms.len() - 1;
            host.stop(last, true)?;
        }
        host.stop_others(None)?;
        Ok(host)
    }

    /// How schedules are enforced.
    pub fn enforcement(&self) -> String {
        self.node.way().enforcement.to_string()
    }

    /// Why switches are not as prompt as they could be, if they are not.
    pub fn shortfall(&self) -> Option<&'static str> {
        self.node.way().shortfall()
    }

    fn spawn(
        &mut self,
        muster: &Path,
        name: &str,
        arguments: &[OsString],
        console: PathBuf,
    ) -> Result<(), HostError> {
        let stderr = self.dir.path().join(format!("{name}.stderr"));
        let file = File::create(&stderr).map_err(HostError::system("make a file"))?;
        let mut command = Command::new(muster);
        command.args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        bind_to_parent(&mut command);
        let action = format!("start {} for the VM {name}", muster.display());
        let process = command.spawn().map_err(HostError::system(action))?;
        self.vms.push(Vm {
            name: name.to_owned(),
            process,
            stderr,
            console,
            is_stopped: false,
        });
        Ok(())
    }

    fn wait_until_it_works(&mut self, vm: &VmSpec) -> Result<(), HostError> {
        let start = Instant::now();
        let mut timeout = START_TIMEOUT;
        if let Guest::Kernel { boot_ns, .. } = vm.guest {
            timeout += Duration::from_nanos(boot_ns);
        }
        while !works(vm, &self.handle.snapshot()?) {
            if start.elapsed() > timeout {
                let last = self.vms.last().expect("it was just started");
                return Err(HostError::NotWorking {
                    name: vm.name.clone(),
                    stderr: last.words(),
                });
            }
            self.wait(LOOK_PERIOD)?;
        }
        Ok(())
    }

    /// Stops a VM's process, or lets it go on.
    fn stop(&mut self, index: usize, stop: bool) -> Result<(), HostError> {
        let vm = &mut self.vms[index];
        if stop == vm.is_stopped {
            return Ok(());
        }
        let signal = if stop {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        // A child that was not waited for keeps its number.
        let pid = Pid::from_raw(vm.process.id() as i32);
        let action = format!("send {signal} to the VM {}", vm.name);
        kill(pid, signal).map_err(|errno| HostError::system(action)(errno.into()))?;
        vm.is_stopped = stop;
        Ok(())
    }

    /// An error if a VM has ended.
    fn look_after_vms(&mut self) -> Result<(), HostError> {
        for vm in &mut self.vms {
            let status = vm.process.try_wait();
            let status = status.map_err(HostError::system(format!("look after {}", vm.name)))?;
            if let Some(status) = status {
                return Err(HostError::VmEnded {
                    name: vm.name.clone(),
                    status,
                    stderr: vm.words(),
                });
            }
        }
        Ok(())
    }
}

/// Whether a VM does what it is to do.
fn works(vm: &VmSpec, snapshot: &Snapshot) -> bool {
    let Some(seen) = find_vm(snapshot, &vm.name) else {
        return false;
    };
    match vm.guest {
        Guest::Bench(_) => seen.vcpus.iter().any(|vcpu| vcpu.counters[0] > 0),
        Guest::Kernel { boot_ns, .. } => snapshot.at_ns.saturating_sub(seen.joined_ns) >= boot_ns,
    }
}

/// The command line of `muster run`.
fn arguments(vm: &VmSpec, socket: &Path, bench_guest: &Path, console: &Path) -> Vec<OsString> {
    let mut node = OsString::from("--node=");
    node.push(socket);
    let mut arguments: Vec<OsString> = vec!["run".into(), node];
    let mut option = |name: &str, value: OsString| {
        arguments.push(name.into());
        arguments.push(value);
    };
    option("--name", vm.name.clone().into());
    option("--cpus", vm.vcpus.to_string().into());
    option("--memory", format!("{}M", vm.memory_bytes >> 20).into());
    option("--weight", vm.weight.to_string().into());
    let mut file = OsString::from("file=");
    file.push(console);
    option("--console", file);
    option("--on-reboot", "exit".into());
    if let Some(cap) = vm.cap_percent {
        option("--cap", cap.to_string().into());
    }
    match &vm.guest {
        Guest::Bench(workload) => {
            option("--kernel", bench_guest.into());
            option("--raw-cmdline", workload.to_string().into());
        }
        Guest::Kernel {
            kernel,
            initrd,
            cmdline,
            ..
        } => {
            option("--kernel", kernel.into());
            if let Some(initrd) = initrd {
                option("--initrd", initrd.into());
            }
            if !cmdline.is_empty() {
                option("--cmdline", cmdline.into());
            }
        }
    }
    arguments
}

/// The end of a file.
fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let start = text.len().saturating_sub(STDERR_SHOWN);
    let text = String::from_utf8_lossy(&text[start..]);
    let is_plain = |c: &char| *c == '\n' || !c.is_control();
    text.trim().chars().filter(is_plain).collect()
}

impl Host for RealHost {
    fn set_schedule(&mut self, schedule: &Schedule) -> Result<(), HostError> {
        self.handle.ask(Request::SetSchedule(schedule.clone()))?;
        Ok(())
    }

    fn stop_others(&mut self, alone: Option<usize>) -> Result<(), HostError> {
        if alone.is_some() {
            // A schedule of muster's would wait for those who are stopped.
            self.set_schedule(&"host".parse().expect("the host's schedule is one"))?;
        }
        for index in 0..self.vms.len() {
            self.stop(index, alone.is_some_and(|alone| alone != index))?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot, HostError> {
        Ok(self.handle.snapshot()?)
    }

    fn switches(&mut self, since_ns: Nanos) -> Result<Vec<SwitchRecord>, HostError> {
        Ok(self.handle.switches(since_ns)?)
    }

    fn busy_ns(&mut self) -> Result<Nanos, HostError> {
        let text = fs::read_to_string("/proc/stat");
        let text = text.map_err(HostError::system("read /proc/stat"))?;
        Ok(busy_ticks(&text).saturating_mul(TICK_NS))
    }

    fn wait(&mut self, time: Duration) -> Result<(), HostError> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.interrupt.wait(left.min(LOOK_PERIOD));
            if waited.map_err(HostError::system("wait for signals"))? {
                return Err(HostError::Interrupted);
            }
            self.look_after_vms()?;
            if left <= LOOK_PERIOD {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
