//! Standard output, whether it is a terminal or not.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

/// Columns of the terminal that standard output is; `None` if it is none.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(stdout);
    Some(size.map_or(80, |(width, _)| usize::from(width.0)))
}

/// Prints to standard output.
pub fn print(text: &str) -> Result<()> {
    print_to_reader(text).map(|_is_read| ())
}

/// Prints to standard output. Whether anybody is left to read it.
pub fn print_to_reader(text: &str) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        // `muster ... | head` is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot print the output"),
    }
}

/// Words in lines of at most `width` characters.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_allowed() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("enormous", 3), ["enormous"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
