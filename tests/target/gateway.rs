//! A gateway without a relay: channels are in-memory pipes.

use std::sync::Arc;

use edge_gateway::room::Outlet;
use edge_gateway::target::{Context, Handler, Kubernetes, TargetPolicy, protocols};
use edge_gateway::tls::Acceptor;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::pki::{Algorithm, Client, Pki, system_clock};
use crate::wire::{self, WINDOW};

pub(crate) struct Gateway {
    pub(crate) pki: Pki,
    acceptor: Arc<Acceptor>,
    context: Arc<Context>,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A gateway whose certificates are all RSA, as the platform's are.
    pub(crate) fn rsa() -> Self {
        Self::made(Pki::with(Algorithm::Rsa), |_| {})
    }

    /// A gateway whose context is changed first.
    pub(crate) fn with(change: impl FnOnce(&mut Context)) -> Self {
        Self::made(Pki::new(), change)
    }

    fn made(pki: Pki, change: impl FnOnce(&mut Context)) -> Self {
        let names: Vec<_> = protocols().collect();
        let acceptor = Arc::new(Acceptor::new(&pki.identity(&names)));
        let mut context = Context {
            gateway_name: "edge-1".into(),
            policy: TargetPolicy::default(),
            kubernetes: Kubernetes::default(),
            clock: system_clock(),
        };
        change(&mut context);
        Self { pki, acceptor, context: Arc::new(context) }
    }

    pub(crate) fn policy(allow: Option<&str>, deny: Option<&str>) -> Self {
        let policy = TargetPolicy::parse(allow, deny).expect("a policy");
        Self::with(|context| context.policy = policy)
    }

    /// Serves one channel to its end.
    pub(crate) fn serve<S>(&self, channel: S) -> JoinHandle<()>
    where
        S: AsyncRead + Outlet + Unpin + Send + 'static,
    {
        let (acceptor, context) = (self.acceptor.clone(), self.context.clone());
        tokio::spawn(async move {
            if let Ok(accepted) = acceptor.accept(channel).await {
                let handler = Handler::for_protocol(&accepted.protocol).expect("a known protocol");
                handler.serve(accepted.stream, &accepted.facts, &context).await;
            }
        })
    }

    /// Opens a channel for a client that asks for this protocol.
    pub(crate) async fn open(&self, client: &Client, protocol: &str) -> (TlsStream<DuplexStream>, JoinHandle<()>) {
        let (near, far) = duplex(WINDOW);
        let served = self.serve(far);
        let stream = wire::handshake(near, client.config(&TLS13, &[protocol])).await;
        (stream.expect("a handshake"), served)
    }
}
