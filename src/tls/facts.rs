//! What the platform says about a client, in three extensions of the client's certificate.
//!
//! The values are raw JSON, not DER. They are as trustworthy as the certificate: read them only after
//! the handshake has verified it. A missing or malformed one is no error until a handler asks for it.

use core::fmt;
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::host::Target;
use crate::der::{Certificate, Malformed};
use crate::limits::FACT_BYTES;

/// An extension of the platform: its name for people, and its OID as text and as DER contents.
struct Extension {
    name: &'static str,
    oid: &'static str,
    der: &'static [u8],
}

const ROUTING: Extension =
    Extension { name: "routing", oid: "1.3.6.1.4.1.12345.100.1", der: &[0x2b, 6, 1, 4, 1, 0xe0, 0x39, 100, 1] };
const ACTOR: Extension =
    Extension { name: "actor", oid: "1.3.6.1.4.1.12345.100.2", der: &[0x2b, 6, 1, 4, 1, 0xe0, 0x39, 100, 2] };
const PAM: Extension =
    Extension { name: "PAM", oid: "1.3.6.1.4.1.12345.100.3", der: &[0x2b, 6, 1, 4, 1, 0xe0, 0x39, 100, 3] };

/// The facts of one client.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    routing: Result<Target, FactError>,
    actor: Result<Actor, FactError>,
    pam: Result<PamSession, FactError>,
}

impl ClientFacts {
    /// Reads them from the client's certificate (DER).
    pub fn read(certificate: &[u8]) -> Self {
        let certificate = Certificate::parse(certificate);
        Self {
            routing: fact(&certificate, &ROUTING).and_then(|routing: Routing| {
                Target::new(&routing.target_host, routing.target_port)
                    .map_err(|why| FactError::malformed(&ROUTING, why))
            }),
            actor: fact(&certificate, &ACTOR),
            pam: fact(&certificate, &PAM),
        }
    }

    /// Where the client's bytes are to go.
    ///
    /// # Errors
    /// Names the extension that is missing or malformed.
    pub fn target(&self) -> Result<&Target, &FactError> {
        self.routing.as_ref()
    }

    /// Who the client acts for.
    ///
    /// # Errors
    /// Names the extension that is missing or malformed.
    pub fn actor(&self) -> Result<&Actor, &FactError> {
        self.actor.as_ref()
    }

    /// The privileged-access session that the client belongs to.
    ///
    /// # Errors
    /// Names the extension that is missing or malformed.
    pub fn pam(&self) -> Result<&PamSession, &FactError> {
        self.pam.as_ref()
    }

    /// Whether this is the platform itself, which may do more than its users. In doubt it is not.
    pub fn is_platform(&self) -> bool {
        self.actor.as_ref().is_ok_and(|actor| actor.kind == "platform")
    }
}

/// Why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactError {
    /// The certificate has no such extension.
    Missing {
        /// What the extension says.
        name: &'static str,
        /// Its identifier.
        oid: &'static str,
    },
    /// The extension is there, and is not what it should be.
    Malformed {
        /// What the extension says.
        name: &'static str,
        /// Its identifier.
        oid: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl FactError {
    fn malformed(extension: &Extension, why: impl Into<String>) -> Self {
        Self::Malformed { name: extension.name, oid: extension.oid, why: why.into() }
    }
}

impl fmt::Display for FactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, oid } => {
                write!(f, "the client certificate has no {name} extension ({oid})")
            }
            Self::Malformed { name, oid, why } => {
                write!(f, "the client certificate's {name} extension ({oid}) is malformed: {why}")
            }
        }
    }
}

impl std::error::Error for FactError {}

/// Who a client acts for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Actor {
    /// `platform`, `user`, or what later versions add.
    #[serde(rename = "type")]
    pub kind: String,
    /// The user's identifier.
    pub id: Option<String>,
    /// The user's name.
    pub name: Option<String>,
}

