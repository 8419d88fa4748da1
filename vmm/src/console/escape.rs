//! The console's escape key, as QEMU's users know it: `Ctrl-a` and one more key.

/// Starts an escape sequence.
const ESCAPE: u8 = 0x01;

/// Shown for `Ctrl-a h`. Lines end for a terminal in raw mode.
pub const HELP: &str = "\r\n\
    Ctrl-a h    show this help\r\n\
    Ctrl-a x    end the virtual machine at once\r\n\
    Ctrl-a p    press its power button\r\n\
    Ctrl-a a    send Ctrl-a to the guest\r\n";

/// What a key sequence asks of the VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End the VM.
    Quit,
    /// Press the power button.
    PowerButton,
    /// Show [`HELP`].
    Help,
}

/// Separates escape sequences from what the guest should read. Sequences may be split between
/// calls in any way.
#[derive(Debug, Default)]
pub struct EscapeFilter {
    pending: bool,
}

impl EscapeFilter {
    /// Splits `input` into what goes to the guest, appended to `guest`, and commands, returned in
    /// order. An unknown key after the escape is dropped with it, so that no sequence typed by
    /// mistake reaches the guest halfway.
    pub fn filter(&mut self, input: &[u8], guest: &mut Vec<u8>) -> Vec<Command> {
        let mut commands = Vec::new();
        for &byte in input {
            if !self.pending {
                match byte {
                    ESCAPE => self.pending = true,
                    other => guest.push(other),
                }
                continue;
            }
            self.pending = false;
            match byte {
                b'x' | b'X' => commands.push(Command::Quit),
                b'h' | b'H' | b'?' => commands.push(Command::Help),
                b'p' | b'P' => commands.push(Command::PowerButton),
                b'a' | ESCAPE => guest.push(ESCAPE),
                _ => {}
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(input: &[u8]) -> (Vec<u8>, Vec<Command>) {
        let mut guest = Vec::new();
        let commands = EscapeFilter::default().filter(input, &mut guest);
        (guest, commands)
    }

    #[test]
    fn everything_else_passes_unchanged() {
        let all: Vec<u8> = (0..=u8::MAX).filter(|byte| *byte != ESCAPE).collect();
        assert_eq!(split(&all), (all, vec![]));
    }

    #[test]
    fn commands_are_taken_out() {
        assert_eq!(split(b"ab\x01xcd"), (b"abcd".to_vec(), vec![Command::Quit]));
        assert_eq!(
            split(b"\x01h\x01p"),
            (vec![], vec![Command::Help, Command::PowerButton])
        );
        assert_eq!(split(b"\x01a\x01\x01"), (vec![1, 1], vec![]));
        assert_eq!(split(b"\x01zq"), (b"q".to_vec(), vec![]));
    }

    #[test]
    fn a_sequence_may_be_split_anywhere() {
        let input = b"ls\x01h\x01a\x01xend";
        let whole = split(input);
        for cut in 0..input.len() {
            let (mut filter, mut guest) = (EscapeFilter::default(), Vec::new());
            let mut commands = filter.filter(&input[..cut], &mut guest);
            commands.extend(filter.filter(&input[cut..], &mut guest));
            assert_eq!((guest, commands), whole, "cut at {cut}");
        }
    }
}
