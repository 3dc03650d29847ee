//! What the certificates of a bundle become: the TLS side's identity and the SSH side's configuration.

use crate::budget::Budget;
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::config::Config;
use crate::ssh::auth::Credentials;
use crate::ssh::cert::{Authority, UserCertificate};
use crate::ssh::connection;
use crate::ssh::negotiate::Trust;
use crate::ssh::private_key::PrivateKey;
use crate::syntax::authority;
use crate::target;
use crate::tls::{self, ServerIdentity};
use std::fmt::Display;
use std::sync::Arc;

/// The port that the platform puts in the relay's certificate, whichever port leads to it.
const CERTIFIED_PORT: u16 = 2222;

/// Where a link leads, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The relay's host.
    pub(super) host: String,
    /// The gateway that logs in there.
    pub(super) gateway_id: String,
}

/// A bundle whose every part was read and fits together.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) tls: ServerIdentity,
    pub(super) ssh: connection::Config,
    pub(super) place: Place,
    /// The first time at which one of the certificates is no longer valid, in seconds since 1970.
    pub(super) until: u64,
}

impl Identity {
    /// # Errors
    /// Which field of the bundle cannot be used, and why.
    pub(super) fn new(
        bundle: &Bundle,
        config: &Config,
        budget: &Arc<Budget>,
        clock: &Arc<Clock>,
    ) -> Result<Self, String> {
        let named = |field: &'static str| move |error: &dyn Display| format!("{field}: {error}");
        let tls_clock = tls_clock(clock);
        let pki = tls::Bundle {
            certificate: &bundle.pki.server_certificate,
            private_key: bundle.pki.server_private_key.expose(),
            client_chain: &bundle.pki.client_certificate_chain,
        };
        let tls = ServerIdentity::new(&pki, target::protocols(), &tls_clock)?;

        let key = PrivateKey::from_pem(bundle.ssh.client_private_key.expose())
            .map_err(|error| named("clientPrivateKey")(&error))?;
        let certificate = UserCertificate::from_line(&bundle.ssh.client_certificate)
            .map_err(|error| named("clientCertificate")(&error))?;
        let ssh_until = certificate.certificate().map_err(|error| named("clientCertificate")(&error))?.valid_before;
        let now = clock.unix();
        if now >= ssh_until {
            return Err(format!("clientCertificate: expired {} s ago (the clock says {now})", now - ssh_until));
        }
        let credentials = Credentials::new(bundle.gateway_id.clone(), key, certificate)
            .map_err(|error| named("clientCertificate")(&error))?;
        let authority = Authority::from_line(&bundle.ssh.server_ca_public_key)
            .map_err(|error| named("serverCAPublicKey")(&error))?;
        let trust = Trust {
            authorities: vec![authority],
            names: relay_names(&bundle.relay_host, config.relay_port),
            pinned: None,
        };
        let mut ssh = connection::Config::new(trust, Arc::new(credentials));
        ssh.channels_max = config.max_tunnels;
        ssh.budget = budget.clone();
        let place = Place { host: bundle.relay_host.clone(), gateway_id: bundle.gateway_id.clone() };
        Ok(Identity { until: tls.not_after().min(ssh_until), tls, ssh, place })
    }
}

/// The principals that a relay's certificate may have: `host:port` and `host`.
fn relay_names(host: &str, port: u16) -> Vec<String> {
    let mut names = vec![authority(host, port), host.to_owned()];
    if port != CERTIFIED_PORT {
        names.push(authority(host, CERTIFIED_PORT));
    }
    if host.contains(':') {
        // The platform writes an IPv6 address without brackets.
        names.push(format!("{host}:{CERTIFIED_PORT}"));
    }
    names
}

/// The agent's clock as the TLS side asks for it.
pub(super) fn tls_clock(clock: &Arc<Clock>) -> tls::Clock {
    let clock = clock.clone();
    tls::Clock::new(move || clock.unix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_may_be_certified_with_the_standard_port_or_without_one() {
        assert_eq!(relay_names("relay", 2222), ["relay:2222", "relay"]);
        assert_eq!(relay_names("10.0.0.1", 4022), ["10.0.0.1:4022", "10.0.0.1", "10.0.0.1:2222"]);
        assert_eq!(relay_names("fd00::1", 2222), ["[fd00::1]:2222", "fd00::1", "fd00::1:2222"]);
    }
}
