//! What a child process sets up between fork and exec.

#![expect(
    unsafe_code,
    reason = "Command::pre_exec is unsafe: its closure runs in a forked process"
)]

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getpid, getppid, setgid, setgroups, setsid, setuid};

nix::ioctl_write_int_bad!(
    /// Makes a terminal the controlling one.
    tiocsctty, nix::libc::TIOCSCTTY);

/// Has the kernel kill the child as soon as the thread that spawns it is gone, however it went.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let set_up = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::from(Errno::ESRCH))
        }
    };
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(set_up) };
}

/// Gives the child a session of its own, with its standard input as the controlling terminal if
/// `terminal`.
pub fn lead_session(command: &mut Command, terminal: bool) {
    let set_up = move || {
        setsid()?;
        if terminal {
            // SAFETY: TIOCSCTTY takes an integer, no pointer.
            unsafe { tiocsctty(0, 0) }?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(set_up) };
}

/// Makes the child an ordinary user who belongs to one more group.
pub fn become_user(command: &mut Command, uid: Uid, gid: Gid, extra_group: Gid) {
    let set_up = move || {
        setgroups(&[gid, extra_group])?;
        setgid(gid)?;
        setuid(uid)?;
        Ok(())
    };
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(set_up) };
}

/// A status as one number, the way shells have it: 128 + number if a signal ended the process.
pub fn status_number(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .expect("it exited or was killed")
}
