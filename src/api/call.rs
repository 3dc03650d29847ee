//! The calls of the API that a gateway makes.

use std::fmt;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `path` says what each is.
pub enum Call {
    Enroll,
    Connect,
    Register,
    Heartbeat,
    Relays,
    UniversalAuth,
    OidcAuth,
    JwtAuth,
    KubernetesAuth,
    Renew,
}

impl Call {
    /// The path after `/api`.
    pub fn path(self) -> &'static str {
        match self {
            Call::Enroll => "/v3/gateways/token-auth/enroll",
            Call::Connect => "/v3/gateways/connect",
            Call::Register => "/v2/gateways",
            Call::Heartbeat => "/v2/gateways/heartbeat",
            Call::Relays => "/v1/relays",
            Call::UniversalAuth => "/v1/auth/universal-auth/login",
            Call::OidcAuth => "/v1/auth/oidc-auth/login",
            Call::JwtAuth => "/v1/auth/jwt-auth/login",
            Call::KubernetesAuth => "/v1/auth/kubernetes-auth/login",
            Call::Renew => "/v1/auth/token/renew",
        }
    }

    /// Whether it shows credentials to get a token.
    pub(super) fn is_login(self) -> bool {
        matches!(self, Call::UniversalAuth | Call::OidcAuth | Call::JwtAuth | Call::KubernetesAuth)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Enroll => "enrolling",
            Call::Connect => "fetching certificates",
            Call::Register => "registering the gateway",
            Call::Heartbeat => "heartbeat",
            Call::Relays => "listing relays",
            Call::UniversalAuth => "universal-auth login",
            Call::OidcAuth => "oidc-auth login",
            Call::JwtAuth => "jwt-auth login",
            Call::KubernetesAuth => "kubernetes login",
            Call::Renew => "renewing the token",
        })
    }
}
