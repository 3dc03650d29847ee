//! What the platform knows: relays, gateways, tokens and identities.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fault::Response;
use crate::relay::Relay;

/// A relay as the platform lists it.
#[derive(Clone)]
pub struct RelayEntry {
    /// Its name, which a gateway may ask for.
    pub name: String,
    /// Host name or address, without a port.
    pub host: String,
    /// Whether it belongs to the organization, and not to the instance.
    pub of_organization: bool,
    /// Time since the platform last heard of it; `None` for never.
    pub heartbeat_age: Option<Duration>,
    /// The relay itself, for the platform to dial back through; `None` when there is nothing behind the entry.
    pub relay: Option<Relay>,
}

/// A machine identity and how it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Universal auth.
    Universal {
        /// `clientId`
        client_id: String,
        /// `clientSecret`
        client_secret: String,
    },
    /// OIDC, JWT or Kubernetes auth, which look the same from outside.
    Jwt {
        /// `identityId`
        identity_id: String,
        /// The one token that is accepted.
        jwt: String,
    },
}

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// This gateway.
    Gateway(String),
    /// A machine identity, and the gateway that it registered.
    Identity(Option<String>),
}

#[derive(Debug)]
struct Access {
    owner: Owner,
    expires: Instant,
}

#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub(super) id: String,
    pub(super) name: String,
    /// The relay that its last certificate bundle was for.
    pub(super) relay: Option<String>,
}

pub(super) struct Platform {
    pub(super) relays: Vec<RelayEntry>,
    gateways: Vec<Gateway>,
    /// Unused enrollment tokens and the gateways they are for.
    enrollments: HashMap<String, String>,
    access: HashMap<String, Access>,
    identities: Vec<Identity>,
    /// How long access tokens are good.
    pub(super) token_ttl: Duration,
}

impl Platform {
    pub(super) fn new() -> Platform {
        Platform {
            relays: Vec::new(),
            gateways: Vec::new(),
            enrollments: HashMap::new(),
            access: HashMap::new(),
            identities: Vec::new(),
            token_ttl: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// Makes a gateway with this name, or finds it.
    pub(super) fn gateway_named(&mut self, name: &str) -> String {
        if let Some(gateway) = self.gateways.iter().find(|gateway| gateway.name == name) {
            return gateway.id.clone();
        }
        let id = uuid();
        self.gateways.push(Gateway { id: id.clone(), name: name.to_owned(), relay: None });
        id
    }

    pub(super) fn gateway(&mut self, id: &str) -> Result<&mut Gateway, Response> {
        let found = self.gateways.iter_mut().find(|gateway| gateway.id == id);
        found.ok_or_else(|| Response::error(404, &format!("Gateway with ID '{id}' not found")))
    }

    /// A one-time token for a gateway.
    pub(super) fn enrollment_token(&mut self, gateway_id: &str) -> String {
        let token = secret("gwe");
        self.enrollments.insert(token.clone(), gateway_id.to_owned());
        token
    }

    /// Takes an enrollment token, which is then used up.
    pub(super) fn enroll(&mut self, token: &str) -> Result<String, Response> {
        let used = || Response::error(401, "Enrollment token is invalid, expired or already used");
        self.enrollments.remove(token).ok_or_else(used)
    }

    pub(super) fn add_identity(&mut self, identity: Identity) {
        self.identities.push(identity);
    }

    /// Gives an access token to a known identity.
    pub(super) fn log_in(&mut self, identity: &Identity) -> Result<Value, Response> {
        if !self.identities.contains(identity) {
            return Err(Response::error(401, "Invalid credentials"));
        }
        let token = self.grant(Owner::Identity(None));
        Ok(self.token_answer(&token))
    }

    pub(super) fn grant(&mut self, owner: Owner) -> String {
        let token = secret("gat");
        self.access.insert(token.clone(), Access { owner, expires: Instant::now() + self.token_ttl });
        token
    }

    /// Prolongs an access token.
    pub(super) fn renew(&mut self, token: &str) -> Result<Value, Response> {
        let expires = Instant::now() + self.token_ttl;
        self.access_mut(token)?.expires = expires;
        Ok(self.token_answer(token))
    }

    pub(super) fn token_answer(&self, token: &str) -> Value {
        let seconds = self.token_ttl.as_secs();
        json!({"accessToken": token, "expiresIn": seconds, "accessTokenMaxTTL": seconds * 10, "tokenType": "Bearer"})
    }

    /// Makes every access token worthless.
    pub(super) fn revoke_all(&mut self) {
        self.access.clear();
    }

    /// Whose access token this is.
    pub(super) fn owner(&mut self, token: &str) -> Result<&mut Owner, Response> {
        self.access_mut(token).map(|access| &mut access.owner)
    }

    fn access_mut(&mut self, token: &str) -> Result<&mut Access, Response> {
        match self.access.get_mut(token) {
            Some(access) if access.expires > Instant::now() => Ok(access),
            Some(_) => Err(Response::error(401, "Token has expired")),
            None => Err(Response::error(401, "Token is not valid")),
        }
    }

    /// The relay with this name, or the first one without a name.
    pub(super) fn relay(&self, name: Option<&str>) -> Result<RelayEntry, Response> {
        let found = match name {
            Some(name) => self.relays.iter().find(|relay| relay.name == name),
            None => self.relays.first(),
        };
        let missing = || format!("Relay with name '{}' not found", name.unwrap_or_default());
        found.cloned().ok_or_else(|| Response::error(404, &missing()))
    }

    pub(super) fn relay_list(&self) -> Value {
        let entry = |relay: &RelayEntry| {
            json!({
                "id": uuid(),
                "name": relay.name,
                "host": relay.host,
                "orgId": relay.of_organization.then(uuid),
                "heartbeat": relay.heartbeat_age.map(|age| rfc3339(SystemTime::now() - age)),
                "createdAt": rfc3339(SystemTime::now()),
            })
        };
        self.relays.iter().map(entry).collect()
    }
}

/// A time as JavaScript writes it: UTC with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let time = time.replace_millisecond(time.millisecond()).expect("a millisecond of the same time");
    time.format(&Rfc3339).expect("a year of four digits")
}

/// A random identifier in UUID form (version 4).
fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A random secret that is easy to find in a log.
fn secret(prefix: &str) -> String {
    format!("{prefix}_{}", hex(&rand::random::<[u8; 24]>()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
