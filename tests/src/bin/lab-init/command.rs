//! Running the command: its streams, its end, and everything that it leaves behind.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use muster_tests::child::{become_user, lead_session};
use muster_tests::lab::wire::{CHUNK_LEN, Frame, Job, WindowSize};
use muster_tests::terminal::set_window_size;
use nix::errno::Errno;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Gid, Pid, Uid};

use crate::port::Sender;
use crate::system::KVM_GROUP;

const PATH: &str = "/lab/bin:/bin:/sbin:/usr/bin:/usr/sbin";
const USER: u32 = 1000;

/// As a shell says it: no such program, or one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// Runs `job` to its end and passes its output on. Gives its status; by then all output has been
/// sent and no process is left.
pub fn run(job: &Job, port: &File, sender: &Sender) -> Result<i32> {
    let mut command = prepare(job);
    let streams = match job.terminal {
        Some(size) => connect_terminal(&mut command, size)?,
        None => connect_pipes(&mut command)?,
    };
    if job.as_user {
        let user = Gid::from_raw(USER);
        become_user(
            &mut command,
            Uid::from_raw(USER),
            user,
            Gid::from_raw(KVM_GROUP),
        );
    }
    let spawned = command.spawn();
    // Our copies of the command's ends have to go, else its streams would never end.
    drop(command);
    let pid = match spawned {
        Ok(child) => Pid::from_raw(i32::try_from(child.id())?),
        Err(error) => {
            let program = job.argv.first().map_or("", String::as_str);
            let text = format!("lab: cannot run {program}: {error}\n");
            sender.send(&Frame::Stderr(text.into_bytes()))?;
            let missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(if missing { NOT_FOUND } else { NOT_RUNNABLE });
        }
    };
    let input = Input {
        stdin: Some(streams.stdin),
        terminal: streams.terminal,
        pid,
    };
    let frames = port.try_clone()?;
    thread::spawn(move || input.serve(frames));
    let mut pumps = vec![pump(streams.stdout, Frame::Stdout, sender)];
    if let Some(stderr) = streams.stderr {
        pumps.push(pump(stderr, Frame::Stderr, sender));
    }
    let status = wait_for(pid)?;
    end_all_others();
    for pump in pumps {
        // A pump that panicked has said so on the console.
        let _ = pump.join();
    }
    Ok(status)
}

fn prepare(job: &Job) -> Command {
    let mut words = job.argv.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    command.env_clear().env("PATH", PATH);
    command.env("HOME", if job.as_user { "/home/user" } else { "/root" });
    command.envs(job.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(if job.as_user { "/home/user" } else { "/root" });
    command
}

/// Our ends of the command's streams.
struct Streams {
    stdin: File,
    stdout: File,
    stderr: Option<File>,
    /// The terminal to be resized, if there is one.
    terminal: Option<File>,
}

fn connect_pipes(command: &mut Command) -> Result<Streams> {
    let (stdin_far, stdin) = io::pipe()?;
    let (stdout, stdout_far) = io::pipe()?;
    let (stderr, stderr_far) = io::pipe()?;
    command
        .stdin(stdin_far)
        .stdout(stdout_far)
        .stderr(stderr_far);
    lead_session(command, false);
    Ok(Streams {
        stdin: File::from(OwnedFd::from(stdin)),
        stdout: File::from(OwnedFd::from(stdout)),
        stderr: Some(File::from(OwnedFd::from(stderr))),
        terminal: None,
    })
}

fn connect_terminal(command: &mut Command, size: WindowSize) -> Result<Streams> {
    let pty = openpty(None, None).context("no terminal for the command")?;
    set_window_size(&pty.master, size)?;
    command
        .stdin(pty.slave.try_clone()?)
        .stdout(pty.slave.try_clone()?)
        .stderr(pty.slave);
    lead_session(command, true);
    let master = File::from(pty.master);
    Ok(Streams {
        stdin: master.try_clone()?,
        stdout: master.try_clone()?,
        stderr: None,
        terminal: Some(master),
    })
}

/// Sends all that `stream` gives, until it ends.
fn pump(mut stream: File, frame: fn(Vec<u8>) -> Frame, sender: &Sender) -> thread::JoinHandle<()> {
    let sender = sender.clone();
    thread::spawn(move || {
        let mut bytes = vec![0; CHUNK_LEN];
        loop {
            let len = match stream.read(&mut bytes) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal that nobody has open any more says EIO.
                Err(_) => 0,
            };
            if len == 0 {
                return;
            }
            if let Err(error) = sender.send(&frame(bytes[..len].to_vec())) {
                eprintln!("lab-init: cannot send output: {error}");
                return;
            }
        }
    })
}

/// What the host side sends while the command runs.
struct Input {
    stdin: Option<File>,
    terminal: Option<File>,
    pid: Pid,
}

impl Input {
    fn serve(mut self, mut frames: File) {
        loop {
            match Frame::read(&mut frames) {
                Ok(frame) => self.take(frame),
                Err(error) => {
                    eprintln!("lab-init: {error}");
                    return;
                }
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            // A command that reads no more input has closed it.
            Frame::Stdin(bytes) => {
                if let Some(stdin) = &mut self.stdin
                    && stdin.write_all(&bytes).is_err()
                {
                    self.stdin = None;
                }
            }
            Frame::StdinEnd => self.stdin = None,
            Frame::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    // Only a window's look depends on it.
                    let _ = set_window_size(terminal, size);
                }
            }
            Frame::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number) {
                    // The command leads its process group; it may have ended a moment ago.
                    let _ = kill(Pid::from_raw(-self.pid.as_raw()), signal);
                }
            }
            other => eprintln!("lab-init: unexpected {other:?}"),
        }
    }
}

/// Reaps children, adopted ones too, until the command itself has ended.
fn wait_for(pid: Pid) -> Result<i32> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(ended, status)) if ended == pid => return Ok(status),
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}

/// Ends what the command has left running, so that its output comes to an end too.
fn end_all_others() {
    // ESRCH: there are none.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while wait().is_ok() {}
}
