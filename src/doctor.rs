//! `edge-gateway doctor`: one line for each thing that must work, in the order in which they depend on each other.

use crate::api::{Client, Options};
use crate::clock::{Clock, Source};
use crate::config::Config;
use crate::exit::Exit;
use crate::limits::supervisor::DIAL;
use crate::secret::Secret;
use crate::state;
use std::fmt::Display;
use std::net::{TcpStream, ToSocketAddrs};
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
    tell(
        "enrolment",
        match &record {
            Ok(Some(record)) => Ok(record.gateway_id.clone().unwrap_or_else(|| "no gateway id yet".to_owned())),
            Ok(None) => Ok("none yet".to_owned()),
            Err(error) => Err(error.clone()),
        },
    );
    let record = record.ok().flatten().unwrap_or_default();
    let clock = Arc::new(Clock::new(record.passing.last_good_time));
    tell(
        "clock",
        match clock.now().source {
            Source::System => Ok("plausible".to_owned()),
            _ => Err("in the past; set it, for example with ntpd".to_owned()),
        },
    );
    let token = record.access.as_ref().map_or_else(|| Secret::from("none"), |access| access.token.clone());
    tell("platform", platform(config, clock, &token));
    match &record.bundle {
        Some(bundle) => tell("relay", relay(&bundle.relay_host, config.relay_port)),
        None => tell("relay", Ok("not known before the first certificates".to_owned())),
    }
    exit
}

fn text(error: impl Display) -> String {
    error.to_string()
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

/// Any answer of the platform's shows that names, routes and TLS work; whether it likes the token comes on top.
fn platform(config: &Config, clock: Arc<Clock>, token: &Secret) -> Result<String, String> {
    let ca = match &config.ca_file {
        Some(path) => {
            Some(std::fs::read(path).map_err(|error| format!("EDGE_GATEWAY_CA_FILE {}: {error}", path.display()))?)
        }
        None => None,
    };
    let mut options = Options::new(config.domain.clone(), clock);
    options.extra_ca_pem = ca.as_deref();
    let client = Client::new(options)?;
    match client.relays(token) {
        Ok(relays) => Ok(format!("{} answers and knows {} relays", config.domain.as_str(), relays.len())),
        Err(error) if error.status().is_some_and(|status| status < 500) => {
            Ok(format!("{} answers ({error})", config.domain.as_str()))
        }
        Err(error) => Err(text(error)),
    }
}

fn relay(host: &str, port: u16) -> Result<String, String> {
    let failed = |error: &dyn Display| format!("{host}:{port}: {error}; outbound TCP to this port must be allowed");
    let addresses = (host, port).to_socket_addrs().map_err(|error| failed(&error))?;
    let mut last = failed(&"the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, DIAL) {
            Ok(_) => return Ok(format!("{host}:{port} accepts connections")),
            Err(error) => last = failed(&error),
        }
    }
    Err(last)
}
