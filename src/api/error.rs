//! What can go wrong with a call, and what to do then.

use std::fmt;
use std::time::Duration;

use super::Call;
use super::resolve::LookupFailed;
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::limits::{API_BODY_BYTES, API_MESSAGE_CHARS};

/// A call that failed. `Display` is one line: the call, the host, what happened, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which call.
    pub call: Call,
    /// The platform's host.
    pub host: String,
    /// What happened.
    pub fault: Fault,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The platform refused, in its own words.
    Status {
        /// The HTTP status, 400 to 599.
        status: u16,
        /// Its `message`, escaped and cut.
        message: String,
        /// How long it wants to be left alone, at most [`crate::limits::API_RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
        /// There is no such route: another program, or a platform of another age.
        no_route: bool,
    },
    /// A redirect, a web page or no HTTP at all, escaped and cut: not the platform's API.
    NotTheApi(String),
    /// The answer is the platform's and cannot be used.
    BadAnswer(String),
    /// The answer is longer than [`API_BODY_BYTES`].
    TooLarge,
    /// The host's name could not be resolved.
    Dns(String),
    /// The connection was refused.
    Refused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The answer did not come in time.
    Timeout,
    /// The certificate is not trusted.
    Untrusted(String),
    /// The certificate is not valid at the time that the agent's clock shows.
    Expired(String),
    /// TLS failed otherwise.
    Tls(String),
    /// The proxy refused, or cannot be reached.
    Proxy(String),
    /// The network failed otherwise.
    Network(String),
}

/// What to do after a failed call. `Display` is half a sentence for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// The gateway's token is no longer good: enrol with a new one.
    ReEnroll,
    /// The access token is not accepted: log in again, and if that does not help, look at the identity.
    FixToken,
    /// The machine identity's credentials are wrong.
    FixCredentials,
    /// The credentials are good, the permission is missing.
    CheckPermission,
    /// The gateway, relay or identity does not exist.
    NotFound,
    /// Wrong domain, or a platform without this call: it may be brought up to date.
    WrongDomain,
    /// An answer that makes no sense: as before, but it may come from something that passes, an update of the platform for one.
    Unusable,
    /// The name is taken.
    Conflict,
    /// The platform finds the request wrong.
    FixConfig,
    /// Wait this long.
    RetryAfter(Duration),
    /// Try again, with growing pauses.
    RetryLater,
    /// Give the agent the platform's root certificate.
    TlsTrust,
    /// Set the clock.
    Clock,
    /// Something between here and the platform answers in its place.
    CaptivePortal,
    /// Name resolution.
    Dns,
    /// Nothing listens there.
    Refused,
    /// The proxy's settings.
    Proxy,
}

impl NextStep {
    /// Whether only a person can mend it. Everything else may pass by itself.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            NextStep::ReEnroll
                | NextStep::FixToken
                | NextStep::FixCredentials
                | NextStep::CheckPermission
                | NextStep::NotFound
                | NextStep::Conflict
                | NextStep::FixConfig
        )
    }
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NextStep::ReEnroll => "create a new enrollment token on the platform and enrol again",
            NextStep::FixToken => "the token has expired or was revoked: log in or enrol again",
            NextStep::FixCredentials => "check the machine identity's id and secret or token",
            NextStep::CheckPermission => "grant the identity the permission for gateways, or allow this box's address",
            NextStep::NotFound => "check the names of gateway and relay, and that they were not deleted",
            NextStep::WrongDomain | NextStep::Unusable => {
                "check INFISICAL_DOMAIN, and that the platform is new enough for gateways"
            }
            NextStep::Conflict => "choose another INFISICAL_GATEWAY_NAME or delete the old gateway on the platform",
            NextStep::FixConfig => "correct the setting that the message names",
            NextStep::RetryAfter(time) => return write!(f, "the next try may come in {} s", time.as_secs()),
            NextStep::RetryLater => "a later try may succeed",
            NextStep::TlsTrust => "check INFISICAL_DOMAIN; for a private CA set EDGE_GATEWAY_CA_FILE",
            NextStep::Clock => "check this box's clock, then the platform's certificate",
            NextStep::CaptivePortal => "check INFISICAL_DOMAIN, and for a captive portal or proxy that answers instead",
            NextStep::Dns => "check INFISICAL_DOMAIN and this box's DNS servers",
            NextStep::Refused => "check INFISICAL_DOMAIN and its port, and that a firewall lets 443 out",
            NextStep::Proxy => "check HTTPS_PROXY",
        })
    }
}

