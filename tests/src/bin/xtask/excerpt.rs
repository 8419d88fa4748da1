//! A part of a stream, by what stands before and after it.

use std::io::{self, Write};

/// Passes on what comes between `begin` and `end` and drops the rest. Only bytes that may turn out to
/// be the start of a mark are held back.
#[derive(Debug)]
pub struct Excerpt<W> {
    out: W,
    begin: &'static [u8],
    end: &'static [u8],
    part: Part,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Within,
    After,
}

impl<W: Write> Excerpt<W> {
    /// Passes on to `out`.
    pub fn new(out: W, begin: &'static str, end: &'static str) -> Self {
        let (begin, end) = (begin.as_bytes(), end.as_bytes());
        Self {
            out,
            begin,
            end,
            part: Part::Before,
            held: Vec::new(),
        }
    }

    /// Whether the mark before the part has come.
    pub fn has_begun(&self) -> bool {
        self.part != Part::Before
    }

    /// Passes on what was held back, as no mark will come any more.
    pub fn finish(mut self) -> io::Result<()> {
        if self.part == Part::Within {
            self.out.write_all(&self.held)?;
        }
        self.out.flush()
    }
}

impl<W: Write> Write for Excerpt<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.part == Part::Before {
            let (undecided, found) = split(&self.held, self.begin);
            self.held.drain(..undecided);
            if found {
                self.held.drain(..self.begin.len());
                self.part = Part::Within;
            }
        }
        if self.part == Part::Within {
            let (undecided, found) = split(&self.held, self.end);
            self.out.write_all(&self.held[..undecided])?;
            self.held.drain(..undecided);
            if found {
                self.part = Part::After;
            }
        }
        if self.part == Part::After {
            self.held.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where in `bytes` the mark stands, or else where it may have started; and whether it does stand
/// there.
fn split(bytes: &[u8], mark: &[u8]) -> (usize, bool) {
    let starts = (0..bytes.len()).find(|&at| {
        let rest = &bytes[at..];
        mark.starts_with(&rest[..rest.len().min(mark.len())])
    });
    match starts {
        Some(at) => (at, bytes.len() - at >= mark.len()),
        None => (bytes.len(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, piece_len: usize) -> String {
        let mut out = Vec::new();
        let mut excerpt = Excerpt::new(&mut out, "<<", "<!>");
        for piece in text.as_bytes().chunks(piece_len) {
            excerpt.write_all(piece).unwrap();
        }
        excerpt.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_marked_part_passes_however_the_stream_is_cut() {
        for (text, part) in [
            ("noise < <<body <!> noise << more <!>", "body "),
            ("<<<<!>", "<"),
            ("<<a <! b <<!> noise", "a <! b <"),
            ("<<no end <!", "no end <!"),
            ("<<<!>", ""),
            ("no beginning <!> <", ""),
            ("", ""),
        ] {
            for piece_len in 1..=text.len().max(1) {
                assert_eq!(
                    excerpt(text, piece_len),
                    part,
                    "{text:?} in pieces of {piece_len}"
                );
            }
        }
    }

    #[test]
    fn nothing_but_a_possible_mark_is_held_back() {
        let mut out = Vec::new();
        let mut excerpt = Excerpt::new(&mut out, "<<", "<!>");
        excerpt.write_all(b"<<prompt: <").unwrap();
        assert!(excerpt.has_begun());
        assert_eq!(excerpt.held, b"<");
        drop(excerpt);
        assert_eq!(out, b"prompt: ");
    }
}
