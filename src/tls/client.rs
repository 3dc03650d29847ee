//! The agent as a TLS client of `https://` targets.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncRead;

use crate::chain::ChainVerifier;
use crate::pool::Lane;
use crate::provider;
use crate::room::Outlet;
use crate::roots;

use super::clock::Clock;
use super::error::HandshakeError;
use super::handshake::Handshake;
use super::host::Host;
use super::stream::TlsStream;
use super::{identity, pem};

/// Whose certificates a target may have.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The public CAs ([`crate::roots`]).
    Public,
    /// The CAs in this PEM text, and certificates that are in it themselves.
    Given(&'a [u8]),
    /// Anybody's. The connection is encrypted, but to whom nobody knows.
    Anyone,
}

/// Connects to TLS servers.
#[derive(Clone, Debug)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// Prepares connections to servers that are trusted so.
    ///
    /// # Errors
    /// What is wrong with the given certificates, or with the system's where none are built in.
    pub fn new(trust: Trust<'_>, clock: &Clock) -> Result<Self, String> {
        let provider = provider::provider();
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Public => ChainVerifier::of_servers(roots::public()?, Vec::new(), &provider),
            Trust::Given(pem) => {
                let known = pem::certificates(pem)?;
                ChainVerifier::of_servers(Arc::new(identity::anchors(pem)?), known, &provider)
            }
            Trust::Anyone => Arc::new(NoVerifier(provider.clone())),
        };
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(provider::VERSIONS)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_secret_extraction = true;
        Ok(Self(Arc::new(config)))
    }

    /// Does the TLS handshake with a server of this name. It has no deadline of its own.
    ///
    /// # Errors
    /// Why the handshake failed.
    pub async fn connect<S: AsyncRead + Outlet + Unpin>(
        &self,
        io: S,
        host: &Host,
    ) -> Result<TlsStream<S>, HandshakeError> {
        let name = match host {
            Host::Ip(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))?,
        };
        let mut client = UnbufferedClientConnection::new(self.0.clone(), name)?;
        let mut handshake = Handshake::new(io, &[], Lane::Targets).await;
        if let Err(error) = handshake.run(&mut client).await {
            // The server may be gone already; what it did wrong is worth more than that.
            let _ = handshake.send_alert(&mut client).await;
            return Err(error);
        }
        handshake.into_stream(client)
    }
}

/// `verify=false`: any certificate will do, though the server must hold its key.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
