//! Pieces of SVG.

use std::fmt::Write as _;

/// How a page's colours are told to all drawings, in light and in dark surroundings.
const STYLE: &str = "\
.bg{fill:#fff}.ink{fill:#1a1a1a}.faint{fill:#666}.lane{fill:#f1f1ee}.grid{stroke:#000;stroke-opacity:.16}\
.slot{stroke:#1a1a1a}.mark{stroke:#b00020}.marktext{fill:#b00020}.hatch{stroke:#8a8a86}.switch{fill:#1a1a1a}\
.stolen{fill:#f4c7cf}.stolenline{stroke:#b00020}\
text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\
@media(prefers-color-scheme:dark){\
.bg{fill:#16181c}.ink{fill:#ececec}.faint{fill:#a5a5a5}.lane{fill:#22262c}.grid{stroke:#fff}\
.slot{stroke:#ececec}.mark{stroke:#ff8095}.marktext{fill:#ff8095}.hatch{stroke:#6b7079}.switch{fill:#ececec}\
.stolen{fill:#5a2530}.stolenline{stroke:#ff8095}}";

/// A finished drawing, which has its place on a page still before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// SVG elements, from (0, 0) down to the right.
    pub body: String,
    /// What it shows, for those who cannot see it.
    pub title: String,
}

impl Drawing {
    /// The drawing as an element of a page.
    pub fn element(&self) -> String {
        let Self {
            width,
            height,
            body,
            title,
        } = self;
        let title = escape(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\
             <style>{STYLE}</style>\n{body}</svg>\n"
        )
    }
}

/// One drawing below the other, as a file.
pub fn stack(drawings: &[Drawing]) -> String {
    let mut whole = Drawing {
        width: drawings
            .iter()
            .map(|drawing| drawing.width)
            .max()
            .unwrap_or(0),
        height: 0,
        body: String::new(),
        title: String::new(),
    };
    for drawing in drawings {
        let _ = writeln!(
            whole.body,
            "<g transform=\"translate(0,{})\">\n{}</g>",
            whole.height, drawing.body
        );
        whole.height += drawing.height;
        if !whole.title.is_empty() {
            whole.title.push_str("; ");
        }
        whole.title.push_str(&drawing.title);
    }
    whole.element()
}

/// Text for XML and HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write them.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// About how wide a text is, in pixels: nothing here knows the reader's fonts.
pub fn text_width(text: &str, size: u32) -> u32 {
    text.chars().count() as u32 * size * 6 / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_text() {
        assert_eq!(escape("a<b>&\"'\u{0}\n"), "a&lt;b&gt;&amp;&quot;&#39;  ");
    }

    #[test]
    fn a_stack_is_as_high_as_its_parts() {
        let part = Drawing {
            width: 10,
            height: 7,
            body: "<rect/>\n".to_owned(),
            title: "x".to_owned(),
        };
        let whole = stack(&[part.clone(), part]);
        assert!(whole.contains("height=\"14\""), "{whole}");
        assert!(whole.contains("translate(0,7)"), "{whole}");
        assert!(whole.contains("aria-label=\"x; x\""), "{whole}");
    }
}
