//! The end of the lab's log.

use std::collections::VecDeque;
use std::fmt;

/// Bytes that are kept: enough for a kernel's panic and what led to it.
const KEPT_LEN: usize = 64 << 10;
/// Lines that are shown.
const SHOWN_LINES: usize = 60;

/// What the lab's kernel and QEMU said last. Shows its last lines, without control characters.
#[derive(Debug, Default)]
pub struct LogTail {
    bytes: VecDeque<u8>,
}

impl LogTail {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(KEPT_LEN);
        self.bytes.drain(..excess);
    }
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, back) = self.bytes.as_slices();
        let bytes = [front, back].concat();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        for (index, line) in shown.iter().enumerate() {
            let plain: String = line.chars().filter(|c| !c.is_control()).collect();
            let end = if index + 1 < shown.len() { "\n" } else { "" };
            write!(f, "| {plain}{end}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_without_control_characters() {
        let mut log = LogTail::default();
        for number in 0..10_000 {
            log.push(format!("\x1b[1mline {number}\r\n").as_bytes());
        }
        assert!(log.bytes.len() <= KEPT_LEN);
        let text = log.to_string();
        assert_eq!(text.lines().count(), SHOWN_LINES);
        assert!(text.ends_with("| [1mline 9999"), "{text:?}");
        assert!(!text.contains('\x1b') && !text.contains('\r'));
    }

    #[test]
    fn an_empty_log_shows_nothing() {
        assert_eq!(LogTail::default().to_string(), "");
    }
}
