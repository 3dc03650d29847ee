//! X.509 authorities and key pairs, and what is common to every certificate that one signs.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::keys::{self, KeyKind};
use super::validity::Validity;

const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];

/// A certificate that signs others, and its key.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Authority {
    /// A self-signed root with KeyUsage and a subject key identifier but without BasicConstraints, which is how the
    /// platform makes them.
    pub(crate) fn bare_root(key: KeyPair, subject: DistinguishedName, validity: Validity) -> Authority {
        let mut params = params(subject, validity);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.custom_extensions = vec![subject_key_identifier(&params, &key)];
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        Authority { params, key, certificate }
    }

    /// A self-signed root of the usual form.
    pub(crate) fn root(key: KeyPair, subject: DistinguishedName, validity: Validity) -> Authority {
        let mut params = params(subject, validity);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        Authority { params, key, certificate }
    }

    /// An authority below this one that can sign leaves only (path length 0).
    pub(crate) fn intermediate(&self, key: KeyPair, subject: DistinguishedName, validity: Validity) -> Authority {
        let mut params = params(subject, validity);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let certificate = self.sign(&params, &key);
        Authority { params, key, certificate }
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).expect("the parameters are complete")
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// Parameters of a certificate with a random serial number.
pub(crate) fn params(subject: DistinguishedName, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    // Positive and of full length, as RFC 5280 section 4.1.2.2 wants it.
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    params
}

/// A subject: the organization, if any, and the common name.
pub(crate) fn name(organization: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// A key pair; RSA ones are the process's key for this role.
pub(crate) fn key(kind: KeyKind, role: &str) -> KeyPair {
    let algorithm = match kind {
        KeyKind::Rsa2048 => {
            let der = PrivatePkcs8KeyDer::from(keys::rsa_pkcs8(role));
            return KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).expect("a 2048-bit key");
        }
        KeyKind::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        KeyKind::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
        KeyKind::Ed25519 => &PKCS_ED25519,
    };
    KeyPair::generate_for(algorithm).expect("ring makes these kinds")
}

/// rcgen writes this one only beside BasicConstraints.
fn subject_key_identifier(params: &CertificateParams, key: &impl PublicKeyData) -> CustomExtension {
    let identifier = params.key_identifier(key);
    let length = u8::try_from(identifier.len()).expect("a short digest");
    let octet_string = [&[0x04, length], identifier.as_slice()].concat();
    CustomExtension::from_oid_content(SUBJECT_KEY_IDENTIFIER, octet_string)
}
