//! The agent as a TLS server: its certificate and key, the client CAs, and what it serves.

use core::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, ServerConfig};

use crate::chain::ChainVerifier;

use super::clock::Clock;
use super::pem;
use crate::der::Certificate;
use crate::provider;

/// The `pki` part of the platform's certificate bundle.
#[derive(Clone, Copy)]
pub struct Bundle<'a> {
    /// `serverCertificate`, PEM. Only the first certificate is sent.
    pub certificate: &'a str,
    /// `serverPrivateKey`, PEM.
    pub private_key: &'a str,
    /// `clientCertificateChain`, PEM. Every certificate in it is a trust anchor.
    pub client_chain: &'a str,
}

impl fmt::Debug for Bundle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").finish_non_exhaustive()
    }
}

/// A bundle that was checked and is ready to serve.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    pub(super) config: Arc<ServerConfig>,
    not_before: u64,
    not_after: u64,
}

impl ServerIdentity {
    /// Checks a bundle. `protocols` are the ALPN names that are served, the preferred first.
    ///
    /// The trust anchors need not look like CA certificates: the platform's root has no
    /// BasicConstraints. Sessions are never resumed: a client is always the one whose certificate
    /// this connection has verified.
    ///
    /// # Errors
    /// Names the field of the bundle, and what is wrong with it.
    pub fn new<'a>(
        bundle: &Bundle<'_>,
        protocols: impl IntoIterator<Item = &'a str>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let provider = provider::provider();
        let leaf = pem::certificates(bundle.certificate.as_bytes())
            .map_err(|why| format!("serverCertificate: {why}"))?
            .swap_remove(0);
        let validity = Certificate::parse(&leaf).map_err(|error| format!("serverCertificate: {error}"))?;
        let (not_before, not_after) = (validity.not_before, validity.not_after);
        let now = clock.now();
        if now > not_after {
            return Err(format!("serverCertificate: expired {} s ago (the clock says {now})", now - not_after));
        }
        let key = pem::private_key(bundle.private_key.as_bytes()).map_err(|why| format!("serverPrivateKey: {why}"))?;
        let key = CertifiedKey::from_der(vec![leaf], key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => "serverPrivateKey: does not belong to serverCertificate".into(),
            other => format!("serverPrivateKey: {other}"),
        })?;
        let anchors =
            anchors(bundle.client_chain.as_bytes()).map_err(|why| format!("clientCertificateChain: {why}"))?;
        let mut config =
            server_config(provider, key, anchors, clock).map_err(|error| format!("clientCertificateChain: {error}"))?;
        config.alpn_protocols = protocols.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config), not_before, not_after })
    }

    /// From when the certificate is valid, seconds since 1970.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Until when the certificate is valid, seconds since 1970.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
}

/// Every certificate of a PEM text as a trust anchor.
pub(super) fn anchors(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut anchors = RootCertStore::empty();
    for (at, certificate) in pem::certificates(pem)?.into_iter().enumerate() {
        anchors.add(certificate).map_err(|error| format!("certificate {} can't be a trust anchor: {error}", at + 1))?;
    }
    Ok(anchors)
}

fn server_config(
    provider: Arc<CryptoProvider>,
    key: CertifiedKey,
    anchors: RootCertStore,
    clock: &Clock,
) -> Result<ServerConfig, String> {
    let clients = ChainVerifier::of_clients(anchors, &provider);
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_protocol_versions(provider::VERSIONS)
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(OneKey(Arc::new(key))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // Our record layer takes over after the handshake.
    config.enable_secret_extraction = true;
    // The order is ours because it is chosen for this CPU.
    config.ignore_client_order = true;
    Ok(config)
}

/// What rustls says when the resolver has no certificate for a client.
pub(super) const NOT_RESOLVED: &str = "no server certificate chain resolved";

/// One certificate for everybody who names a protocol. rustls lets clients pass that offer no ALPN
/// at all; here they are stopped before any signature is made for them.
#[derive(Debug)]
struct OneKey(Arc<CertifiedKey>);

impl ResolvesServerCert for OneKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.alpn()?.next()?;
        Some(self.0.clone())
    }
}
