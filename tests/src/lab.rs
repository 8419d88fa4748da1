//! The lab host: a machine with real KVM, anywhere.
//!
//! Problem: guests with an unmodified Linux need a KVM with hardware behind it, and most build
//! machines have none.
//!
//! Approach: QEMU's TCG emulates a PC with AMD-V and nested paging. A [`Lab`] boots Debian's cloud
//! kernel on it, with an initramfs that holds KVM's modules, BusyBox, an init of our own (`lab-init`)
//! and the files that a run needs, and runs one command there. The command's output, input and exit
//! status pass a virtio-serial port as frames ([`wire`]), apart from the lab's kernel log, which is
//! kept in memory and shown when the lab fails.
//!
//! Properties: output is byte for byte what the command wrote; nothing is written to the host's disk
//! (the initramfs is an anonymous file, writes to a disk go to a file without a name); QEMU never
//! outlives the thread that started it.
//!
//! Terms: the *host* is this process's machine, the *lab* is what QEMU emulates, a *guest* runs
//! under muster inside the lab.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use muster_guest_images::cpio::CpioError;
use muster_guest_images::{Cache, ImageError};
use thiserror::Error;

use self::log::LogTail;
use self::qemu::{Machine, Qemu};
use self::session::{Connection, Output, Session};
use self::wire::{Job, WireError};
use crate::terminal::window_size;

mod initramfs;
pub mod log;
mod qemu;
mod session;
mod signals;
pub mod wire;