impl Error {
    /// What to do.
    pub fn next(&self) -> NextStep {
        match &self.fault {
            Fault::Status { retry_after: Some(time), status: 429 | 503, .. } => NextStep::RetryAfter(*time),
            Fault::Status { no_route: true, .. } => NextStep::WrongDomain,
            Fault::Status { status, .. } => match (status, self.call) {
                (401, Call::Enroll | Call::Connect) => NextStep::ReEnroll,
                (400 | 404, Call::Enroll) => NextStep::ReEnroll,
                (401, call) if call.is_login() => NextStep::FixCredentials,
                (401, _) => NextStep::FixToken,
                (403, _) => NextStep::CheckPermission,
                (404, _) => NextStep::NotFound,
                (409, _) => NextStep::Conflict,
                (408 | 425 | 429 | 500.., _) => NextStep::RetryLater,
                _ => NextStep::FixConfig,
            },
            Fault::NotTheApi(_) => NextStep::CaptivePortal,
            Fault::BadAnswer(_) => NextStep::Unusable,
            Fault::TooLarge => NextStep::CaptivePortal,
            Fault::Dns(_) => NextStep::Dns,
            Fault::Refused => NextStep::Refused,
            Fault::Untrusted(_) => NextStep::TlsTrust,
            Fault::Expired(_) => NextStep::Clock,
            Fault::Proxy(_) => NextStep::Proxy,
            Fault::ConnectTimeout | Fault::Timeout | Fault::Tls(_) | Fault::Network(_) => NextStep::RetryLater,
        }
    }

    /// The HTTP status, if the platform refused.
    pub fn status(&self) -> Option<u16> {
        match self.fault {
            Fault::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The code to end with, where this error ends the command.
    pub fn exit(&self) -> Exit {
        match self.next() {
            NextStep::ReEnroll | NextStep::FixToken | NextStep::FixCredentials | NextStep::CheckPermission => {
                Exit::NoPermission
            }
            NextStep::NotFound | NextStep::Conflict | NextStep::FixConfig => Exit::Config,
            NextStep::WrongDomain
            | NextStep::Unusable
            | NextStep::CaptivePortal
            | NextStep::TlsTrust
            | NextStep::Clock => Exit::Protocol,
            NextStep::Dns => Exit::NoHost,
            NextStep::RetryAfter(_) | NextStep::RetryLater | NextStep::Refused | NextStep::Proxy => Exit::TempFail,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}; {}", self.call, self.host, self.fault, self.next())
    }
}

impl Fault {
    /// The same, where the connection was made to a proxy.
    pub(super) fn of_proxy(self) -> Self {
        match self {
            Fault::Refused | Fault::Dns(_) | Fault::ConnectTimeout => Fault::Proxy(self.to_string()),
            fault => fault,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Status { status, message, .. } if message.is_empty() => write!(f, "answered {status}"),
            Fault::Status { status, message, .. } => write!(f, "answered {status} \"{message}\""),
            Fault::NotTheApi(what) => {
                write!(f, "{what} came back instead of the platform's answer")
            }
            Fault::BadAnswer(what) => write!(f, "the answer is not usable: {what}"),
            Fault::TooLarge => write!(f, "the answer is longer than {API_BODY_BYTES} bytes and was cut off"),
            Fault::Dns(what) => write!(f, "the name does not resolve ({what})"),
            Fault::Refused => f.write_str("the connection is refused"),
            Fault::ConnectTimeout => f.write_str("no connection in time"),
            Fault::Timeout => f.write_str("no complete answer in time"),
            Fault::Untrusted(what) => write!(f, "the certificate is not trusted ({what})"),
            Fault::Expired(what) => write!(f, "the certificate is not valid now ({what})"),
            Fault::Tls(what) => write!(f, "TLS failed ({what})"),
            Fault::Proxy(what) => write!(f, "the proxy does not let it through ({what})"),
            Fault::Network(what) => write!(f, "the network failed ({what})"),
        }
    }
}

impl std::error::Error for Error {}

/// Text from elsewhere, fit for a message.
pub(super) fn quoted(text: impl fmt::Display) -> String {
    Escaped::new(&text.to_string(), API_MESSAGE_CHARS).to_string()
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Fault::Dns("no address".to_owned()),
            ureq::Error::Timeout(ureq::Timeout::Resolve) => Fault::Dns("no answer in time".to_owned()),
            ureq::Error::Timeout(ureq::Timeout::Connect) => Fault::ConnectTimeout,
            ureq::Error::Timeout(_) => Fault::Timeout,
            ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => Fault::TooLarge,
            ureq::Error::ConnectProxyFailed(what) => Fault::Proxy(quoted(what)),
            ureq::Error::InvalidProxyUrl => Fault::Proxy("its URL is malformed".to_owned()),
            ureq::Error::Protocol(error) => Fault::NotTheApi(format!("something else than HTTP ({})", quoted(error))),
            ureq::Error::Io(error) => from_io(&error),
            ureq::Error::Other(error) => match error.downcast_ref::<LookupFailed>() {
                Some(lookup) => Fault::Dns(quoted(lookup)),
                None => match error.downcast_ref::<rustls::Error>() {
                    Some(error) => from_tls(error),
                    None => Fault::Network(quoted(error)),
                },
            },
            error => Fault::Network(quoted(error)),
        }
    }
}

fn from_io(error: &std::io::Error) -> Fault {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return from_tls(error);
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Fault::Refused,
        std::io::ErrorKind::UnexpectedEof => Fault::Network("the connection was closed early".to_owned()),
        _ => Fault::Network(quoted(error)),
    }
}

fn from_tls(error: &rustls::Error) -> Fault {
    use rustls::CertificateError as Certificate;
    let what = quoted(error);
    match error {
        rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => Fault::Expired(what),
        rustls::Error::InvalidCertificate(_) => Fault::Untrusted(what),
        _ => Fault::Tls(what),
    }
}
