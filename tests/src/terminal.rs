//! Terminals: raw mode and window sizes.

#![expect(unsafe_code, reason = "window sizes are read and set with ioctls")]

use std::io::{IsTerminal, stdin};
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::winsize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::lab::wire::WindowSize;

nix::ioctl_read_bad!(
    /// Reads a window size.
    tiocgwinsz, nix::libc::TIOCGWINSZ, winsize);
nix::ioctl_write_ptr_bad!(
    /// Sets a window size.
    tiocswinsz, nix::libc::TIOCSWINSZ, winsize);

/// The size of the window that `terminal` is shown in.
pub fn window_size(terminal: impl AsFd) -> nix::Result<WindowSize> {
    let mut size = winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel fills the one `winsize` that the pointer names.
    unsafe { tiocgwinsz(terminal.as_fd().as_raw_fd(), &raw mut size) }?;
    Ok(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Tells `terminal` the size of its window; its foreground processes get SIGWINCH.
pub fn set_window_size(terminal: impl AsFd, size: WindowSize) -> nix::Result<()> {
    let size = winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads the one `winsize` that the pointer names.
    unsafe { tiocswinsz(terminal.as_fd().as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Standard input in raw mode; dropping it brings the former mode back.
#[derive(Debug)]
pub struct RawMode {
    former: Termios,
}

impl RawMode {
    /// Sets raw mode, or does nothing when standard input is no terminal.
    pub fn set() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let former = tcgetattr(stdin()).ok()?;
        let mut raw = former.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self { former })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.former);
    }
}
