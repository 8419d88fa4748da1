//! A `muster run` under test.
//!
//! The harness is a person at the console: it waits for text, types text, sends signals and looks at
//! the exit status. Dropping a [`Vm`] kills it; if a test panics meanwhile, the end of the console
//! and all of standard error are printed.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use muster_guest_images::cmdline;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use self::footprint::Footprint;
use self::transcript::{Missing, Transcript};
use crate::child::{become_user, die_with_parent, lead_session};
use crate::images::GuestImages;
use crate::ordinary::Ordinary;
use crate::place::muster;

pub mod footprint;
mod transcript;

/// Time for anything that a guest does by itself: it may run on an emulated, busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// User and group of nobody.
const NOBODY: u32 = 65_534;

/// Lines of the console that a failing test shows.
const SHOWN_LINES: usize = 60;

/// A `muster run` to be started.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct VmCommand {
    args: Vec<OsString>,
    nobody: bool,
    user: Option<Arc<Ordinary>>,
}

impl VmCommand {
    /// `muster run` without any option.
    pub fn bare() -> Self {
        Self {
            args: vec!["run".into()],
            nobody: false,
            user: None,
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

    /// Adds an option that is a word by itself.
    pub fn word(mut self, word: impl Into<OsString>) -> Self {
        self.args.push(word.into());
        self
    }

    /// Runs muster as a user who may do nothing that not everyone may. Needs root.
    pub fn as_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Runs muster as this user.
    pub fn by(mut self, user: Arc<Ordinary>) -> Self {
        self.user = Some(user);
        self
    }

    /// Has the guest run a shell command, whose status becomes muster's.
    pub fn exec(self, command: &str) -> Self {
        self.arg("--cmdline", cmdline::exec(command))
    }

    /// Starts it, with pipes for its console.
    pub fn start(&self) -> Vm {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("muster starts");
        let stdin = child.stdin.take().map(OwnedFd::from).map(File::from);
        let stdout = child.stdout.take().expect("standard output is a pipe");
        Vm::new(child, stdin, Transcript::of(stdout))
    }

    /// Starts it on a terminal, as a person does.
    pub fn start_on_terminal(&self) -> Vm {
        let pty = openpty(None, None).expect("there are terminals");
        let mode = tcgetattr(&pty.master).expect("a terminal has a mode");
        let mut command = self.command();
        let far = || pty.slave.try_clone().expect("a descriptor can be copied");
        command.stdin(far()).stdout(far());
        lead_session(&mut command, true);
        let child = command.spawn().expect("muster starts");
        // With ours closed, the terminal's output ends with muster.
        drop((command, pty.slave));
        let master = File::from(pty.master);
        let console = Transcript::of(master.try_clone().expect("a descriptor can be copied"));
        let mut vm = Vm::new(child, Some(master), console);
        vm.former_mode = Some(mode);
        vm
    }

    fn command(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command(),
            None => Command::new(muster()),
        };
        command.args(&self.args).stderr(Stdio::piped());
        if self.nobody {
            become_user(&mut command, NOBODY.into(), NOBODY.into(), NOBODY.into());
        }
        die_with_parent(&mut command);
        command
    }

    /// Runs it to its end, without input.
    pub fn run(&self) -> Ended {
        let mut vm = self.start();
        vm.input = None;
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
    input: Option<File>,
    console: Transcript,
    stderr: Transcript,
    /// The terminal's mode before muster had it, if it has one.
    former_mode: Option<Termios>,
    /// How much of the console [`expect`](Self::expect) has gone past.
    seen: usize,
}

impl Vm {
    fn new(mut child: Child, input: Option<File>, console: Transcript) -> Self {
        let stderr = child.stderr.take().expect("standard error is a pipe");
        Self {
            input,
            console,
            stderr: Transcript::of(stderr),
            former_mode: None,
            seen: 0,
            child,
        }
    }

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
        let input = self.input.as_mut().expect("the console's input is open");
        input
            .write_all(text.as_bytes())
            .expect("muster reads its console");
    }

    /// Whether the terminal's mode is what it was before muster had it.
    pub fn terminal_is_restored(&self) -> bool {
        let terminal = self.input.as_ref().expect("the terminal is open");
        tcgetattr(terminal).ok() == self.former_mode
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
