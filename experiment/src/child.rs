//! VMs as child processes that do not outlive the experiment.

#![expect(
    unsafe_code,
    reason = "Command::pre_exec is unsafe: its closure runs in a forked process"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel kill the child as soon as the thread that spawns it is gone, however it went, and
/// keeps what is typed at the terminal from it.
pub fn bind_to_parent(command: &mut Command) {
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
    command.process_group(0);
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(set_up) };
}
