//! Refusals: one line that names the setting, where it came from, and the remedy.

use std::fmt;

use super::table::{Setting, TABLE};
use crate::exit::Exit;

/// Why the configuration is refused. `Display` is one line and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    message: String,
    exit: Exit,
}

impl ConfigError {
    /// A setting is missing, unknown, malformed or in conflict.
    pub(super) fn config(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Config }
    }

    /// The command line is at fault.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Usage }
    }

    /// A named file cannot be read.
    pub(super) fn no_input(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::NoInput }
    }

    /// The code to end with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// `KEY=example`, or for a secret `KEY_FILE=path`: a secret is better not spelled out.
pub(super) fn example(setting: &Setting) -> String {
    format!("{}{}={}", setting.key, if setting.is_secret() { "_FILE" } else { "" }, setting.example)
}

/// `; did you mean X? Example: X=...` for the known key nearest to an unknown one; without a near one, where to look.
pub(super) fn hint_for_key(unknown: &str) -> String {
    let keys =
        TABLE.iter().flat_map(|setting| setting.older.iter().chain([&setting.key]).map(move |key| (*key, setting)));
    match nearest(unknown.strip_suffix("_FILE").unwrap_or(unknown), keys) {
        Some((key, setting)) => format!("; did you mean {key}? Example: {}", example(setting)),
        None => "; `edge-gateway --help` lists all. Example: INFISICAL_DOMAIN=https://eu.infisical.com".to_owned(),
    }
}

/// The same for a flag, without its `--`.
pub(super) fn hint_for_flag(unknown: &str) -> String {
    let flags = TABLE.iter().flat_map(|setting| setting.flags.iter().map(move |flag| (*flag, setting)));
    match nearest(unknown, flags) {
        Some((flag, setting)) if setting.is_secret() => {
            format!("; did you mean --{flag}-file? Example: --{flag}-file={}", setting.example)
        }
        Some((flag, setting)) => format!("; did you mean --{flag}? Example: --{flag}={}", setting.example),
        None => "; `edge-gateway --help` lists all. Example: --domain=https://eu.infisical.com".to_owned(),
    }
}

/// Whether an unknown key is so near a known one that it can only be a slip.
pub(super) fn is_slip(unknown: &str) -> bool {
    TABLE.iter().flat_map(|setting| setting.older.iter().chain([&setting.key])).any(|key| distance(unknown, key) <= 2)
}

fn nearest<'a, T>(unknown: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<(&'a str, T)> {
    let limit = (unknown.len() / 3).max(2);
    let best =
        known.map(|(name, value)| (distance(unknown, name), name, value)).min_by_key(|(distance, ..)| *distance)?;
    (best.0 <= limit).then_some((best.1, best.2))
}

/// Levenshtein distance in bytes, without regard to ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("domain", "DOMAIN", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn hints_name_the_nearest() {
        assert!(hint_for_key("INFISICAL_DOMIAN").contains("did you mean INFISICAL_DOMAIN?"));
        assert!(hint_for_key("INFISICAL_TOKN_FILE").contains("INFISICAL_TOKEN_FILE=/"));
        assert!(hint_for_flag("relay-prot").contains("--relay-port=2222"));
        assert!(hint_for_flag("tokn").contains("--token-file="));
        assert!(hint_for_key("COLOUR").contains("--help"));
    }
}
