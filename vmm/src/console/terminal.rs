//! Raw mode of the terminal on standard input, undone on every way out of the process.
//!
//! The settings to go back to live in one process-wide place, because the ways out are many: a
//! normal return, an error, a panic of any thread, and a forced exit while threads still run.

use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::termios::{self, OutputFlags, SetArg, Termios};
use nix::unistd;

/// The settings before raw mode, while it is on.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode, for as long as this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode, if there is one and this process is in
    /// its foreground (a background process would be stopped for touching it).
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        let Ok(original) = termios::tcgetattr(&stdin) else {
            return Ok(None);
        };
        if unistd::tcgetpgrp(&stdin).is_ok_and(|group| group != unistd::getpgrp()) {
            return Ok(None);
        }
        restore_on_panic();
        let mut slot = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
        set_raw(&original)?;
        *slot = Some(original);
        Ok(Some(Self(())))
    }

    /// Enters raw mode again, after something else had the terminal meanwhile.
    pub fn enter_again(&self) -> io::Result<()> {
        let slot = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map_or(Ok(()), set_raw)
    }
}

fn set_raw(original: &Termios) -> io::Result<()> {
    let mut raw = original.clone();
    termios::cfmakeraw(&mut raw);
    // What muster itself prints has plain newlines.
    raw.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
    Ok(termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?)
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Ends raw mode if it is on. Any thread may call it, any number of times.
pub fn restore() {
    let mut slot = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(original) = slot.take() {
        // A terminal that has gone needs no settings.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &original);
    }
}

/// Makes a panic's message appear on a terminal that can show it.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let inner = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            inner(info);
        }));
    });
}
