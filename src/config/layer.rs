//! Where values come from, which one counts, and which ones contradict each other.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::error::{ConfigError, example};
use super::table::{Id, Kind, Setting, TABLE};
use crate::domain::Domain;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential,
    /// A line of a file of settings.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Origin {
    /// Which source outranks which.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Origin::Flag => 3,
            Origin::Environment => 2,
            Origin::Credential => 1,
            Origin::File { .. } => 0,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Environment => f.write_str("environment"),
            Origin::Credential => f.write_str("credential"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One value as given.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    /// The name it was given under: a flag, an older key, a `_FILE` key.
    pub(super) name: String,
    /// The value is the path of a file that holds the value.
    pub(super) is_file: bool,
    pub(super) value: Zeroizing<String>,
    pub(super) origin: Origin,
}

impl Entry {
    pub(super) fn new(setting: &'static Setting, name: &str, is_file: bool, value: String, origin: Origin) -> Self {
        Self { setting, name: name.to_owned(), is_file, value: Zeroizing::new(value), origin }
    }

    /// `INFISICAL_DOMAIN (environment)`, for messages.
    pub(super) fn label(&self) -> String {
        format!("{} ({})", self.name, self.origin)
    }

    fn agrees_with(&self, other: &Entry) -> bool {
        let same = |a: &str, b: &str| match self.setting.kind {
            Kind::Domain => {
                matches!((Domain::parse(a), Domain::parse(b)), (Ok(a), Ok(b)) if a == b)
            }
            _ => a == b,
        };
        self.is_file == other.is_file && same(&self.value, &other.value)
    }
}

/// The value of each setting that counts.
#[derive(Debug, Default)]
pub(super) struct Values {
    entries: [Option<Entry>; TABLE.len()],
}

impl Values {
    /// Adds one source's values; sources that were added before outrank it. An empty value counts as not given: that is
    /// how scripts pass a variable they do not have.
    ///
    /// Within one source nothing outranks anything, so two different values are refused.
    pub(super) fn add(&mut self, source: Vec<Entry>) -> Result<(), ConfigError> {
        let mut layer = Values::default();
        for entry in source.into_iter().filter(|entry| !entry.value.is_empty()) {
            let slot = &mut layer.entries[entry.setting.id as usize];
            match slot {
                Some(first) if !first.agrees_with(&entry) => {
                    return Err(ConfigError::config(format!(
                        "{} and {} contradict each other; keep one. Example: {}",
                        first.label(),
                        entry.label(),
                        example(entry.setting)
                    )));
                }
                Some(_) => {}
                None => *slot = Some(entry),
            }
        }
        for (slot, entry) in self.entries.iter_mut().zip(layer.entries) {
            if slot.is_none() {
                *slot = entry;
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries[id as usize].as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }
}
