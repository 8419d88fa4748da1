//! The first process of a guest: sets the system up, runs one job, powers off.
//!
//! Problem: a small guest needs someone to mount the kernel's file systems, load drivers, adopt
//! orphans and turn the machine off, and those who start it need the status of what ran inside.
//!
//! Approach: as process 1 of an initramfs it does all this by itself, for the job that the kernel
//! command line names ([`cmdline`](muster_init::cmdline)), else for a shell on the console. With
//! `muster.root=` it goes over to a whole system; there a service calls `muster-init exec` for the
//! same job.
//!
//! Properties: process 1 never panics and never ends, for the kernel would. What goes wrong is one
//! line on the console, and then either the next step or the end of the machine.

mod button;
mod job;
mod modules;
mod mounts;
mod port;
mod session;
mod system;

use std::io::Write;
use std::process::ExitCode;
use std::{env, io, panic, process};

use nix::sys::reboot::{RebootMode, reboot};

fn main() -> ExitCode {
    if process::id() == 1 {
        // The line by which others measure how long the kernel took: nothing may come before it.
        print(concat!("muster-init ", env!("CARGO_PKG_VERSION")));
        // A panic has printed its line by then.
        let mode = panic::catch_unwind(boot).unwrap_or(RebootMode::RB_POWER_OFF);
        let error = reboot(mode);
        say(&format!("the machine stays on: {error:?}"));
        loop {
            std::thread::park();
        }
    }
    if env::args_os().skip(1).eq(["exec"]) {
        return job::run_in_system();
    }
    say(
        "this is the first process of a muster guest: there it runs by itself or as `muster-init exec`",
    );
    ExitCode::from(2)
}

/// The life of the machine; gives the way in which it ends.
fn boot() -> RebootMode {
    mounts::set_up();
    if let Err(error) = nix::unistd::sethostname("muster") {
        say(&format!("cannot set the host name: {error}"));
    }
    modules::load();
    let request = job::request();
    if let Ok(request) = &request
        && let Some(device) = &request.root
    {
        // Comes back only if there is no system to go over to.
        system::enter(device);
    }
    let mode = job::run(request);
    mounts::tear_down();
    mode
}

/// Prints a message.
fn say(message: &str) {
    print(&format!("muster-init: {message}"));
}

/// Prints a line on the console. There is nobody to tell if that fails.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
