//! Text from elsewhere, made safe to print on one line.

use std::fmt::{self, Write};

/// Shows text with its control characters escaped and its length bounded, so that a peer's words can neither start a
/// new log line, move a terminal's cursor nor flood the log.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    text: &'a str,
    limit: usize,
}

impl<'a> Escaped<'a> {
    /// Shows at most `limit` characters of `text`, then `…`.
    pub fn new(text: &'a str, limit: usize) -> Self {
        Self { text, limit }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.text.chars();
        for c in rest.by_ref().take(self.limit) {
            write_escaped(f, c)?;
        }
        if rest.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Writes one character, as an escape if it could change how the line is shown.
pub fn write_escaped(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if c.is_control() || is_format(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => out.write_char(c),
    }
}

/// Line separators, and the invisible characters that reorder or hide what follows them.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        let text = "a\r\nb\t\u{1b}[31m\u{7f}\u{9b}\u{202e}é";
        assert_eq!(Escaped::new(text, 100).to_string(), "a\\r\\nb\\t\\u{1b}[31m\\u{7f}\\u{9b}\\u{202e}é");
    }

    #[test]
    fn length_is_bounded_in_characters() {
        assert_eq!(Escaped::new("éééé", 4).to_string(), "éééé");
        assert_eq!(Escaped::new("ééééé", 4).to_string(), "éééé…");
        assert_eq!(Escaped::new("x", 0).to_string(), "…");
    }
}
