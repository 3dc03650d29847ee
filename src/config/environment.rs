//! The environment: settings, systemd's credentials, and where this user keeps state.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, hint_for_key, is_slip};
use super::file::find;
use super::files::Files;
use super::layer::{Entry, Origin};
use super::table::TABLE;
use super::value::unreadable;
use crate::escape::Escaped;

/// The environment, as far as it is text.
pub(super) struct Environment<'a> {
    variables: &'a [(OsString, OsString)],
}

impl<'a> Environment<'a> {
    pub(super) fn new(variables: &'a [(OsString, OsString)]) -> Self {
        Self { variables }
    }

    /// A variable that is set, is text, and is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.variables.iter().find(|(key, _)| key == name)?;
        value.to_str().filter(|value| !value.is_empty())
    }

    /// The settings among the variables. Unknown `EDGE_GATEWAY_*` are refused; `INFISICAL_*` belong to other programs
    /// too, so there only a slip of the pen is worth a warning.
    pub(super) fn entries(&self, warnings: &mut Vec<String>) -> Result<Vec<Entry>, ConfigError> {
        let mut entries = Vec::new();
        for (key, value) in self.variables {
            let Some(key) =
                key.to_str().filter(|key| key.starts_with("EDGE_GATEWAY_") || key.starts_with("INFISICAL_"))
            else {
                continue;
            };
            match find(key) {
                Some((setting, is_file)) => {
                    let value = value
                        .to_str()
                        .ok_or_else(|| ConfigError::config(format!("{key} (environment) is not UTF-8")))?;
                    entries.push(Entry::new(setting, key, is_file, value.to_owned(), Origin::Environment));
                }
                None if key.starts_with("EDGE_GATEWAY_") && !is_service_link(key) => {
                    return Err(ConfigError::config(format!(
                        "there is no setting {} (environment){}",
                        Escaped::new(key, 60),
                        hint_for_key(key)
                    )));
                }
                None if is_slip(key) => warnings.push(format!(
                    "{} (environment) is unknown and ignored{}",
                    Escaped::new(key, 60),
                    hint_for_key(key)
                )),
                None => {}
            }
        }
        Ok(entries)
    }

    /// Where the state is, unless configured: systemd's `StateDirectory=`, or by the user.
    pub(super) fn state_dir(&self, is_root: bool) -> Result<PathBuf, ConfigError> {
        let absolute = |name: &str| self.get(name).map(Path::new).filter(|path| path.is_absolute());
        // systemd joins several with colons; the first is the unit's main one.
        if let Some(directory) =
            self.get("STATE_DIRECTORY").and_then(|list| list.split(':').next()).filter(|path| path.starts_with('/'))
        {
            return Ok(PathBuf::from(directory));
        }
        if is_root {
            return Ok(PathBuf::from("/var/lib/edge-gateway"));
        }
        // XDG Base Directory Specification: relative paths are ignored.
        let state_home =
            absolute("XDG_STATE_HOME").map(Path::to_owned).or_else(|| Some(absolute("HOME")?.join(".local/state")));
        state_home.map(|home| home.join("edge-gateway")).ok_or_else(|| {
            ConfigError::config("EDGE_GATEWAY_STATE_DIR is missing, and neither XDG_STATE_HOME nor HOME says where this user keeps state; example: EDGE_GATEWAY_STATE_DIR=/data/edge-gateway")
        })
    }
}

/// What Kubernetes puts into each pod's environment for a Service that is called `edge-gateway`.
fn is_service_link(key: &str) -> bool {
    key.strip_prefix("EDGE_GATEWAY_")
        .is_some_and(|rest| rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_"))
}

/// Secrets that systemd passes: `$CREDENTIALS_DIRECTORY/infisical_token` for INFISICAL_TOKEN.
pub(super) fn credentials(environment: &Environment, files: &dyn Files) -> Result<Vec<Entry>, ConfigError> {
    let Some(directory) = environment.get("CREDENTIALS_DIRECTORY").map(Path::new).filter(|path| path.is_absolute())
    else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for setting in TABLE.iter().filter(|setting| setting.is_secret()) {
        let path = directory.join(setting.key.to_ascii_lowercase());
        match files.read(&path) {
            Ok(_) => entries.push(Entry::new(
                setting,
                setting.key,
                true,
                path.to_string_lossy().into_owned(),
                Origin::Credential,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(setting.key, &path, &error)),
        }
    }
    Ok(entries)
}
