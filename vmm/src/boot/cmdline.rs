//! The kernel's command line.

use crate::spec::OnReboot;

/// What every guest is told unless its user takes over the whole command line, word by word.
///
/// A word is here only if a stock kernel is worse off without it on any guest.
pub const DEFAULT_WORDS: &[&str] = &[
    // The UART is the only console there is.
    "console=ttyS0",
    // There is no PCI bus; do not search for one through its configuration ports.
    "pci=off",
    // Kernels test all their ciphers at every boot, which is half of a small guest's boot time. The
    // code was tested where it was built. Kernels with fips=1 test all the same, and others with
    // cryptomgr.notests=0.
    "cryptomgr.notests",
    // COM1 is the only UART; do not probe for the other three of a PC.
    "8250.nr_uarts=1",
];

/// Makes a panic reset the guest at once. Added where a reset ends the VM: its user then learns of
/// the panic from the exit status. Where a reset restarts the guest, a kernel that cannot boot would
/// do so for ever, so there a panic stays on the screen.
pub const RESET_ON_PANIC: &str = "panic=-1";

/// The default command line for a VM that answers a reset with `on_reboot`, with the words of
/// `added` at its end: kernels let the last of equal words win.
pub fn with_defaults<'a>(
    on_reboot: OnReboot,
    added: impl IntoIterator<Item = &'a String>,
) -> String {
    let mut words = DEFAULT_WORDS.to_vec();
    if on_reboot == OnReboot::Exit {
        words.push(RESET_ON_PANIC);
    }
    words.extend(
        added
            .into_iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_follow_the_defaults() {
        let added = [
            " quiet ".to_owned(),
            String::new(),
            "root=/dev/vda".to_owned(),
        ];
        let cmdline = with_defaults(OnReboot::Restart, &added);
        assert_eq!(
            cmdline,
            format!("{} quiet root=/dev/vda", DEFAULT_WORDS.join(" "))
        );
    }

    #[test]
    fn a_panic_resets_only_where_a_reset_ends_the_vm() {
        let has = |on_reboot| with_defaults(on_reboot, &[]).contains(RESET_ON_PANIC);
        assert!(has(OnReboot::Exit) && !has(OnReboot::Restart));
    }
}