/// A run in the lab that gave no exit status.
#[derive(Debug, Error)]
pub enum LabError {
    /// The kernel, its modules or BusyBox could not be had.
    #[error("cannot prepare the lab's kernel and programs")]
    Images(#[from] ImageError),
    /// The initramfs could not be written.
    #[error("cannot make the lab's initramfs")]
    Initramfs(#[from] CpioError),
    /// The memory for the initramfs could not be had.
    #[error("cannot hold the lab's initramfs in memory")]
    Memory(#[source] io::Error),
    /// The lab's init has not been built.
    #[error("{path} is missing: build it with `cargo build -p muster-tests --bin lab-init`")]
    NoInit {
        /// Where it is expected.
        path: PathBuf,
    },
    /// A program that cannot run in the lab.
    #[error("{path} is not statically linked: the lab has no shared libraries")]
    Dynamic {
        /// The program.
        path: PathBuf,
    },
    /// QEMU could not be started.
    #[error("cannot start {program}: install it with `apt-get install qemu-system-x86`")]
    Qemu {
        /// The emulator.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The sockets between QEMU and us failed.
    #[error("cannot talk to QEMU")]
    Socket(#[source] io::Error),
    /// Signals could not be taken over.
    #[error("cannot take over this process's signals")]
    Signals(#[source] io::Error),
    /// The lab's init broke the rules of [`wire`].
    #[error("the lab's init and its host side do not understand each other")]
    Wire(#[from] WireError),
    /// The command's output could not be passed on.
    #[error("cannot write the command's output")]
    Output(#[source] io::Error),
    /// The time limit was reached.
    #[error("no end within {} s; the lab's log ends with:\n{log}", .limit.as_secs())]
    Timeout {
        /// The limit.
        limit: Duration,
        /// The end of the lab's log.
        log: LogTail,
    },
    /// The lab gave no sign of life any more: its emulator, its kernel or whatever keeps its CPU from
    /// everything else.
    #[error("the lab has stood still for {} s; its log ends with:\n{log}", .silence.as_secs())]
    StoodStill {
        /// How long nothing has come from it.
        silence: Duration,
        /// The end of the lab's log.
        log: LogTail,
    },
    /// The lab went down before the command had ended.
    #[error("the lab went down before the command had ended; its log ends with:\n{log}")]
    Died {
        /// The end of the lab's log.
        log: LogTail,
    },
}

/// Where a run's time went.
#[derive(Debug, Clone, Copy)]
pub struct LabTimes {
    /// From the call to the moment when the lab was ready for the command.
    pub start: Duration,
    /// From then until the command had ended.
    pub command: Duration,
}

/// A run that came to its end.
#[derive(Debug, Clone, Copy)]
pub struct LabOutcome {
    /// The command's exit status; 128 + number if a signal ended it, 127 if it could not be found.
    pub status: i32,
    /// Where the time went.
    pub times: LabTimes,
}

/// A run whose output was kept.
#[derive(Debug)]
pub struct LabOutput {
    /// How it ended.
    pub outcome: LabOutcome,
    /// What the command wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// A file to be put into the lab.
#[derive(Debug, Clone)]
struct LabFile {
    host: PathBuf,
    lab: String,
}

/// A run to be: a machine, its files, and one command.
#[derive(Debug, Clone)]
#[must_use = "a lab does nothing before it is run"]
pub struct Lab {
    cpus: u32,
    memory_mib: u32,
    icount: bool,
    files: Vec<LabFile>,
    disks: Vec<PathBuf>,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    as_user: bool,
    stdin: bool,
    signals: bool,
    timeout: Option<Duration>,
}

impl Lab {
    /// A lab with one CPU and 3 GiB that is to run `argv`: as root, without input or time limit.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            cpus: 1,
            memory_mib: 3072,
            icount: false,
            files: Vec::new(),
            disks: Vec::new(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            as_user: false,
            stdin: false,
            signals: false,
            timeout: None,
        }
    }

    /// Sets another command.
    pub fn argv<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.argv = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the number of CPUs. With more than one, a lab on QEMU before 8.1 hangs now and then: that
    /// QEMU can miss that one CPU rewrites the code that another is about to run, as Linux does to its
    /// own code whenever KVM creates a VM.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Sets the memory, which the host provides as the lab touches it.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Counts time in instructions, one nanosecond each: measurements in the lab no longer depend on
    /// the host's speed or load. Needs one CPU.
    pub fn icount(mut self) -> Self {
        self.icount = true;
        self.cpus = 1;
        self
    }

    /// Puts a file of the host into the lab's file system, with its permissions.
    pub fn file(mut self, host: impl Into<PathBuf>, lab: impl Into<String>) -> Self {
        self.files.push(LabFile {
            host: host.into(),
            lab: lab.into(),
        });
        self
    }

    /// Attaches a file of the host as a disk: `/dev/vda` for the first. The lab may write to it; the
    /// file itself stays as it is.
    pub fn disk(mut self, host: impl Into<PathBuf>) -> Self {
        self.disks.push(host.into());
        self
    }

    /// Sets a variable in the command's environment.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs the command as an ordinary user who belongs to group kvm.
    pub fn as_user(mut self) -> Self {
        self.as_user = true;
        self
    }

    /// Forwards this process's standard input. If both it and the output are a terminal, so is the
    /// command's.
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Forwards SIGINT, SIGTERM and SIGHUP to the command; a second one ends the lab. Only for a
    /// process with a single thread.
    pub fn signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// Gives up after this long, everything included.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Runs the command; its output appears on this process's standard output and error.
    pub fn run(&self, cache: &Cache) -> Result<LabOutcome, LabError> {
        let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
        self.run_with(
            cache,
            Output {
                stdout: &mut stdout,
                stderr: &mut stderr,
            },
        )
    }

    /// Runs the command; its output goes to `stdout` and `stderr`.
    pub fn run_to(
        &self,
        cache: &Cache,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<LabOutcome, LabError> {
        self.run_with(cache, Output { stdout, stderr })
    }

    /// Runs the command and keeps its output.
    pub fn output(&self, cache: &Cache) -> Result<LabOutput, LabError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        let outcome = self.run_with(cache, output)?;
        Ok(LabOutput {
            outcome,
            stdout,
            stderr,
        })
    }

    fn run_with(&self, cache: &Cache, output: Output<'_>) -> Result<LabOutcome, LabError> {
        let started = Instant::now();
        let content = initramfs::content(cache, &self.files)?;
        let initramfs = anonymous_file().map_err(LabError::Memory)?;
        content.archive.write_to(io::BufWriter::new(&initramfs))?;
        let machine = Machine {
            kernel: &content.kernel,
            initramfs: &initramfs,
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            icount: self.icount,
            disks: &self.disks,
        };
        let qemu = Qemu::start(&machine).map_err(|source| LabError::Qemu {
            program: qemu::PROGRAM,
            source,
        })?;
        let connection = Connection {
            stdin: self.stdin,
            signals: self.signals,
            deadline: self.timeout.map(|limit| (started + limit, limit)),
        };
        let ended = Session::new(qemu, self.job(), &connection, output, started)?.run()?;
        Ok(LabOutcome {
            status: ended.status,
            times: ended.times,
        })
    }

    fn job(&self) -> Job {
        let on_terminal = self.stdin && io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut env = self.env.clone();
        if on_terminal && let Ok(name) = std::env::var("TERM") {
            env.push(("TERM".into(), name));
        }
        Job {
            argv: self.argv.clone(),
            env,
            as_user: self.as_user,
            terminal: on_terminal.then(|| window_size(io::stdin()).ok()).flatten(),
            // Where time counts instructions, a heartbeat would be among them.
            heartbeat: !self.icount,
        }
    }
}

/// A file in memory; it goes with its last descriptor.
fn anonymous_file() -> io::Result<File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(nix::sys::memfd::memfd_create(c"lab-initramfs", flags)?.into())
}
