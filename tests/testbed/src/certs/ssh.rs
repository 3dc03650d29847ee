//! The two SSH certificate authorities of an organization and what they issue.

use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Certificate, PrivateKey, PublicKey};

use super::keys::{self, KeyKind};
use super::ssh_wire::{self, CaSignature, CertType, Fields};
use super::validity::Validity;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Makes host and user certificates.
///
/// Factories of one kind made with [`SshFactory::new`] share their RSA keys; [`SshFactory::stranger`] shares none.
pub struct SshFactory {
    kind: KeyKind,
    host_ca: PrivateKey,
    user_ca: PrivateKey,
}

impl SshFactory {
    /// Authorities and subjects with RSA-2048 keys, as the platform has them.
    pub fn new() -> SshFactory {
        SshFactory::with_kind(KeyKind::Rsa2048)
    }

    /// Authorities and subjects with keys of another kind.
    pub fn with_kind(kind: KeyKind) -> SshFactory {
        SshFactory { kind, host_ca: keys::ssh(kind, "ssh host ca"), user_ca: keys::ssh(kind, "ssh user ca") }
    }

    /// RSA authorities that nobody trusts.
    pub fn stranger() -> SshFactory {
        let kind = KeyKind::Rsa2048;
        SshFactory { kind, host_ca: keys::ssh(kind, "stranger host ca"), user_ca: keys::ssh(kind, "stranger user ca") }
    }

    /// The public key line of the authority that signs relays: `serverCAPublicKey` of the certificate bundle.
    pub fn host_ca_line(&self) -> String {
        public_line(self.host_ca.public_key())
    }

    /// The authority that signs gateways, which the relay trusts.
    pub fn user_ca(&self) -> &PublicKey {
        self.user_ca.public_key()
    }

    /// The relay's certificate: key id `relay-server`, one principal `host:port`, 30 days.
    pub fn host(&self, principal: &str) -> CertSpec {
        CertSpec::new(self, CertType::Host, "relay-server", &[principal], 30 * DAY)
    }

    /// A gateway's certificate: key id `client-<relay name>`, principals gateway id and name, 1 day.
    pub fn user(&self, relay_name: &str, gateway_id: &str, gateway_name: &str) -> CertSpec {
        CertSpec::new(self, CertType::User, &format!("client-{relay_name}"), &[gateway_id, gateway_name], DAY)
            .extension("permit-port-forwarding")
    }

    fn ca(&self, cert_type: CertType) -> &PrivateKey {
        match cert_type {
            CertType::Host => &self.host_ca,
            CertType::User => &self.user_ca,
        }
    }
}

impl Default for SshFactory {
    fn default() -> SshFactory {
        SshFactory::new()
    }
}

/// A certificate to be: the right shape, until a method makes it wrong.
pub struct CertSpec {
    kind: KeyKind,
    role: &'static str,
    /// The factory's authority for the first type, whatever `cert_type` says later.
    signer: PrivateKey,
    signature: CaSignature,
    cert_type: CertType,
    key_id: String,
    principals: Vec<String>,
    validity: Validity,
    critical_options: Vec<(String, String)>,
    extensions: Vec<(String, String)>,
}

impl CertSpec {
    fn new(factory: &SshFactory, cert_type: CertType, key_id: &str, principals: &[&str], time: Duration) -> Self {
        CertSpec {
            kind: factory.kind,
            role: match cert_type {
                CertType::Host => "ssh host",
                CertType::User => "ssh user",
            },
            signer: factory.ca(cert_type).clone(),
            signature: CaSignature::Sha512,
            cert_type,
            key_id: key_id.to_owned(),
            principals: principals.iter().map(|&p| p.to_owned()).collect(),
            validity: Validity::lasting(time),
            critical_options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Good at other times.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// For other principals; none at all means every principal (OpenSSH `PROTOCOL.certkeys`).
    pub fn principals(mut self, principals: &[&str]) -> Self {
        self.principals = principals.iter().map(|&p| p.to_owned()).collect();
        self
    }

    /// A user certificate where a host certificate belongs, or the reverse; still signed by the same authority.
    pub fn cert_type(mut self, cert_type: CertType) -> Self {
        self.cert_type = cert_type;
        self
    }

    /// With a critical option, which a peer that doesn't know it must refuse.
    pub fn critical_option(mut self, name: &str, data: &str) -> Self {
        self.critical_options.push((name.to_owned(), data.to_owned()));
        self
    }

    /// With an extension, which a peer that doesn't know it ignores.
    pub fn extension(mut self, name: &str) -> Self {
        self.extensions.push((name.to_owned(), String::new()));
        self
    }

    /// Signed by another factory's authority for the same type.
    pub fn signed_by(mut self, other: &SshFactory) -> Self {
        self.signer = other.ca(self.cert_type).clone();
        self
    }

    /// Signed as `rsa-sha2-256`, which is allowed; RSA authorities only.
    pub fn signed_with_sha256(mut self) -> Self {
        self.signature = CaSignature::Sha256;
        self
    }

    /// Signed as `ssh-rsa`, with SHA-1; RSA authorities only.
    pub fn signed_with_sha1(mut self) -> Self {
        self.signature = CaSignature::Sha1;
        self
    }

    /// Signed by the right authority, over other bytes.
    pub fn corrupt_signature(mut self) -> Self {
        self.signature = CaSignature::Corrupt;
        self
    }

    /// Makes the certificate, and takes the subject's key pair for it.
    pub fn issue(self) -> SshCredential {
        let key = keys::ssh(self.kind, self.role);
        let (valid_after, valid_before) = self.validity.unix_seconds();
        let fields = Fields {
            serial: rand::random(),
            cert_type: self.cert_type,
            key_id: &self.key_id,
            principals: &self.principals,
            valid_after,
            valid_before,
            critical_options: &self.critical_options,
            extensions: &self.extensions,
        };
        let line = ssh_wire::line(key.public_key(), &fields, &self.signer, self.signature);
        SshCredential { key, line }
    }
}

/// A private key and the certificate for it.
#[derive(Clone)]
pub struct SshCredential {
    key: PrivateKey,
    line: String,
}

impl SshCredential {
    /// The private key as OpenSSH PEM text, unencrypted: `clientPrivateKey` of the certificate bundle.
    pub fn private_key_pem(&self) -> String {
        self.key.to_openssh(LineEnding::LF).expect("a key that was generated").to_string()
    }

    /// The certificate as one `authorized_keys`-style line: `clientCertificate` of the certificate bundle.
    pub fn certificate_line(&self) -> &str {
        &self.line
    }

    /// The public key without a certificate, as one line.
    pub fn public_key_line(&self) -> String {
        public_line(self.key.public_key())
    }

    /// The key pair.
    pub fn private_key(&self) -> &PrivateKey {
        &self.key
    }

    /// The certificate, parsed.
    pub fn certificate(&self) -> Certificate {
        Certificate::from_openssh(&self.line).expect("the factory writes what ssh-key reads")
    }
}

fn public_line(key: &PublicKey) -> String {
    key.to_openssh().expect("a key that was generated")
}
