//! A `muster run` under test.
//!
//! The harness is a person at the console: it waits for text, types text, sends signals and looks at
//! the exit status. Dropping a [`Vm`] kills it; if a test panics meanwhile, the end of the console
//! and all of standard error are printed.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use muster_guest_images::cmdline;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::{become_user, die_with_parent};
use crate::images::GuestImages;
use crate::place::muster;

/// Time for anything that a guest does by itself: it may run on an emulated, busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// User and group of nobody.
const NOBODY: u32 = 65_534;

/// Lines of the console that a failing test shows.
const SHOWN_LINES: usize = 60;

/// No mapping of muster's own is as large as this, and all of guest memory's are.
const GUEST_MAPPING_KIB_MIN: u64 = 32 << 10;

/// A `muster run` to be started.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct VmCommand {
    args: Vec<OsString>,
    nobody: bool,
}

impl VmCommand {
    /// `muster run` without any option.
    pub fn bare() -> Self {
        Self {
            args: vec!["run".into()],
            nobody: false,
        }
    }

    /// An unmodified Debian kernel, entered as an ELF file, with BusyBox in its initramfs. Its
    /// console is quiet.
    pub fn debian(images: &GuestImages) -> Self {
        Self::bare()
            .arg("--kernel", &images.vmlinux)
            .arg("--initrd", &images.initramfs)
            .arg("--cmdline", "quiet")
    }

    /// Adds an option and its value.
    pub fn arg(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.args.extend([name.into(), value.into()]);
        self
    }

    /// Runs muster as a user who may do nothing that not everyone may. Needs root.
    pub fn as_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Has the guest run a shell command, whose status becomes muster's.
    pub fn exec(self, command: &str) -> Self {
        self.arg("--cmdline", cmdline::exec(command))
    }

    /// Starts it.
    pub fn start(&self) -> Vm {
        let mut command = Command::new(muster());
        command.args(&self.args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.nobody {
            become_user(&mut command, NOBODY.into(), NOBODY.into(), NOBODY.into());
        }
        die_with_parent(&mut command);
        let mut child = command.spawn().expect("muster starts");
        Vm {
            stdin: child.stdin.take(),
            console: Transcript::of(child.stdout.take().expect("standard output is a pipe")),
            stderr: Transcript::of(child.stderr.take().expect("standard error is a pipe")),
            seen: 0,
            child,
        }
    }

    /// Runs it to its end, without input.
    pub fn run(&self) -> Ended {
        let mut vm = self.start();
        vm.stdin = None;
        vm.wait()
    }
}

/// A `muster run` that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; 128 + number if a signal killed it.
    pub status: i32,
    /// All that its console said.
    pub console: String,
    /// All that muster itself said.
    pub stderr: String,
}

/// A running `muster run`.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    stdin: Option<ChildStdin>,
    console: Transcript,
    stderr: Transcript,
    /// How much of the console [`expect`](Self::expect) has gone past.
    seen: usize,
}

impl Vm {
    /// Waits until the console has said `text` after what was expected last; gives what came before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, PATIENCE)
    }

    /// As [`expect`](Self::expect), with a time limit of its own.
    #[track_caller]
    pub fn expect_within(&mut self, text: &str, limit: Duration) -> String {
        match self.console.wait_for(text.as_bytes(), self.seen, limit) {
            Ok(at) => {
                let before = self.console.text(self.seen, at);
                self.seen = at + text.len();
                before
            }
            Err(Missing::Ended) => panic!("muster ended before its console said {text:?}"),
            Err(Missing::TimedOut) => panic!("the console did not say {text:?} within {limit:?}"),
        }
    }

    /// Types on the console.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("the console's input is open");
        stdin
            .write_all(text.as_bytes())
            .expect("muster reads its console");
    }

    /// Sends a signal to muster.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("muster runs");
    }

    /// Muster's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process numbers are small"))
    }

    /// Open file descriptors, threads and resident memory of the process.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.pid())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        self.wait_within(PATIENCE)
    }

    /// As [`wait`](Self::wait), with a time limit of its own.
    #[track_caller]
    pub fn wait_within(&mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("muster is our child") {
                return Ended {
                    status: crate::child::status_number(status),
                    console: self.console.all(),
                    stderr: self.stderr.all(),
                };
            }
            assert!(
                start.elapsed() < limit,
                "muster has not ended within {limit:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let console = self.console.all();
            let lines: Vec<&str> = console.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- end of the console:\n{shown}");
            eprintln!("--- muster's standard error:\n{}---", self.stderr.all());
        }
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Open file descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
    /// Mappings.
    pub mappings: usize,
    /// Resident memory beside the guest's.
    pub own_kib: u64,
}

impl Footprint {
    /// Reads it from `/proc`.
    pub fn of(pid: Pid) -> Self {
        let proc = |name: &str| format!("/proc/{pid}/{name}");
        let entries = |name: &str| fs::read_dir(proc(name)).expect("the process lives").count();
        let maps = fs::read_to_string(proc("smaps")).expect("the process lives");
        let kib = |line: &str, name: &str| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        let sizes = maps.lines().filter_map(|line| kib(line, "Size:"));
        let resident = maps.lines().filter_map(|line| kib(line, "Rss:"));
        let sizes_and_resident: Vec<(u64, u64)> = sizes.zip(resident).collect();
        Self {
            fds: entries("fd"),
            threads: entries("task"),
            mappings: sizes_and_resident.len(),
            own_kib: sizes_and_resident
                .iter()
                .filter(|(size, _)| *size < GUEST_MAPPING_KIB_MIN)
                .map(|(_, resident)| resident)
                .sum(),
        }
    }
}

/// All that a stream has given so far, filled by a thread of its own.
#[derive(Debug, Clone)]
struct Transcript {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

enum Missing {
    Ended,
    TimedOut,
}

impl Transcript {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let transcript = Self {
            shared: Arc::default(),
        };
        let shared = Arc::clone(&transcript.shared);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let len = stream.read(&mut bytes).unwrap_or(0);
                let mut heard = shared.0.lock().expect("nobody panics with the lock");
                heard.bytes.extend_from_slice(&bytes[..len]);
                heard.ended = len == 0;
                shared.1.notify_all();
                if heard.ended {
                    return;
                }
            }
        });
        transcript
    }

    /// Waits for `text` at or after `from`; gives its position.
    fn wait_for(&self, text: &[u8], from: usize, limit: Duration) -> Result<usize, Missing> {
        let deadline = Instant::now() + limit;
        let mut heard = self.shared.0.lock().expect("nobody panics with the lock");
        loop {
            let rest = &heard.bytes[from..];
            if let Some(at) = rest.windows(text.len()).position(|bytes| bytes == text) {
                return Ok(from + at);
            }
            if heard.ended {
                return Err(Missing::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::TimedOut);
            }
            let waited = self.shared.1.wait_timeout(heard, left);
            heard = waited.expect("nobody panics with the lock").0;
        }
    }

    fn text(&self, from: usize, to: usize) -> String {
        let heard = self.shared.0.lock().expect("nobody panics with the lock");
        String::from_utf8_lossy(&heard.bytes[from..to]).into_owned()
    }

    /// Everything, once the stream has ended.
    fn all(&self) -> String {
        let heard = self.shared.0.lock().expect("nobody panics with the lock");
        let ended = self
            .shared
            .1
            .wait_timeout_while(heard, PATIENCE, |heard| !heard.ended);
        let heard = ended.expect("nobody panics with the lock").0;
        String::from_utf8_lossy(&heard.bytes).into_owned()
    }
}
