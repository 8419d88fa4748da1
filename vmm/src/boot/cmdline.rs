//! The kernel's command line.

/// What every guest is told unless its user takes over the whole command line, word by word.
///
/// A word is here only if a stock kernel is worse off without it on any guest.
pub const DEFAULT_WORDS: &[&str] = &[
    // The UART is the only console there is.
    "console=ttyS0",
    // A guest that panicked restarts at once, so that the VM ends (or begins anew) instead of
    // standing still. Nobody could press its reset button.
    "panic=-1",
    // There is no PCI bus; do not search for one through its configuration ports.
    "pci=off",
    // COM1 is the only UART; do not probe for the other three of a PC.
    "8250.nr_uarts=1",
];

/// The default command line, with `added` at its end: kernels let the last of equal words win.
pub fn with_defaults(added: &str) -> String {
    let mut cmdline = DEFAULT_WORDS.join(" ");
    let added = added.trim();
    if !added.is_empty() {
        cmdline.push(' ');
        cmdline.push_str(added);
    }
    cmdline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_follow_the_defaults() {
        assert!(with_defaults(" quiet root=/dev/vda ").ends_with("nr_uarts=1 quiet root=/dev/vda"));
    }

    #[test]
    fn nothing_added_leaves_no_space() {
        assert_eq!(with_defaults("  "), DEFAULT_WORDS.join(" "));
    }
}
