//! The calls that a gateway makes.

/// A call of the platform's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v3/gateways/token-auth/enroll`
    Enroll,
    /// `POST /v3/gateways/connect`
    Connect,
    /// `POST /v2/gateways`
    Register,
    /// `POST /v2/gateways/heartbeat`
    Heartbeat,
    /// `GET /v1/relays`
    Relays,
    /// `POST /v3/gateways/login`
    AwsLogin,
    /// `POST /v1/auth/universal-auth/login`
    UniversalLogin,
    /// `POST /v1/auth/oidc-auth/login`
    OidcLogin,
    /// `POST /v1/auth/jwt-auth/login`
    JwtLogin,
    /// `POST /v1/auth/kubernetes-auth/login`
    KubernetesLogin,
    /// `POST /v1/auth/token/renew`
    Renew,
}

impl Endpoint {
    /// Every one.
    pub const ALL: [Endpoint; 11] = [
        Endpoint::Enroll,
        Endpoint::Connect,
        Endpoint::Register,
        Endpoint::Heartbeat,
        Endpoint::Relays,
        Endpoint::AwsLogin,
        Endpoint::UniversalLogin,
        Endpoint::OidcLogin,
        Endpoint::JwtLogin,
        Endpoint::KubernetesLogin,
        Endpoint::Renew,
    ];

    /// Its path, with `/api` in front.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Enroll => "/api/v3/gateways/token-auth/enroll",
            Endpoint::Connect => "/api/v3/gateways/connect",
            Endpoint::Register => "/api/v2/gateways",
            Endpoint::Heartbeat => "/api/v2/gateways/heartbeat",
            Endpoint::Relays => "/api/v1/relays",
            Endpoint::AwsLogin => "/api/v3/gateways/login",
            Endpoint::UniversalLogin => "/api/v1/auth/universal-auth/login",
            Endpoint::OidcLogin => "/api/v1/auth/oidc-auth/login",
            Endpoint::JwtLogin => "/api/v1/auth/jwt-auth/login",
            Endpoint::KubernetesLogin => "/api/v1/auth/kubernetes-auth/login",
            Endpoint::Renew => "/api/v1/auth/token/renew",
        }
    }

    /// Its method.
    pub fn method(self) -> &'static str {
        match self {
            Endpoint::Relays => "GET",
            _ => "POST",
        }
    }

    /// The one that a request line means.
    pub(super) fn of(method: &str, path: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.method() == method && endpoint.path() == path)
    }
}
