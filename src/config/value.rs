//! From texts to checked values.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, example};
use super::files::Files;
use super::layer::{Entry, Origin, Values};
use super::table::{Id, Kind};
use crate::domain::Domain;
use crate::escape::Escaped;
use crate::limits::{CONFIG_FILE_BYTES, SECRET_BYTES};
use crate::proxy::Proxy;
use crate::secret::Secret;
use crate::syntax::{is_name, is_token, is_uuid};

/// A secret, or the file to read it from each time it is needed: tokens that others rotate live in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Value(Secret),
    /// The file that holds it.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now. `key` names the setting in messages.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token.
    pub fn read(&self, key: &str, files: &dyn Files) -> Result<Secret, ConfigError> {
        match self {
            SecretSource::Value(secret) => Ok(secret.clone()),
            SecretSource::File(path) => read_secret(key, path, files).map(|(secret, _)| secret),
        }
    }
}

/// Checks one value against its setting's kind, without reading any file.
pub(super) fn check(entry: &Entry) -> Result<(), ConfigError> {
    let value = entry.value.as_str();
    let problem = if entry.is_file {
        path_problem(value)
    } else {
        match entry.setting.kind {
            Kind::Domain => Domain::parse(value).err().map(str::to_owned),
            Kind::Proxy => Proxy::parse(value).err().map(str::to_owned),
            Kind::Secret => secret_problem(value),
            Kind::Name => (!is_name(value)).then(|| {
                "must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit".to_owned()
            }),
            Kind::Uuid => (!is_uuid(value)).then(|| "must be a UUID".to_owned()),
            Kind::Text => value.chars().any(char::is_control).then(|| "must not hold control characters".to_owned()),
            Kind::Path => path_problem(value),
            Kind::Number(least, most) => {
                let fits = value.parse::<u32>().is_ok_and(|number| (least..=most).contains(&number));
                (!fits).then(|| format!("must be a number from {least} to {most}"))
            }
            Kind::Size(least, most) => {
                let fits = bytes(value).is_some_and(|size| (least..=most).contains(&size));
                let (least, most) = (least / 1024, most / (1024 * 1024));
                (!fits).then(|| format!("must be a size from {least}KiB to {most}MiB"))
            }
            Kind::Choice(words) => (!words.contains(&value)).then(|| format!("must be one of {}", words.join(", "))),
            Kind::LogFilter => (!value.split(',').map(str::trim).all(is_log_directive))
                .then(|| "must be error, warn, info, debug, trace or off, or a list of module=level".to_owned()),
        }
    };
    let Some(problem) = problem else {
        return Ok(());
    };
    let shown = if entry.setting.is_secret() && !entry.is_file {
        String::new()
    } else {
        format!(", not \"{}\"", Escaped::new(value, 80))
    };
    let message = format!("{} {problem}{shown}; example: {}", entry.label(), example(entry.setting));
    Err(if entry.origin == Origin::Flag { ConfigError::usage(message) } else { ConfigError::config(message) })
}

/// `4194304`, `4096KiB` or `4MiB`, with or without a space.
fn bytes(value: &str) -> Option<usize> {
    let units = [("KiB", 1024), ("MiB", 1024 * 1024)];
    let unit = units.into_iter().find_map(|(unit, size)| value.strip_suffix(unit).map(|number| (number, size)));
    let (number, size) = unit.unwrap_or((value, 1));
    number.trim_end().parse::<usize>().ok()?.checked_mul(size)
}

fn path_problem(value: &str) -> Option<String> {
    let fits = value.starts_with('/') && !value.chars().any(char::is_control);
    (!fits).then(|| "must be an absolute path".to_owned())
}

fn secret_problem(value: &str) -> Option<String> {
    (!is_token(value)).then(|| format!("must be one word of printable ASCII, at most {SECRET_BYTES} bytes"))
}

fn is_log_directive(text: &str) -> bool {
    let level = match text.split_once('=') {
        Some((module, level)) => {
            let is_module = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
            if module.is_empty() || !module.bytes().all(is_module) {
                return false;
            }
            level
        }
        None => text,
    };
    level.parse::<log::LevelFilter>().is_ok()
}

/// Reads a file that holds one secret, and says when others can read it too.
fn read_secret(key: &str, path: &Path, files: &dyn Files) -> Result<(Secret, Option<String>), ConfigError> {
    let content = files.read(path).map_err(|error| unreadable(key, path, &error))?;
    let text = content.text.trim();
    let problem = if text.is_empty() { Some("is empty".to_owned()) } else { secret_problem(text) };
    if let Some(problem) = problem {
        return Err(ConfigError::config(format!(
            "{key}: {} {problem}; it must hold the secret and nothing else",
            path.display()
        )));
    }
    Ok((Secret::from(text), mode_warning(path, content.mode)))
}

/// What to say of a file that cannot be read. `name` is who asked for it.
pub(super) fn unreadable(name: &str, path: &Path, error: &std::io::Error) -> ConfigError {
    let path = path.display();
    ConfigError::no_input(match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name}: {path} does not exist"),
        std::io::ErrorKind::PermissionDenied => {
            format!("{name}: {path} may not be read by this user; correct its owner or mode (chown, chmod 600)")
        }
        std::io::ErrorKind::FileTooLarge => {
            format!("{name}: {path} is larger than {CONFIG_FILE_BYTES} bytes")
        }
        std::io::ErrorKind::InvalidData => format!("{name}: {path} is not UTF-8 text"),
        _ => format!("{name}: {path} cannot be read: {error}"),
    })
}

/// A warning about a file with secrets that everybody may read.
pub(super) fn mode_warning(path: &Path, mode: u32) -> Option<String> {
    let path = path.display();
    (mode & 0o004 != 0)
        .then(|| format!("{path} holds a secret and every user may read it (mode {mode:04o}); run: chmod 600 {path}"))
}

impl Values {
    /// A value's text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        self.get(id).map(|entry| entry.value.as_str())
    }

    /// A number, or what holds without it.
    pub(super) fn number(&self, id: Id, default: u32) -> u32 {
        self.text(id).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// A number of bytes, or what holds without it.
    pub(super) fn size(&self, id: Id, default: usize) -> usize {
        self.text(id).and_then(bytes).unwrap_or(default)
    }

    /// A path.
    pub(super) fn path(&self, id: Id) -> Option<PathBuf> {
        self.text(id).map(PathBuf::from)
    }

    /// A secret and where it is, read once to see that it can be. Warnings are added to `warnings`.
    pub(super) fn secret(
        &self,
        id: Id,
        files: &dyn Files,
        warnings: &mut Vec<String>,
    ) -> Result<Option<(Secret, SecretSource)>, ConfigError> {
        let Some(entry) = self.get(id) else {
            return Ok(None);
        };
        if !entry.is_file {
            let secret = Secret::from(entry.value.as_str());
            if entry.origin == Origin::Flag {
                let key = entry.setting.key;
                warnings.push(format!(
                    "{} shows its secret to every user of this box (ps); use {}-file or {key}_FILE",
                    entry.name, entry.name
                ));
            }
            return Ok(Some((secret.clone(), SecretSource::Value(secret))));
        }
        let path = PathBuf::from(entry.value.as_str());
        let (secret, warning) = read_secret(&entry.name, &path, files)?;
        warnings.extend(warning);
        Ok(Some((secret, SecretSource::File(path))))
    }
}
