//! PEM to DER, with errors that say what was in the way.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::TRUST_ANCHORS;

/// The certificates in a PEM text, one at least and [`TRUST_ANCHORS`] at most.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        found.push(certificate.map_err(|error| format!("not PEM: {error}"))?);
        if found.len() > TRUST_ANCHORS {
            return Err(format!("over {TRUST_ANCHORS} certificates"));
        }
    }
    if found.is_empty() { Err("no PEM certificate in it".into()) } else { Ok(found) }
}

/// The first private key in a PEM text: PKCS#8, or the older PKCS#1 and SEC1.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "no PEM private key in it".into())
}
