//! Files that people write, and their texts.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Result;

use crate::UsageError;

/// They are written by hand: larger ones are something else.
const FILE_MAX: u64 = 1 << 20;

/// Something that comes with the program: its name and its text.
pub type Shipped = (&'static str, &'static str);

/// The text of what comes with the program under the name `path`, or of a file that is to be `what`,
/// such as "a scenario".
pub fn shipped_or_read(
    path: &Path,
    what: &str,
    shipped: impl Iterator<Item = Shipped> + Clone,
) -> Result<String> {
    let name = path.to_str().unwrap_or_default();
    if let Some((_, text)) = shipped.clone().find(|&(known, _)| known == name) {
        return Ok(text.to_owned());
    }
    let is_name = !name.contains(['/', '.']) && !name.is_empty();
    if is_name && !path.exists() {
        let names: Vec<&str> = shipped.map(|(name, _)| name).collect();
        let names = names.join(", ");
        let kind = what.split_once(' ').map_or(what, |(_, kind)| kind);
        let error = format!("no {kind} and no file is called {name:?}: there are {names}");
        return Err(UsageError(error).into());
    }
    read(path, what)
}

/// Reads a file that is to be `what`.
fn read(path: &Path, what: &str) -> Result<String> {
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
    fn what_comes_with_the_program_goes_by_its_name() {
        let shipped = [("one", "1"), ("other", "2")].into_iter();
        let text = |name: &str| {
            let text = shipped_or_read(Path::new(name), "an example", shipped.clone());
            text.map_err(|error| error.to_string())
        };
        assert_eq!(text("other").unwrap(), "2");
        let unknown = text("third").unwrap_err();
        assert_eq!(
            unknown,
            "no example and no file is called \"third\": there are one, other"
        );
        assert!(text("./one").unwrap_err().starts_with("cannot read ./one"));
    }

    #[test]
    fn a_list_has_first_sentences() {
        assert_eq!(first_sentence("One\nand a half. Two."), "One and a half.");
        assert_eq!(first_sentence("No end"), "No end");
        assert_eq!(first_sentence(""), "");
    }
}
