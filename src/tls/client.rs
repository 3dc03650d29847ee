//! The agent as a TLS client of `https://` targets.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncRead;

use crate::chain::ChainVerifier;
use crate::pool::Lane;
use crate::room::Outlet;

use super::clock::Clock;
use super::der::Certificate;
use super::error::HandshakeError;
use super::handshake::Handshake;
use super::host::Host;
use super::stream::TlsStream;
use super::{identity, pem, provider};

/// Whose certificates a target may have.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The public CAs of Mozilla's list.
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
    /// What is wrong with the given certificates.
    pub fn new(trust: Trust<'_>, clock: &Clock) -> Result<Self, String> {
        let provider = provider::provider();
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Public => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
                ChainVerifier::new(roots, &provider)
            }
            Trust::Given(pem) => {
                let known = pem::certificates(pem)?;
                let chain = ChainVerifier::new(identity::anchors(pem)?, &provider);
                Arc::new(GivenVerifier { chain, known })
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

/// CAs given for one target. People also give the server's own self-signed certificate, which no
/// chain leads to; it is accepted for what it is, with its name and its time checked.
#[derive(Debug)]
struct GivenVerifier {
    chain: Arc<ChainVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for GivenVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.known.contains(end_entity) {
            return self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let validity =
            Certificate::parse(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if now.as_secs() < validity.not_before {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now.as_secs() > validity.not_after {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(&*self.chain, message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(&*self.chain, message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&*self.chain)
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
