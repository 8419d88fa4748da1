//! Files that people write, and their texts.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Result;

use crate::UsageError;

/// They are written by hand: larger ones are something else.
const FILE_MAX: u64 = 1 << 20;

/// Reads a file that is to be `what`, such as "a scenario".
pub fn read(path: &Path, what: &str) -> Result<String> {
    read_bounded(path, what)
        .map_err(|error| UsageError(format!("cannot read {}: {error}", path.display())).into())
}

fn read_bounded(path: &Path, what: &str) -> Result<String, io::Error> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        let error = format!("it has more than 1 MiB, so it is not {what}");
        return Err(io::Error::other(error));
    }
    Ok(text)
}

/// A text up to its first full stop, in one line.
pub fn first_sentence(text: &str) -> String {
    let mut sentence = String::new();
    for word in text.split_whitespace() {
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence.push_str(word);
        if word.ends_with('.') {
            break;
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_first_sentences() {
        assert_eq!(first_sentence("One\nand a half. Two."), "One and a half.");
        assert_eq!(first_sentence("No end"), "No end");
        assert_eq!(first_sentence(""), "");
    }
}
