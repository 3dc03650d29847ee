//! Certificate chains, of servers and of clients, checked up to the trust anchors.
//!
//! rustls's own verifiers do the same and bring a parser for revocation lists, which nobody hands to this agent: 20 KB of code.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

use crate::der::Certificate;

/// Believes the peers whose chain leads to one of its trust anchors (RFC 5280 section 6).
#[derive(Debug)]
pub struct ChainVerifier {
    anchors: Arc<RootCertStore>,
    /// Told to clients only.
    subjects: Vec<DistinguishedName>,
    known: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ChainVerifier {
    /// A verifier of servers with these trust anchors. Without any it believes nobody.
    ///
    /// A server's certificate in `known` is believed for what it is, with its name and its time checked: people also give a
    /// server's own self-signed certificate, often one that calls itself a CA, which no chain leads to.
    pub fn of_servers(
        anchors: Arc<RootCertStore>,
        known: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { anchors, subjects: Vec::new(), known, algorithms })
    }

    /// A verifier of clients with these trust anchors, which it tells them.
    pub fn of_clients(anchors: RootCertStore, provider: &CryptoProvider) -> Arc<Self> {
        let (subjects, algorithms) = (anchors.subjects(), provider.signature_verification_algorithms);
        Arc::new(Self { anchors: Arc::new(anchors), subjects, known: Vec::new(), algorithms })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let certificate =
            EndEntityCert::try_from(end_entity).map_err(|error| Error::InvalidCertificate(said(error)))?;
        certificate
            .verify_for_usage(self.algorithms.all, &self.anchors.roots, intermediates, now, usage, None, None)
            .map(drop)
            .map_err(|error| Error::InvalidCertificate(said(error)))
    }
}

fn valid_at(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let found = match Certificate::parse(certificate) {
        Err(_) => CertificateError::BadEncoding,
        Ok(validity) if now.as_secs() < validity.not_before => CertificateError::NotValidYet,
        Ok(validity) if now.as_secs() > validity.not_after => CertificateError::Expired,
        Ok(_) => return Ok(()),
    };
    Err(Error::InvalidCertificate(found))
}

/// What was found, in rustls's terms: from them it chooses the alert that the peer gets.
fn said(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        webpki::Error::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        webpki::Error::InvalidCertValidity => CertificateError::Expired,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.contains(end_entity) {
            valid_at(end_entity, now)?;
        } else {
            self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ChainVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
