//! `--help`.

use std::fmt::Write;

use super::table::{DEFAULT_FILE, TABLE};

const COMMANDS: &str = "  run         serve: keep a tunnel to a relay and connect the platform to targets
  enroll      exchange a one-time token for the gateway's own, and store it
  status      tell whether the gateway on this box is enrolled and how it fares
  doctor      check settings, state, names, platform and relay, one line each
  version     print the version
  start NAME  run, in the official gateway's words (also `gateway start NAME`)
";

/// The usage: commands, and each setting's flag, key and meaning.
pub fn help() -> String {
    let mut text = format!(
        "edge-gateway {}, an unofficial Infisical Gateway for small machines\n\nUsage: edge-gateway COMMAND [--flag=value ...]\n\n{COMMANDS}\n\
         A setting is a flag, a variable of the environment, or a KEY=value line of\n{DEFAULT_FILE}; the first of these counts.\n\
         Secrets are better read from a file: --token-file=PATH, INFISICAL_TOKEN_FILE=PATH.\n",
        env!("CARGO_PKG_VERSION")
    );
    for setting in &TABLE {
        let flag = setting.flags.first().map(|flag| format!("--{flag}, ")).unwrap_or_default();
        let file = if setting.is_secret() { "[_FILE]" } else { "" };
        let default = if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        // A String takes any write.
        let _ = write!(text, "\n  {flag}{}{file}\n      {}{default}\n", setting.key, setting.help);
    }
    text
}
