//! What survives a restart.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::secret::Secret;

/// The agent's memory. The order of fields is the file's format: a change needs a new [`super::VERSION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The platform that all of this belongs to. A token must not be shown to another one.
    pub domain: Option<String>,
    /// The name that the gateway was registered under, where it was a machine identity's doing.
    pub gateway_name: Option<String>,
    /// The gateway's UUID.
    pub gateway_id: Option<String>,
    /// The token for the next API call.
    pub access: Option<Access>,
    /// The one-time token that `access` was got with.
    pub enrolled_with: Option<Fingerprint>,
    /// Keys and certificates: with them the tunnel can be served before the API answers.
    pub bundle: Option<Bundle>,
    /// The relay in use.
    pub relay: Option<Relay>,
    /// The next best at the last choice, for `status`.
    pub runner_up: Option<Relay>,
    /// What is written along with the rest, but is no reason to write. Last, so that the rest is a prefix.
    pub passing: Passing,
}

/// A token and who it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whose it is: the gateway's, so far.
    pub kind: TokenKind,
    /// The token.
    pub token: Secret,
}

/// Whom a token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// The gateway itself: lasting.
    Gateway,
    /// A machine identity: for hours, renewed by logging in.
    Identity,
}

/// A relay as it was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its name.
    pub name: String,
    /// Its host name or address.
    pub host: String,
}

/// What changes all the time. Flash memory wears: these alone cause no write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passing {
    /// The latest time that the platform told, seconds since 1970.
    pub last_good_time: u64,
    /// Calls to the platform that failed in a row. Part of the format; nothing counts them yet.
    pub api_failures: u32,
    /// Connections to the relay that failed in a row. Part of the format; nothing counts them yet.
    pub relay_failures: u32,
}

/// SHA-256 of a one-time token: enough to know it again, useless to enrol with.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// Of a token.
    pub fn of(token: &Secret) -> Self {
        Self(sha256(token.expose().as_bytes()))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut sum = [0; SHA256_OUTPUT_LEN];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}