/// A privileged-access session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PamSession {
    /// The platform's identifier of the session.
    pub session_id: String,
    /// `postgres`, `ssh`, ...
    pub resource_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Routing {
    target_host: String,
    #[serde(deserialize_with = "port")]
    target_port: u16,
}

/// A port as a number, or as the digits of one.
fn port<'a, D: Deserializer<'a>>(deserializer: D) -> Result<u16, D::Error> {
    struct Port;
    impl Visitor<'_> for Port {
        type Value = u16;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a port")
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u16, E> {
            u16::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u16, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Port)
}

fn fact<T: for<'a> Deserialize<'a>>(
    certificate: &Result<Certificate<'_>, Malformed>,
    extension: &Extension,
) -> Result<T, FactError> {
    let value = certificate
        .as_ref()
        .map_err(|error| *error)
        .and_then(|certificate| certificate.extension(extension.der))
        .map_err(|error| FactError::malformed(extension, error.to_string()))?
        .ok_or(FactError::Missing { name: extension.name, oid: extension.oid })?;
    if value.len() > FACT_BYTES {
        return Err(FactError::malformed(extension, format!("over {FACT_BYTES} bytes")));
    }
    serde_json::from_slice(value).map_err(|error| FactError::malformed(extension, error.to_string()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn facts(extensions: &[(u64, &str)]) -> ClientFacts {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        for (arc, value) in extensions {
            params.custom_extensions.push(CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 12345, 100, *arc],
                value.as_bytes().to_vec(),
            ));
        }
        ClientFacts::read(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn all_three_are_read_and_unknown_fields_are_ignored() {
        let facts = facts(&[
            (1, r#"{"targetHost":"db.lan","targetPort":5432,"later":true}"#),
            (2, r#"{"type":"platform","id":"x"}"#),
            (3, r#"{"sessionId":"s","resourceType":"postgres"}"#),
        ]);
        assert_eq!(facts.target().expect("routing").to_string(), "db.lan:5432");
        assert!(facts.is_platform());
        assert_eq!(facts.pam().expect("PAM").session_id, "s");
    }

    #[test]
    fn a_port_may_be_written_as_text() {
        let facts = facts(&[(1, r#"{"targetHost":"db.lan","targetPort":"5432"}"#)]);
        assert_eq!(facts.target().expect("routing").to_string(), "db.lan:5432");
    }

    #[test]
    fn a_missing_extension_is_named() {
        let facts = facts(&[]);
        assert_eq!(
            facts.target().expect_err("nothing there").to_string(),
            "the client certificate has no routing extension (1.3.6.1.4.1.12345.100.1)"
        );
        assert!(!facts.is_platform());
    }

    #[test]
    fn malformed_routing_is_named_and_bounded() {
        let long = format!(r#"{{"targetHost":"{}","targetPort":1}}"#, "a".repeat(FACT_BYTES));
        for (value, why) in [
            ("{", "EOF"),
            (r#"{"targetHost":"a b","targetPort":1}"#, "not a host name"),
            (r#"{"targetHost":"","targetPort":1}"#, "not a host name"),
            (r#"{"targetHost":"a","targetPort":0}"#, "port 0"),
            (r#"{"targetHost":"a","targetPort":65536}"#, "a port"),
            (r#"{"targetHost":"a","targetPort":"65536"}"#, "a port"),
            (r#"{"targetHost":"a","targetPort":"0"}"#, "port 0"),
            (r#"{"targetHost":"a","targetPort":null}"#, "a port"),
            (r#"{"targetHost":"a"}"#, "targetPort"),
            (&long, "over 4096 bytes"),
        ] {
            let error = facts(&[(1, value)]).target().expect_err(value).to_string();
            assert!(error.contains("100.1) is malformed") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn only_a_plain_platform_actor_is_the_platform() {
        for actor in [r#"{"type":"user"}"#, r#"{"type":"Platform"}"#, "platform", r#"{"id":"platform"}"#] {
            assert!(!facts(&[(2, actor)]).is_platform(), "{actor}");
        }
    }
}
