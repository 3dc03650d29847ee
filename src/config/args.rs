//! The command line: one command, flags as `--flag=value` or `--flag value`, in any order.

use std::ffi::OsString;

use super::error::{ConfigError, hint_for_flag};
use super::layer::{Entry, Origin};
use super::table::{Id, Setting, TABLE, setting};
use crate::escape::Escaped;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve until told to stop.
    Run,
    /// Enrol, store the result, end.
    Enroll,
    /// Tell how the gateway on this box fares.
    Status,
    /// Check settings, state, name resolution, platform and relay one by one.
    Doctor,
}

/// What the command line asks for.
pub(super) enum Parsed {
    Help,
    Version,
    Work(Args),
}

pub(super) struct Args {
    pub(super) command: Command,
    /// `start NAME`, the official spelling: the official gateway's file of that name counts.
    pub(super) official: bool,
    pub(super) flags: Vec<Entry>,
}

const COMMANDS: [(&str, Command); 5] = [
    ("run", Command::Run),
    ("start", Command::Run),
    ("enroll", Command::Enroll),
    ("status", Command::Status),
    ("doctor", Command::Doctor),
];

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    let mut words = Vec::new();
    let mut flags = Vec::new();
    let mut print = None;
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let argument = text(argument)?;
        match argument.as_str() {
            "-h" | "--help" => print = Some(Parsed::Help),
            "-V" | "--version" => print = print.or(Some(Parsed::Version)),
            flag if flag.starts_with("--") => flags.push(read_flag(flag, || {
                let next = arguments.next_if(|next| !next.as_encoded_bytes().starts_with(b"--"))?;
                Some(text(next))
            })?),
            flag if flag.starts_with('-') => {
                return Err(unknown_flag(flag, flag.trim_start_matches('-')));
            }
            word => words.push(word.to_owned()),
        }
    }
    if let Some(print) = print {
        return Ok(print);
    }
    let mut words = words.into_iter().peekable();
    // The official gateway is one program of many: `infisical gateway start`.
    let _ = words.next_if_eq("gateway");
    let word = words.next().ok_or_else(|| {
        ConfigError::usage("a command is missing: run, enroll, status, doctor or version; see `edge-gateway --help`")
    })?;
    match word.as_str() {
        "version" => return Ok(Parsed::Version),
        "help" => return Ok(Parsed::Help),
        _ => {}
    }
    let Some((_, command)) = COMMANDS.iter().find(|(name, _)| *name == word) else {
        let word = Escaped::new(&word, 40);
        return Err(ConfigError::usage(format!(
            "there is no command {word}: use run, enroll, status, doctor or version; see `edge-gateway --help`"
        )));
    };
    let official = word == "start";
    if let Some(name) = words.next_if(|_| official) {
        flags.push(Entry::new(setting(Id::GatewayName), "start NAME", false, name, Origin::Flag));
    }
    if words.next().is_some() {
        // Not shown: it may be a token that lost its flag.
        return Err(ConfigError::usage(format!("`{word}` is followed by a word too many; settings are --flag=value")));
    }
    Ok(Parsed::Work(Args { command: *command, official, flags }))
}

fn read_flag(argument: &str, next: impl FnOnce() -> Option<Result<String, ConfigError>>) -> Result<Entry, ConfigError> {
    let (written, value) = match argument.split_once('=') {
        Some((written, value)) => (written, Some(value)),
        None => (argument, None),
    };
    let name = written.trim_start_matches('-');
    let (setting, is_file) = find(name).ok_or_else(|| unknown_flag(written, name))?;
    let value = match value {
        Some(value) => value.to_owned(),
        None => next().ok_or_else(|| {
            ConfigError::usage(format!("{written} needs a value; example: {written}={}", setting.example))
        })??,
    };
    Ok(Entry::new(setting, written, is_file, value, Origin::Flag))
}

/// The setting of a flag, and whether it is the `-file` form that every secret has.
fn find(name: &str) -> Option<(&'static Setting, bool)> {
    let by_flag = |name: &str| TABLE.iter().find(|setting| setting.flags.contains(&name));
    by_flag(name).map(|setting| (setting, false)).or_else(|| {
        let setting = by_flag(name.strip_suffix("-file")?)?;
        setting.is_secret().then_some((setting, true))
    })
}

fn unknown_flag(written: &str, name: &str) -> ConfigError {
    ConfigError::usage(format!("there is no flag {}{}", Escaped::new(written, 60), hint_for_flag(name)))
}

fn text(argument: OsString) -> Result<String, ConfigError> {
    argument.into_string().map_err(|_| ConfigError::usage("an argument is not UTF-8"))
}
