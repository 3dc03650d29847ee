//! The certificates at the ends of a tunnel: the agent's and the platform client's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::authority::{self, Authority};
use super::keys::KeyKind;
use super::pki::PkiFactory;
use super::validity::Validity;

const DAY: Duration = Duration::from_secs(24 * 3600);
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

/// The extension that names the target, as raw JSON.
pub const ROUTING: &[u64] = &[1, 3, 6, 1, 4, 1, 12345, 100, 1];
/// The extension that says who the client is, as raw JSON.
pub const ACTOR: &[u64] = &[1, 3, 6, 1, 4, 1, 12345, 100, 2];
/// The extension of a privileged-access session, as raw JSON.
pub const PAM: &[u64] = &[1, 3, 6, 1, 4, 1, 12345, 100, 3];

const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];
/// `SEQUENCE { id-kp-serverAuth }`
const SERVER_AUTH: &[u8] = b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
/// `SEQUENCE { id-kp-clientAuth }`
const CLIENT_AUTH: &[u8] = b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
/// `SEQUENCE { SEQUENCE { anyPolicy } }`
const ANY_POLICY: &[u8] = b"\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00";

/// A certificate to be: the right shape, until a method makes it wrong.
pub struct LeafSpec {
    kind: KeyKind,
    role: &'static str,
    issuer: Arc<Authority>,
    subject: DistinguishedName,
    names: Vec<SanType>,
    usage: &'static [u8],
    validity: Validity,
    routing: Option<Vec<u8>>,
    actor: Option<Vec<u8>>,
    pam: Option<Vec<u8>>,
}

impl LeafSpec {
    pub(super) fn gateway(kind: KeyKind, issuer: Arc<Authority>, organization: &str) -> LeafSpec {
        LeafSpec {
            kind,
            role: "gateway leaf",
            issuer,
            subject: authority::name(Some(organization), "Gateway"),
            names: vec![
                SanType::DnsName("localhost".try_into().expect("ASCII")),
                SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ],
            usage: SERVER_AUTH,
            validity: Validity::lasting(DAY),
            routing: None,
            actor: None,
            pam: None,
        }
    }

    pub(super) fn client(kind: KeyKind, issuer: Arc<Authority>, organization: &str, gateway_id: &str) -> LeafSpec {
        let mut subject = authority::name(Some(organization), &format!("platform:{gateway_id}"));
        subject.push(DnType::OrganizationalUnitName, "gateway-client");
        LeafSpec {
            kind,
            role: "client leaf",
            issuer,
            subject,
            names: Vec::new(),
            usage: CLIENT_AUTH,
            validity: Validity::lasting(FIVE_MINUTES),
            routing: None,
            actor: None,
            pam: None,
        }
    }

    /// Good at other times.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Other bytes in the routing extension, JSON or not, of any length.
    pub fn routing(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.routing = Some(bytes.into());
        self
    }

    /// Without the routing extension.
    pub fn without_routing(mut self) -> Self {
        self.routing = None;
        self
    }

    /// Other bytes in the actor extension, JSON or not, of any length.
    pub fn actor(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.actor = Some(bytes.into());
        self
    }

    /// Without the actor extension.
    pub fn without_actor(mut self) -> Self {
        self.actor = None;
        self
    }

    /// With the privileged-access extension.
    pub fn pam(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.pam = Some(bytes.into());
        self
    }

    /// With another extended key usage: that of a server where a client's belongs, or the reverse.
    pub fn other_usage(mut self) -> Self {
        self.usage = if self.usage == CLIENT_AUTH { SERVER_AUTH } else { CLIENT_AUTH };
        self
    }

    /// Signed by a factory's client authority, whatever the certificate is for.
    pub fn signed_by_client_ca(mut self, factory: &PkiFactory) -> Self {
        self.issuer = factory.client_ca().clone();
        self
    }

    /// Signed by a factory's server authority, whatever the certificate is for.
    pub fn signed_by_server_ca(mut self, factory: &PkiFactory) -> Self {
        self.issuer = factory.server_ca().clone();
        self
    }

    /// Makes the certificate, and takes the subject's key pair for it.
    pub fn issue(self) -> PkiCredential {
        let key = authority::key(self.kind, self.role);
        let certificate = self.issuer.sign(&self.params(), &key);
        PkiCredential::new(&certificate, &key)
    }

    fn params(&self) -> CertificateParams {
        let mut params = authority::params(self.subject.clone(), self.validity);
        params.subject_alt_names = self.names.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        // rcgen's own extended key usage is never critical.
        let mut usage = CustomExtension::from_oid_content(EXTENDED_KEY_USAGE, self.usage.to_vec());
        usage.set_criticality(true);
        let policies = CustomExtension::from_oid_content(CERTIFICATE_POLICIES, ANY_POLICY.to_vec());
        params.custom_extensions = vec![usage, policies];
        for (oid, value) in [(ROUTING, &self.routing), (ACTOR, &self.actor), (PAM, &self.pam)] {
            if let Some(value) = value {
                params.custom_extensions.push(CustomExtension::from_oid_content(oid, value.clone()));
            }
        }
        params
    }
}

/// A private key and the certificate for it.
#[derive(Debug)]
pub struct PkiCredential {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: String,
    key: PrivatePkcs8KeyDer<'static>,
}

impl PkiCredential {
    pub(super) fn new(certificate: &Certificate, key: &KeyPair) -> PkiCredential {
        PkiCredential {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der().into(),
        }
    }

    /// The certificate alone, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key as PKCS#8 PEM.
    pub fn private_key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate alone, as DER.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The private key as PKCS#8 DER.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }
}
