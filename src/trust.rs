//! Whom a person told us to trust: CAs, and servers' own certificates.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::chain::ChainVerifier;
use crate::der::Certificate;

/// CAs, and certificates that were given themselves. People give a server's own self-signed certificate, often one that calls
/// itself a CA, which no chain leads to; it is accepted for what it is, with its name and its time checked.
#[derive(Debug)]
pub(crate) struct GivenVerifier {
    chain: Arc<ChainVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl GivenVerifier {
    /// Trusts what `chain` trusts, and the certificates in `known` themselves.
    pub(crate) fn new(chain: Arc<ChainVerifier>, known: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, known }
    }
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
