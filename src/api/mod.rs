//! The platform's API: blocking calls over HTTPS, each with deadlines, a bounded answer and a next step when it fails.
//!
//! Nothing here retries, waits or remembers: that is the supervisor's.

mod answer;
mod call;
mod error;
mod https;
mod requests;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, SocksConnector, TcpConnector};
use zeroize::Zeroizing;

pub use answer::{AccessToken, Enrolment, Relay};
pub use call::Call;
pub use error::{Error, Fault, NextStep};
pub use requests::JwtMethod;

use crate::calendar::parse_http_date;
use crate::clock::Clock;
use crate::domain::Domain;
use crate::limits::{API_BODY_BYTES, API_CONNECT, API_HEAD_BYTES, API_INPUT, API_OUTPUT, API_STACK, API_TOTAL};
use crate::secret::Secret;
use answer::{Answer, WireError, retry_after};
use error::quoted;
use https::{HttpsConnector, client_config};
use resolve::ThreadResolver;

/// How to reach the platform.
#[derive(Debug)]
pub struct Options<'a> {
    /// The platform.
    pub domain: Domain,
    /// More root certificates, PEM.
    pub extra_ca_pem: Option<&'a [u8]>,
    /// The clock that certificates are checked by. It learns the platform's time from each answer over verified TLS.
    pub clock: Arc<Clock>,
    /// The way out; usually what `ALL_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    pub proxy: Option<ureq::Proxy>,
    /// For a connection, its TLS included; usually [`API_CONNECT`].
    pub connect_deadline: Duration,
    /// For a whole call; usually [`API_TOTAL`].
    pub total_deadline: Duration,
}

impl Options<'_> {
    /// With the public roots, the environment's proxy and the usual deadlines.
    pub fn new(domain: Domain, clock: Arc<Clock>) -> Self {
        Self {
            domain,
            extra_ca_pem: None,
            clock,
            proxy: ureq::Proxy::try_from_env(),
            connect_deadline: API_CONNECT,
            total_deadline: API_TOTAL,
        }
    }
}

/// A client of the platform's API. Calls block: see [`Client::spawn`].
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    domain: Domain,
    clock: Arc<Clock>,
    via_proxy: bool,
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// What is wrong with `extra_ca_pem`, to follow its file's name in a message; without it, what keeps the public roots away.
    pub fn new(options: Options<'_>) -> Result<Self, String> {
        let https = HttpsConnector {
            config: client_config(options.extra_ca_pem, options.domain.is_https(), options.clock.clone())?,
        };
        let target = options.domain.as_str().parse::<ureq::http::Uri>();
        let is_direct = |proxy: &ureq::Proxy| target.is_ok_and(|uri| proxy.is_no_proxy(&uri));
        let via_proxy = options.proxy.as_ref().is_some_and(|proxy| !is_direct(proxy));
        let config = ureq::Agent::config_builder()
            .proxy(options.proxy)
            .user_agent(concat!("edge-gateway/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .http_status_as_error(false)
            // A redirect of an API call is never meant: a captive portal, or http where https was needed.
            .max_redirects(0)
            .timeout_global(Some(options.total_deadline))
            .timeout_resolve(Some(options.connect_deadline))
            .timeout_connect(Some(options.connect_deadline))
            .max_response_header_size(API_HEAD_BYTES)
            .input_buffer_size(API_INPUT)
            .output_buffer_size(API_OUTPUT)
            // Minutes lie between calls: a connection kept would only hold its buffers.
            .max_idle_connections(0)
            .build();
        let chain =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(https);
        Ok(Self {
            agent: ureq::Agent::with_parts(config, chain, ThreadResolver),
            domain: options.domain,
            clock: options.clock,
            via_proxy,
        })
    }

    /// Runs `work` on a thread of its own with a small stack, and hands its result to `done` there.
    ///
    /// # Errors
    /// The system refuses a thread; `done` is then not called.
    pub fn spawn<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&Client) -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) -> std::io::Result<()> {
        let client = self.clone();
        let thread = thread::Builder::new().name("api".to_owned()).stack_size(API_STACK);
        thread.spawn(move || done(work(&client))).map(drop)
    }

    fn post<A: Answer>(&self, call: Call, token: Option<&Secret>, body: &impl Serialize) -> Result<A, Error> {
        let body = serde_json::to_vec(body).map(Zeroizing::new);
        let body = body.map_err(|error| self.error(call, Fault::BadAnswer(error.to_string())))?;
        self.send(call, token, Some(body))
    }

    fn send<A: Answer>(
        &self,
        call: Call,
        token: Option<&Secret>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<A, Error> {
        let answer = self.exchange(call, token, body.as_ref().map(|body| body.as_slice()));
        let answer = answer.map_err(|fault| if self.via_proxy { fault.of_proxy() } else { fault });
        answer.and_then(|body| answer::parse(&body).map_err(Fault::BadAnswer)).map_err(|fault| self.error(call, fault))
    }

    fn error(&self, call: Call, fault: Fault) -> Error {
        Error { call, host: self.domain.host().to_owned(), fault }
    }

    /// One request, and the body of its answer if that is the platform's and a success.
    fn exchange(&self, call: Call, token: Option<&Secret>, body: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let url = self.domain.api(call.path());
        let bearer = token.map(|token| Zeroizing::new(format!("Bearer {}", token.expose())));
        let authorization = bearer.as_ref().map(|value| ("authorization", value.as_str()));
        let response = match body {
            Some(body) => {
                let mut request = self.agent.post(url).header("content-type", "application/json");
                if let Some((name, value)) = authorization {
                    request = request.header(name, value);
                }
                request.send(body)?
            }
            None => {
                let mut request = self.agent.get(url);
                if let Some((name, value)) = authorization {
                    request = request.header(name, value);
                }
                request.call()?
            }
        };
        let (head, mut body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(date) = header("date").and_then(parse_http_date).filter(|_| self.domain.is_https()) {
            self.clock.learn(date);
        }
        let status = head.status.as_u16();
        if (300..400).contains(&status) {
            let target = quoted(header("location").unwrap_or("nowhere"));
            return Err(Fault::NotTheApi(format!("a redirect ({status}) to {target}")));
        }
        let is_page = header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        let retry_after = header("retry-after").and_then(|value| retry_after(value, self.clock.unix()));
        let length = body.content_length();
        if length.is_some_and(|length| length > API_BODY_BYTES as u64) {
            return Err(Fault::TooLarge);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.map_or(API_INPUT, |length| length as usize)));
        body.with_config().limit(API_BODY_BYTES as u64).reader().read_to_end(&mut bytes).map_err(ureq::Error::from)?;
        // 511 is what RFC 6585 gives captive portals. Web pages with 429 and 5xx come from the platform's own front.
        let is_page = is_page || bytes.trim_ascii_start().starts_with(b"<");
        if status == 511 || (is_page && status != 429 && status < 500) {
            return Err(Fault::NotTheApi(format!("a web page ({status})")));
        }
        if status < 300 {
            return Ok(bytes);
        }
        let error = WireError::parse(&bytes);
        // What a server in front answers while the platform behind it starts: no word of the platform's, and no verdict.
        if error.is_none() && status < 500 && !matches!(status, 408 | 425 | 429) {
            return Err(Fault::NotTheApi(format!("a {status} that is no JSON")));
        }
        let error = error.unwrap_or_default();
        Err(Fault::Status { status, message: quoted(error.message()), retry_after, no_route: error.is_missing_route() })
    }
}
