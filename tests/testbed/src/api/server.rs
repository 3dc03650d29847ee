//! The server behind [`Api`](super::Api): takes requests, plans faults, remembers what came.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Connection};
use super::fault::{Fault, Response};
use super::platform::{Gateway, Platform, RelayEntry};
use super::{ApiConfig, Endpoint, Recorded, routes};
use crate::certs::{CertSpec, LeafSpec};
use crate::http::{self, Message};
use crate::targets::Target;

/// What the server's tasks have in common.
pub(super) struct Inner {
    pub(super) config: ApiConfig,
    platform: Mutex<Platform>,
    plan: Mutex<Vec<Planned>>,
    issuing: Mutex<Issuing>,
    pub(super) seen: watch::Sender<Vec<Recorded>>,
}

/// A fault that waits for its call.
pub(super) struct Planned {
    pub(super) endpoint: Endpoint,
    pub(super) fault: Fault,
    /// How many times still; `None` for always.
    pub(super) times: Option<u32>,
}

/// What is changed in the certificates of a bundle.
pub(super) struct Issuing {
    pub(super) leaf: Box<dyn Fn(LeafSpec) -> LeafSpec + Send>,
    pub(super) user: Box<dyn Fn(CertSpec) -> CertSpec + Send>,
}

impl Inner {
    pub(super) fn new(config: ApiConfig) -> Inner {
        Inner {
            config,
            platform: Mutex::new(Platform::new()),
            plan: Mutex::default(),
            issuing: Mutex::new(Issuing { leaf: Box::new(|spec| spec), user: Box::new(|spec| spec) }),
            seen: watch::Sender::new(Vec::new()),
        }
    }

    pub(super) async fn listen(self: &Arc<Inner>, addr: SocketAddr) -> io::Result<Target> {
        let inner = self.clone();
        let acceptor = inner.config.tls.clone().map(TlsAcceptor::from);
        Target::serve_at(addr, move |stream| {
            let (inner, acceptor) = (inner.clone(), acceptor.clone());
            // A client that goes away in mid request is none of the platform's business.
            async move { drop(inner.serve(stream, acceptor).await) }
        })
        .await
    }

    async fn serve(self: Arc<Inner>, stream: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
        match acceptor {
            Some(acceptor) => self.converse(acceptor.accept(stream).await?).await,
            None => self.converse(stream).await,
        }
    }

    async fn converse(self: Arc<Inner>, stream: impl Connection) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read_request(&mut stream).await? {
            let closes = request.closes();
            if !self.reply(stream.get_mut(), request).await? || closes {
                break;
            }
        }
        Ok(())
    }

    /// Answers one request, and says whether the connection can carry another.
    async fn reply(self: &Arc<Inner>, stream: &mut impl Connection, request: Message) -> io::Result<bool> {
        let path = request.path().split('?').next().unwrap_or_default();
        let endpoint = Endpoint::of(request.method(), path);
        let fault = endpoint.and_then(|endpoint| self.fault(endpoint));
        let place = self.record(endpoint, &request);
        let response = match (endpoint, &fault) {
            (None, _) => Response::error(404, &format!("Route {} {path} not found", request.method())),
            (Some(_), Some(Fault::Answer(response))) => response.clone(),
            (Some(endpoint), fault) => match routes::answer(self, endpoint, &request).await {
                Ok(mut body) => {
                    if let Some(Fault::Edited(edit)) = fault {
                        edit(&mut body);
                    }
                    Response::json(200, &body)
                }
                Err(response) => response,
            },
        };
        let goes_on = answer::send(stream, &response, fault.as_ref()).await?;
        self.seen.send_modify(|seen| seen[place].status = Some(response.status));
        Ok(goes_on)
    }

    fn record(&self, endpoint: Option<Endpoint>, request: &Message) -> usize {
        let mut place = 0;
        self.seen.send_modify(|seen| {
            place = seen.len();
            seen.push(Recorded { endpoint, request: Arc::new(request.clone()), status: None });
        });
        place
    }

    /// The first fault planned for this call, used up if it was for a number of times.
    fn fault(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut plan = self.plan();
        let index = plan.iter().position(|planned| planned.endpoint == endpoint)?;
        let planned = &mut plan[index];
        let fault = planned.fault.clone();
        if let Some(times) = &mut planned.times {
            *times -= 1;
            if *times == 0 {
                plan.remove(index);
            }
        }
        Some(fault)
    }

    /// The certificate bundle for a gateway's connection to a relay.
    pub(super) fn issue(&self, gateway: &Gateway, relay: &RelayEntry) -> Value {
        let issuing = self.issuing();
        let leaf = (issuing.leaf)(self.config.pki.gateway()).issue();
        let user = self.config.ssh.user(&relay.name, &gateway.id, &gateway.name);
        let user = (issuing.user)(user).issue();
        json!({
            "gatewayId": gateway.id,
            "relayHost": relay.host,
            "pki": {
                "serverCertificate": leaf.certificate_pem(),
                "serverPrivateKey": leaf.private_key_pem(),
                "clientCertificateChain": self.config.pki.client_chain_pem(),
            },
            "ssh": {
                "clientCertificate": user.certificate_line(),
                "clientPrivateKey": user.private_key_pem(),
                "serverCAPublicKey": self.config.ssh.host_ca_line(),
            },
        })
    }

    pub(super) fn platform(&self) -> MutexGuard<'_, Platform> {
        self.platform.lock().expect("no holder panics")
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.plan.lock().expect("no holder panics")
    }

    pub(super) fn issuing(&self) -> MutexGuard<'_, Issuing> {
        self.issuing.lock().expect("no holder panics")
    }
}
