//! What the agent is told: flags, then the environment, then systemd credentials, then files of settings.
//!
//! Pure: arguments, environment and files come in, a [`Config`] or one line of refusal comes out.

mod args;
mod auth;
mod environment;
mod error;
mod file;
mod files;
mod help;
mod layer;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use args::Command;
pub use auth::{Auth, Identity};
pub use error::ConfigError;
pub use files::{Content, Files, OsFiles};
pub use help::help;
pub use layer::Origin;
pub use table::{Id, Kind, Setting, TABLE};
pub use value::SecretSource;

use crate::domain::Domain;
use crate::escape::Escaped;
use crate::limits::{MEMORY_DEFAULT, TUNNELS_DEFAULT};
use crate::logging;
use crate::proxy::Proxy;
use args::Parsed;
use environment::{Environment, credentials};
use layer::{Entry, Values};
use value::{check, mode_warning, unreadable};

/// What the configuration is made from.
pub struct Sources<'a> {
    /// The arguments after the program's name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the process runs as root: where state and the official gateway's files are depends on it.
    pub is_root: bool,
    /// Where files are read from.
    pub files: &'a dyn Files,
}

impl Sources<'static> {
    /// Those of this process.
    pub fn of_process() -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            arguments: std::env::args_os().skip(1).collect(),
            environment: std::env::vars_os().collect(),
            // The owner of /proc/self is the effective user. Without /proc nothing grants root's paths.
            is_root: std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0),
            files: &OsFiles,
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Print [`help`].
    Help,
    /// Print the version.
    Version,
    /// Work.
    Work(Box<Config>),
}

/// What to do, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What to do.
    pub command: Command,
    /// The platform.
    pub domain: Domain,
    /// Who the gateway is.
    pub auth: Auth,
    /// Its name, always there with [`Auth::Identity`].
    pub gateway_name: Option<String>,
    /// The id that the platform must know it by.
    pub gateway_id: Option<String>,
    /// The one relay to use.
    pub relay_name: Option<String>,
    /// The relay's SSH port.
    pub relay_port: u16,
    /// What leads to the relay, where there is no direct way.
    pub relay_proxy: Option<Proxy>,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// More root certificates for the platform.
    pub ca_file: Option<PathBuf>,
    /// Targets that may be reached, unparsed.
    pub allow: Option<String>,
    /// Targets that may not, unparsed.
    pub deny: Option<String>,
    /// Connections served at one time.
    pub max_tunnels: usize,
    /// Bytes for the buffers of all of them.
    pub memory: usize,
    /// The filter for [`logging::init`].
    pub log: String,
    /// How to print the log.
    pub log_style: logging::Style,
    /// How long `run` waits before it ends with a code that says that starting again does not help.
    pub exit_pause: Duration,
    /// What is legal but deserves a word, one line each. The caller logs them.
    pub warnings: Vec<String>,
    /// What was set, for `doctor`.
    pub given: Vec<Given>,
}

/// A setting that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The setting's name.
    pub key: &'static str,
    /// Its value, `***` for a secret.
    pub shown: String,
    /// Where it was set.
    pub origin: Origin,
}

impl Given {
    fn new(entry: &Entry) -> Self {
        let hidden = entry.setting.is_secret() && !entry.is_file;
        let shown = if hidden { "***".to_owned() } else { Escaped::new(&entry.value, 200).to_string() };
        Self { key: entry.setting.key, shown, origin: entry.origin.clone() }
    }
}

/// Reads all sources.
///
/// # Errors
/// One line that names the setting at fault, and the exit code that fits.
pub fn load(sources: Sources<'_>) -> Result<Request, ConfigError> {
    let args = match args::parse(sources.arguments)? {
        Parsed::Help => return Ok(Request::Help),
        Parsed::Version => return Ok(Request::Version),
        Parsed::Work(args) => args,
    };
    let files = sources.files;
    let environment = Environment::new(&sources.environment);
    let mut warnings = Vec::new();
    let mut values = Values::default();
    values.add(args.flags)?;
    values.add(environment.entries(&mut warnings)?)?;
    values.add(credentials(&environment, files)?)?;
    let name = values.get(Id::GatewayName).filter(|entry| args.official && check(entry).is_ok());
    let name = name.map(|entry| entry.value.as_str());
    for (path, must_exist) in setting_files(&values, name, &environment, sources.is_root) {
        if let Some(entries) = read_settings(&path, must_exist, files, &mut warnings)? {
            values.add(entries)?;
        }
    }
    values.iter().try_for_each(check)?;
    let auth = auth::choose(args.command, &values, files, &mut warnings)?;
    let state_dir = match values.path(Id::StateDir) {
        Some(path) => path,
        None => environment.state_dir(sources.is_root)?,
    };
    let domain = Domain::parse(values.text(Id::Domain).unwrap_or(Domain::DEFAULT))
        .map_err(|problem| ConfigError::config(format!("INFISICAL_DOMAIN {problem}")))?;
    if !domain.is_https() {
        warnings.push(format!("{domain} is not https: tokens and keys travel unencrypted"));
    }
    let text = |id| values.text(id).map(str::to_owned);
    Ok(Request::Work(Box::new(Config {
        command: args.command,
        domain,
        auth,
        gateway_name: text(Id::GatewayName),
        gateway_id: text(Id::GatewayId),
        relay_name: text(Id::RelayName),
        relay_port: u16::try_from(values.number(Id::RelayPort, 2222)).unwrap_or(2222),
        relay_proxy: values.text(Id::RelayProxy).and_then(|text| Proxy::parse(text).ok()),
        state_dir,
        ca_file: values.path(Id::CaFile),
        allow: text(Id::Allow),
        deny: text(Id::Deny),
        max_tunnels: values.number(Id::MaxTunnels, TUNNELS_DEFAULT) as usize,
        memory: values.size(Id::Memory, MEMORY_DEFAULT),
        log: text(Id::Log).unwrap_or_else(|| "info".to_owned()),
        log_style: match values.text(Id::LogStyle) {
            Some("plain") => logging::Style::Plain,
            Some("time") => logging::Style::Time,
            Some("syslog") => logging::Style::Syslog,
            _ => logging::Style::detect(environment.get("JOURNAL_STREAM")),
        },
        exit_pause: Duration::from_secs(values.number(Id::ExitPause, 0).into()),
        given: values.iter().map(Given::new).collect(),
        warnings,
    })))
}

/// The files of settings, the weightiest first, and whether each must exist.
fn setting_files(
    values: &Values,
    official_name: Option<&str>,
    environment: &Environment,
    is_root: bool,
) -> Vec<(PathBuf, bool)> {
    if let Some(path) = values.path(Id::ConfigFile) {
        return vec![(path, true)];
    }
    let mut paths = Vec::new();
    if let Some(name) = official_name {
        let folder = if is_root {
            Some(PathBuf::from("/etc/infisical/gateways"))
        } else {
            environment.get("HOME").map(|home| Path::new(home).join(".infisical/gateways"))
        };
        paths.extend(folder.map(|folder| (folder.join(format!("{name}.conf")), false)));
    }
    paths.push((PathBuf::from(table::DEFAULT_FILE), false));
    paths
}

fn read_settings(
    path: &Path,
    must_exist: bool,
    files: &dyn Files,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<Entry>>, ConfigError> {
    let content = match files.read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable("settings", path, &error)),
    };
    let entries = file::parse(path, &content.text)?;
    if entries.iter().any(|entry| entry.setting.is_secret() && !entry.is_file) {
        warnings.extend(mode_warning(path, content.mode));
    }
    Ok(Some(entries))
}
