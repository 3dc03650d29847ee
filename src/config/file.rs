//! Files of settings: `KEY=value` lines, as shells, systemd's `EnvironmentFile=` and the official gateway write them.

use super::error::{ConfigError, example, hint_for_key};
use super::layer::{Entry, Origin};
use super::table::{Id, TABLE, setting};
use crate::escape::Escaped;

use std::path::Path;

/// Reads a file's text. Blank lines, `#` and `;` comments, a leading `export`, and one pair of quotes around a value are
/// understood; nothing is expanded.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let mut entries = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let refuse = |problem: String| ConfigError::config(format!("{}:{}: {problem}", path.display(), i + 1));
        let line = line.strip_prefix("export ").unwrap_or(line);
        // A line that is no setting is not shown: it may be a token.
        let Some((key, value)) = line.split_once('=') else {
            return Err(refuse(format!("not KEY=value; example: {}", example(setting(Id::Domain)))));
        };
        let (key, value) = (
            key.trim(),
            unquote(value.trim())
                .ok_or_else(|| refuse(format!("{} has a quote that does not end", Escaped::new(key, 60))))?,
        );
        let origin = Origin::File { path: path.to_owned(), line: i + 1 };
        let Some((setting, is_file)) = find(key) else {
            return Err(refuse(format!("there is no setting {}{}", Escaped::new(key, 60), hint_for_key(key))));
        };
        if setting.id == Id::ConfigFile {
            return Err(refuse(format!(
                "{key} belongs in the environment, not in a file; example: --config=/etc/edge-gateway/second.conf"
            )));
        }
        entries.push(Entry::new(setting, key, is_file, value.to_owned(), origin));
    }
    Ok(entries)
}

/// The setting of a key, and whether it is the `_FILE` form that every secret has.
pub(super) fn find(key: &str) -> Option<(&'static super::table::Setting, bool)> {
    let by_key = |key: &str| TABLE.iter().find(|setting| setting.key == key || setting.older.contains(&key));
    by_key(key).map(|setting| (setting, false)).or_else(|| {
        let setting = by_key(key.strip_suffix("_FILE")?)?;
        setting.is_secret().then_some((setting, true))
    })
}

/// Takes one pair of quotes off. `None`: it starts with one and does not end with it.
fn unquote(value: &str) -> Option<&str> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].strip_suffix(quote),
        _ => Some(value),
    }
}
