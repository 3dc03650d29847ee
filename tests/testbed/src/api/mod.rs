//! The platform's API: the calls a gateway makes, over HTTPS, with a switch for everything that can go wrong.

mod answer;
mod endpoint;
mod fault;
mod platform;
mod routes;
mod server;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;
use tokio::time::timeout;

pub use endpoint::Endpoint;
pub use fault::{Fault, Gate, Response};
pub use platform::{Identity, RelayEntry};

use platform::Owner;
use server::{Inner, Planned};

use crate::certs::{CertSpec, LeafSpec, PkiFactory, SshFactory};
use crate::http::Message;
use crate::targets::Target;

/// Settings of an [`Api`].
#[derive(Clone)]
pub struct ApiConfig {
    /// Issues the certificates inside tunnels.
    pub pki: Arc<PkiFactory>,
    /// Issues the certificates for relays.
    pub ssh: Arc<SshFactory>,
    /// How the API proves who it is; plain HTTP without.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether enrolling answers with a certificate bundle too, as some versions of the platform do.
    pub enroll_with_bundle: bool,
}

/// The API on a free loopback port. Clones are handles to the same one, and the last one stops it.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
    /// Not in `inner`, which the server's tasks hold: dropping the last handle has to end them.
    server: Arc<Server>,
}

struct Server {
    addr: SocketAddr,
    /// `None` while it is dead.
    target: Mutex<Option<Target>>,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The call, if it is one.
    pub endpoint: Option<Endpoint>,
    /// The request as it came.
    pub request: Arc<Message>,
    /// The status of the answer, once that has been sent.
    pub status: Option<u16>,
}

impl Recorded {
    /// Whether this is that call, answered with that status.
    pub fn is(&self, endpoint: Endpoint, status: u16) -> bool {
        self.endpoint == Some(endpoint) && self.status == Some(status)
    }

    /// The body as JSON; null when it isn't any.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).unwrap_or_default()
    }
}

impl Api {
    /// Starts listening.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(config: ApiConfig) -> io::Result<Api> {
        let inner = Arc::new(Inner::new(config));
        let target = inner.listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let server = Server { addr: target.addr(), target: Mutex::new(Some(target)) };
        Ok(Api { inner, server: Arc::new(server) })
    }

    /// Where it listens. Stays the same while it is dead.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// What a gateway takes for the platform's domain.
    pub fn url(&self) -> String {
        self.url_at(self.addr().ip())
    }

    /// The same for a gateway that reaches this machine at another address.
    pub fn url_at(&self, host: IpAddr) -> String {
        let scheme = if self.inner.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(host, self.addr().port()))
    }

    /// Lists a relay.
    pub fn add_relay(&self, entry: RelayEntry) {
        self.inner.platform().relays.push(entry);
    }

    /// Changes the list of relays.
    pub fn change_relays(&self, change: impl FnOnce(&mut Vec<RelayEntry>)) {
        change(&mut self.inner.platform().relays);
    }

    /// The id of the gateway with this name, which is made if it isn't there.
    pub fn gateway_id(&self, name: &str) -> String {
        self.inner.platform().gateway_named(name)
    }

    /// A one-time enrollment token for the gateway with this name, which is made if it isn't there.
    pub fn enrollment_token(&self, name: &str) -> String {
        let mut platform = self.inner.platform();
        let id = platform.gateway_named(name);
        platform.enrollment_token(&id)
    }

    /// The lasting access token of the gateway with this name, which is made if it isn't there.
    pub fn gateway_token(&self, name: &str) -> String {
        let mut platform = self.inner.platform();
        let id = platform.gateway_named(name);
        platform.grant(Owner::Gateway(id))
    }

    /// A machine identity's access token.
    pub fn identity_token(&self) -> String {
        self.inner.platform().grant(Owner::Identity(None))
    }

    /// Lets a machine identity log in.
    pub fn add_identity(&self, identity: Identity) {
        self.inner.platform().add_identity(identity);
    }

    /// How long access tokens given from now on are good.
    pub fn set_token_ttl(&self, ttl: Duration) {
        self.inner.platform().token_ttl = ttl;
    }

    /// Makes every access token given so far worthless.
    pub fn revoke_tokens(&self) {
        self.inner.platform().revoke_all();
    }

    /// Changes the agent's TLS certificate in every bundle from now on.
    pub fn shape_leaf(&self, shape: impl Fn(LeafSpec) -> LeafSpec + Send + 'static) {
        self.inner.issuing().leaf = Box::new(shape);
    }

    /// Changes the agent's SSH certificate in every bundle from now on.
    pub fn shape_user(&self, shape: impl Fn(CertSpec) -> CertSpec + Send + 'static) {
        self.inner.issuing().user = Box::new(shape);
    }

    /// Makes a call go wrong from now on.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        self.inner.plan().push(Planned { endpoint, fault, times: None });
    }

    /// Makes a call go wrong this many times.
    pub fn fail_times(&self, endpoint: Endpoint, times: u32, fault: Fault) {
        self.inner.plan().push(Planned { endpoint, fault, times: Some(times) });
    }

    /// Holds back the answers to a call, which are the right ones, until the gate is opened.
    pub fn hold(&self, endpoint: Endpoint) -> Gate {
        let gate = Gate::shut();
        self.fail(endpoint, Fault::Held(gate.clone()));
        gate
    }

    /// Makes every call go right again.
    pub fn heal(&self) {
        self.inner.plan().clear();
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.seen.borrow().clone()
    }

    /// How often this call was made so far.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.inner.seen.borrow().iter().filter(|request| request.endpoint == Some(endpoint)).count()
    }

    /// Waits until the requests are as wanted, and returns them.
    ///
    /// # Errors
    /// `TimedOut`, with the calls and their statuses so far.
    pub async fn wait(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[Recorded]) -> bool,
    ) -> io::Result<Vec<Recorded>> {
        let mut receiver = self.inner.seen.subscribe();
        match timeout(limit, receiver.wait_for(|seen| wanted(seen))).await {
            Ok(Ok(seen)) => Ok(seen.clone()),
            _ => {
                let calls: Vec<_> =
                    self.requests().into_iter().map(|r| (r.request.start_line.clone(), r.status)).collect();
                Err(io::Error::new(ErrorKind::TimedOut, format!("the API has answered {calls:?}")))
            }
        }
    }

    /// Waits until this call has been answered with this status.
    ///
    /// # Errors
    /// `TimedOut`, with the calls and their statuses so far.
    pub async fn wait_for(&self, limit: Duration, endpoint: Endpoint, status: u16) -> io::Result<()> {
        self.wait(limit, |seen| seen.iter().any(|request| request.is(endpoint, status))).await.map(drop)
    }

    /// Dies: the port is closed and every connection too.
    pub async fn kill(&self) {
        let target = self.server.target.lock().expect("no holder panics").take();
        if let Some(target) = target {
            target.stop().await;
        }
    }

    /// Listens again on the same port after [`Api::kill`].
    ///
    /// # Errors
    /// When the port can't be bound again.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill().await;
        let target = self.inner.listen(self.addr()).await?;
        *self.server.target.lock().expect("no holder panics") = Some(target);
        Ok(())
    }
}
