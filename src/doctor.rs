//! `edge-gateway doctor`: one line for each thing that must work, in the order in which they depend on each other.

use crate::api::{Client, NextStep};
use crate::clock::{Clock, Source};
use crate::config::{Auth, Config, Identity};
use crate::exit::Exit;
use crate::limits::supervisor::DIAL;
use crate::relay::dial;
use crate::secret::Secret;
use crate::state::{self, Fingerprint, Record};
use std::sync::Arc;

/// Prints through `print`; [`Exit::Ok`] if everything works.
pub(crate) fn run(config: &Config, print: &mut dyn FnMut(&str)) -> Exit {
    let mut exit = Exit::Ok;
    let mut tell = |what: &str, result: Result<String, String>| {
        let (mark, text) = match &result {
            Ok(text) => ("ok", text),
            Err(text) => ("FAIL", text),
        };
        print(&format!("{mark:4} {what}: {text}\n"));
        if result.is_err() {
            exit = Exit::Unavailable;
        }
    };
    for given in &config.given {
        tell("setting", Ok(format!("{} = {} ({})", given.key, given.shown, given.origin)));
    }
    for warning in &config.warnings {
        tell("warning", Ok(warning.clone()));
    }
    let record = state::peek(&config.state_dir);
    tell("state folder", writable(config));
    tell("enrolment", enrolment(config, &record));
    let record = record.ok().flatten().unwrap_or_default();
    let clock = Arc::new(Clock::new(record.passing.last_good_time));
    tell(
        "clock",
        match clock.now().source {
            Source::System => Ok("plausible".to_owned()),
            _ => Err("in the past; set it, for example with ntpd".to_owned()),
        },
    );
    // A token, and what came with it, is for the platform that gave it alone.
    let record = if is_ours(config, &record) { record } else { Record::default() };
    let token = match &config.auth {
        Auth::Gateway(token) | Auth::Identity(Identity::Token(token)) => Some(token),
        // Another one than that which the stored token was got with is to be exchanged first.
        Auth::Enroll(token) if record.enrolled_with != Some(Fingerprint::of(token)) => None,
        Auth::Stored | Auth::Enroll(_) => record.access.as_ref().map(|access| &access.token),
        Auth::Identity(_) => None,
    };
    tell("platform", platform(config, clock, token));
    match &record.bundle {
        Some(bundle) => tell("relay", relay(config, &bundle.relay_host)),
        None => tell("relay", Ok("not known before the first certificates".to_owned())),
    }
    exit
}

fn is_ours(config: &Config, record: &Record) -> bool {
    record.domain.as_deref().is_none_or(|domain| domain == config.domain.as_str())
}

fn enrolment(config: &Config, record: &Result<Option<Record>, String>) -> Result<String, String> {
    match record {
        Ok(Some(record)) if !is_ours(config, record) => Err(format!(
            "it belongs to {}; correct INFISICAL_DOMAIN, or enrol at {}",
            record.domain.as_deref().unwrap_or_default(),
            config.domain.as_str()
        )),
        Ok(Some(record)) => Ok(record.gateway_id.clone().unwrap_or_else(|| "no gateway id yet".to_owned())),
        Ok(None) => Ok("none yet".to_owned()),
        Err(error) => Err(error.clone()),
    }
}

/// Whether a file can be made, in the way in which the state is saved.
fn writable(config: &Config) -> Result<String, String> {
    let folder = &config.state_dir;
    let shown = folder.display();
    let probe = folder.join("doctor.probe");
    std::fs::create_dir_all(folder).map_err(|error| format!("{shown}: {error}"))?;
    std::fs::write(&probe, b"probe").map_err(|error| format!("{shown}: {error}"))?;
    std::fs::remove_file(&probe).map_err(|error| format!("{}: {error}", probe.display()))?;
    Ok(format!("{shown} can be written"))
}

/// With a token, whether the platform takes it. Without one, a platform that asks for one is a platform: names, routes and TLS work.
fn platform(config: &Config, clock: Arc<Clock>, token: Option<&Secret>) -> Result<String, String> {
    let client = Client::of(config, clock).map_err(|(_, why)| why)?;
    let domain = config.domain.as_str();
    match client.relays(token.unwrap_or(&Secret::from("none"))) {
        Ok(relays) => Ok(format!("{domain} answers and knows {} relays", relays.len())),
        Err(error) if token.is_none() && matches!(error.status(), Some(401 | 403)) => {
            Ok(format!("{domain} answers; there is no token here to try"))
        }
        // Not every platform shows the list to gateways.
        Err(error) if error.status() == Some(403) || error.next() == NextStep::WrongDomain => {
            Ok(format!("{domain} answers, without a list of relays for this gateway"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn relay(config: &Config, host: &str) -> Result<String, String> {
    let port = config.relay_port;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let dialled = runtime.block_on(dial(config.relay_proxy.as_ref(), host, port, DIAL));
    // A name that still resolves must not hold up the end.
    runtime.shutdown_background();
    match dialled {
        Ok(_) => Ok(format!("{host}:{port} accepts connections")),
        Err(error) if config.relay_proxy.is_some() => {
            Err(format!("{host}:{port}: {error}; check EDGE_GATEWAY_RELAY_PROXY"))
        }
        Err(error) => Err(format!("{host}:{port}: {error}; outbound TCP to this port must be allowed")),
    }
}
