//! What the platform issues to a gateway: its identity, keys and certificates.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::PEM_BYTES;
use crate::secret::Secret;
use crate::syntax::{is_host, is_pem, is_ssh_line, is_uuid};

/// The certificate bundle of the API's `connect` and `register` calls.
///
/// One type for two formats: by its names in the API's JSON, by its order in the state file. Changing the order of
/// fields changes the state file's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The gateway's UUID: its SSH user name.
    pub gateway_id: String,
    /// The relay's name or address, without a port.
    pub relay_host: String,
    /// For the TLS inside a channel.
    pub pki: Pki,
    /// For the link to the relay.
    pub ssh: Ssh,
}

/// The gateway's TLS server identity, and whom it trusts as clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pki {
    /// The leaf, PEM.
    pub server_certificate: String,
    /// Its key, PKCS#8 PEM.
    pub server_private_key: Secret,
    /// The client CA, then the root, PEM.
    pub client_certificate_chain: String,
}

/// The gateway's SSH user identity, and whom it trusts as a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// The user certificate, one line.
    pub client_certificate: String,
    /// Its key, OpenSSH PEM.
    pub client_private_key: Secret,
    /// The CA of relays' host certificates, one public key line.
    #[serde(rename = "serverCAPublicKey")]
    pub server_ca_public_key: String,
}

/// A field that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadField {
    /// Its name in the API.
    pub field: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not {}", self.field, self.expected)
    }
}

impl Bundle {
    /// Checks the shape and size of every field. Keys and certificates are read by those who use them.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn check(&self) -> Result<(), BadField> {
        let pem = |text: &str, label| text.len() <= PEM_BYTES && is_pem(text, label);
        let line = |text: &str| text.len() <= PEM_BYTES && is_ssh_line(text);
        let key = self.pki.server_private_key.expose();
        let checks = [
            (is_uuid(&self.gateway_id), "gatewayId", "a UUID"),
            (is_host(&self.relay_host), "relayHost", "a host name or address"),
            (pem(&self.pki.server_certificate, "CERTIFICATE"), "pki.serverCertificate", "a PEM certificate"),
            // PKCS#8 today; the older forms of RSA and EC keys cost nothing here.
            (
                ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].iter().any(|label| pem(key, label)),
                "pki.serverPrivateKey",
                "a PEM private key",
            ),
            (pem(&self.pki.client_certificate_chain, "CERTIFICATE"), "pki.clientCertificateChain", "PEM certificates"),
            (line(&self.ssh.client_certificate), "ssh.clientCertificate", "an OpenSSH certificate line"),
            (
                pem(self.ssh.client_private_key.expose(), "OPENSSH PRIVATE KEY"),
                "ssh.clientPrivateKey",
                "an OpenSSH private key",
            ),
            (line(&self.ssh.server_ca_public_key), "ssh.serverCAPublicKey", "an OpenSSH public key line"),
        ];
        match checks.iter().find(|(fits, ..)| !fits) {
            Some((_, field, expected)) => Err(BadField { field, expected }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A bundle of the right shape, with texts where keys belong.
    pub(crate) fn sample() -> Bundle {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        Bundle {
            gateway_id: "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab".to_owned(),
            relay_host: "relay.example.com".to_owned(),
            pki: Pki {
                server_certificate: pem("CERTIFICATE"),
                server_private_key: Secret::new(pem("PRIVATE KEY")),
                client_certificate_chain: pem("CERTIFICATE").repeat(2),
            },
            ssh: Ssh {
                client_certificate: "ssh-rsa-cert-v01@openssh.com AAAAHHNzaC1yc2E= client-relay".to_owned(),
                client_private_key: Secret::new(pem("OPENSSH PRIVATE KEY")),
                server_ca_public_key: "ssh-rsa AAAAB3NzaC1yc2E=".to_owned(),
            },
        }
    }

    #[test]
    fn the_names_of_the_api() {
        let json = serde_json::to_value(sample()).unwrap();
        for pointer in [
            "/gatewayId",
            "/relayHost",
            "/pki/serverCertificate",
            "/pki/serverPrivateKey",
            "/pki/clientCertificateChain",
            "/ssh/clientCertificate",
            "/ssh/clientPrivateKey",
            "/ssh/serverCAPublicKey",
        ] {
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn each_bad_field_is_named() {
        assert_eq!(sample().check(), Ok(()));
        let bad = |change: fn(&mut Bundle)| {
            let mut bundle = sample();
            change(&mut bundle);
            bundle.check().unwrap_err().field
        };
        assert_eq!(bad(|b| b.gateway_id = "../..".into()), "gatewayId");
        assert_eq!(bad(|b| b.relay_host = "relay:2222".into()), "relayHost");
        assert_eq!(bad(|b| b.relay_host.clear()), "relayHost");
        assert_eq!(bad(|b| b.pki.server_certificate = "MIIB".into()), "pki.serverCertificate");
        assert_eq!(bad(|b| b.pki.server_certificate.insert_str(28, &"A".repeat(PEM_BYTES))), "pki.serverCertificate");
        assert_eq!(bad(|b| b.pki.server_private_key = Secret::from("")), "pki.serverPrivateKey");
        assert_eq!(bad(|b| b.pki.client_certificate_chain.push('\0')), "pki.clientCertificateChain");
        assert_eq!(bad(|b| b.ssh.client_certificate.push_str("\nssh-rsa AAAA")), "ssh.clientCertificate");
        assert_eq!(bad(|b| b.ssh.client_private_key = sample().pki.server_private_key), "ssh.clientPrivateKey");
        assert_eq!(bad(|b| b.ssh.server_ca_public_key = "ssh-rsa".into()), "ssh.serverCAPublicKey");
    }
}
