//! The lab's init: makes a usable system of the bare initramfs, runs one command, and reports how it
//! ended.
//!
//! It talks to the host side through frames (`muster_tests::lab::wire`). Its own complaints go to the
//! kernel's console, which the host side shows when something fails.

mod command;
mod port;
mod system;

use anyhow::{Context, Result};
use muster_tests::lab::wire::Frame;
use nix::sys::reboot::{RebootMode, reboot};

fn main() -> Result<()> {
    if std::process::id() != 1 {
        anyhow::bail!("lab-init is the first process of the lab host, not a command");
    }
    if let Err(error) = serve() {
        eprintln!("lab-init: {error:#}");
    }
    // The host side has usually ended the machine by now.
    nix::unistd::sync();
    reboot(RebootMode::RB_POWER_OFF)?;
    Ok(())
}

fn serve() -> Result<()> {
    system::mount_all()?;
    system::load_modules()?;
    let mut port = port::open()?;
    system::prepare()?;
    Frame::Ready.write(&mut port)?;
    let job = match Frame::read(&mut port).context("no command has come")? {
        Frame::Start(job) => job,
        other => anyhow::bail!("expected a command, not {other:?}"),
    };
    let sender = port::Sender::new(port.try_clone()?);
    if job.heartbeat {
        sender.start_heartbeat();
    }
    let status = command::run(&job, &port, &sender)?;
    sender
        .send(&Frame::Exit(status))
        .context("cannot report the exit status")?;
    Ok(())
}
