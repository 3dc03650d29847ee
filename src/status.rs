//! `edge-gateway status`: what the state file and its lock tell, without asking anybody.

use crate::calendar::Utc;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::exit::Exit;
use crate::ssh::cert::UserCertificate;
use crate::state::{self, Record};
use std::fmt::Write;

/// The report, and [`Exit::Ok`] if an agent runs and is enrolled.
pub(crate) fn report(config: &Config) -> (String, Exit) {
    let running = state::is_in_use(&config.state_dir);
    let mut text = String::new();
    // A String takes any write, here and below.
    let _ = writeln!(text, "agent: {}", if running { "running" } else { "not running" });
    let _ = writeln!(text, "state: {}", config.state_dir.display());
    let enrolled = match state::peek(&config.state_dir) {
        Ok(Some(record)) => {
            describe(&record, &mut text);
            record.access.is_some() || record.bundle.is_some()
        }
        Ok(None) => {
            text.push_str("enrolled: no\n");
            false
        }
        Err(error) => {
            let _ = writeln!(text, "enrolled: unknown: {error}");
            false
        }
    };
    (text, if running && enrolled { Exit::Ok } else { Exit::Unavailable })
}

fn describe(record: &Record, text: &mut String) {
    let now = Clock::new(record.passing.last_good_time).unix();
    let lines = [
        ("platform", record.domain.clone()),
        ("gateway", record.gateway_id.clone()),
        ("relay", record.bundle.as_ref().map(|bundle| bundle.relay_host.clone())),
        ("relay name", record.relay.as_ref().map(|relay| relay.name.clone())),
        ("next best relay", record.runner_up.as_ref().map(|relay| relay.name.clone())),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    let valid_before = record
        .bundle
        .as_ref()
        .and_then(|bundle| UserCertificate::from_line(&bundle.ssh.client_certificate).ok())
        .and_then(|certificate| certificate.certificate().ok().map(|fields| fields.valid_before));
    match valid_before {
        Some(until) if until > now => {
            let _ = writeln!(text, "certificates: valid until {}", Utc(until));
        }
        Some(until) => {
            let _ = writeln!(text, "certificates: expired at {}", Utc(until));
        }
        None => text.push_str("certificates: none\n"),
    }
    if clock::system() < now {
        let _ = writeln!(text, "clock: behind, certificates are checked against {}", Utc(now));
    }
}
