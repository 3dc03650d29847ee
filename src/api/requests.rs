//! The calls one by one: what each sends, and what it gives back.

use serde::Serialize;

use super::{AccessToken, Call, Client, Enrolment, Error, Relay};
use crate::bundle::Bundle;
use crate::secret::Secret;

/// The logins that take a token of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtMethod {
    /// `oidc-auth`.
    Oidc,
    /// `jwt-auth`.
    Jwt,
    /// `kubernetes`, with the pod's service account token.
    Kubernetes,
}

impl Client {
    /// Exchanges a one-time enrollment token. It is spent by success, and only by that.
    ///
    /// # Errors
    /// As all calls: see [`Error::next`].
    pub fn enroll(&self, enrollment_token: &Secret) -> Result<Enrolment, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            token: &'a Secret,
        }
        self.post(Call::Enroll, None, &Body { token: enrollment_token })
    }

    /// Fetches certificates with a gateway access token.
    ///
    /// # Errors
    /// As all calls.
    pub fn connect(&self, access_token: &Secret, relay_name: Option<&str>) -> Result<Bundle, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            relay_name: Option<&'a str>,
        }
        self.post(Call::Connect, Some(access_token), &Body { relay_name })
    }

    /// Registers a gateway by name and fetches its certificates, with a machine identity's token.
    ///
    /// # Errors
    /// As all calls.
    pub fn register(&self, identity_token: &Secret, name: &str, relay_name: Option<&str>) -> Result<Bundle, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            relay_name: Option<&'a str>,
            name: &'a str,
        }
        self.post(Call::Register, Some(identity_token), &Body { relay_name, name })
    }

    /// Tells the platform that the gateway lives. The platform dials back through the relay while this call runs, so
    /// tunnels must be served meanwhile.
    ///
    /// # Errors
    /// As all calls.
    pub fn heartbeat(&self, token: &Secret) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Nothing {}
        #[derive(Serialize)]
        struct Body {
            capabilities: Nothing,
        }
        self.post(Call::Heartbeat, Some(token), &Body { capabilities: Nothing {} })
    }

    /// The relays to choose from; those that are malformed are left out.
    ///
    /// # Errors
    /// As all calls.
    pub fn relays(&self, token: &Secret) -> Result<Vec<Relay>, Error> {
        self.send(Call::Relays, Some(token), None)
    }

    /// Logs a machine identity in with client id and secret.
    ///
    /// # Errors
    /// As all calls.
    pub fn universal_auth_login(&self, client_id: &str, client_secret: &Secret) -> Result<AccessToken, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            client_id: &'a str,
            client_secret: &'a Secret,
        }
        self.post(Call::UniversalAuth, None, &Body { client_id, client_secret })
    }

    /// Logs a machine identity in with a token of somebody whom the platform trusts.
    ///
    /// # Errors
    /// As all calls.
    pub fn jwt_login(&self, method: JwtMethod, identity_id: &str, jwt: &Secret) -> Result<AccessToken, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            identity_id: &'a str,
            jwt: &'a Secret,
        }
        let call = match method {
            JwtMethod::Oidc => Call::OidcAuth,
            JwtMethod::Jwt => Call::JwtAuth,
            JwtMethod::Kubernetes => Call::KubernetesAuth,
        };
        self.post(call, None, &Body { identity_id, jwt })
    }

    /// Prolongs a machine identity's token.
    ///
    /// # Errors
    /// As all calls.
    pub fn renew(&self, token: &Secret) -> Result<AccessToken, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            access_token: &'a Secret,
        }
        self.post(Call::Renew, None, &Body { access_token: token })
    }
}
