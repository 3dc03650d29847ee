//! What a client reaches through its TLS stream: one handler for each ALPN name that is served.
//!
//! | file | job |
//! |---|---|
//! | `policy` | what the owner of the box allows |
//! | `connect` | from a name to a connection that the policy allows |
//! | `answers` | ping, health, capabilities |
//! | `tcp` | the TCP proxy |
//! | `http/` | the HTTP proxy, described in `docs/http-proxy.md` |
//! | `gathered` | a target's TCP connection with pooled buffers |

mod answers;
mod connect;
mod gathered;
mod http;
mod policy;
mod tcp;

use log::{debug, warn};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::time::timeout;

pub use http::Kubernetes;
pub use policy::TargetPolicy;

use crate::limits::CLOSE_TIME;
use crate::room::Outlet;
use crate::tls::{ClientFacts, Clock, TlsStream};

/// What handlers know of the gateway they run in.
#[derive(Clone, Debug)]
pub struct Context {
    /// The gateway's name, as the platform knows it.
    pub gateway_name: String,
    /// What clients may reach.
    pub policy: TargetPolicy,
    /// The cluster that this gateway may run in.
    pub kubernetes: Kubernetes,
    /// The time for the certificates of `https://` targets.
    pub clock: Clock,
}

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Is the gateway there?
    Ping,
    /// Is it well, and when is its next heartbeat due?
    Health,
    /// Bytes to and from the target.
    Tcp,
    /// HTTP requests to the target.
    Http,
    /// Which privileged access is served?
    PamCapabilities,
}

/// The handlers by ALPN name. Nothing else is advertised. A client that offers two gets the one that
/// comes first: the platform offers health with ping to fall back on.
const HANDLERS: [(&str, Handler); 5] = [
    ("infisical-http-proxy", Handler::Http),
    ("infisical-tcp-proxy", Handler::Tcp),
    ("infisical-health", Handler::Health),
    ("infisical-ping", Handler::Ping),
    ("infisical-pam-capabilities", Handler::PamCapabilities),
];

/// The ALPN names that are served, the preferred first.
pub fn protocols() -> impl Iterator<Item = &'static str> {
    HANDLERS.iter().map(|(name, _)| *name)
}

impl Handler {
    /// The handler of an ALPN name.
    pub fn for_protocol(name: &[u8]) -> Option<Self> {
        HANDLERS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, handler)| *handler)
    }

    /// Serves one client to its end. What goes wrong is logged; there is nobody else to tell.
    pub async fn serve<S>(self, stream: TlsStream<S>, facts: &ClientFacts, context: &Context)
    where
        S: AsyncRead + Outlet + Unpin + Send,
    {
        match self {
            Self::Ping => say(stream, answers::PONG).await,
            Self::Health => say(stream, answers::HEALTH).await,
            Self::PamCapabilities => say(stream, &answers::pam_capabilities(&context.gateway_name)).await,
            Self::Tcp => tcp::serve(stream, facts, context).await,
            // Boxed: it is the largest by far, and the other tunnels would reserve its space.
            Self::Http => Box::pin(http::serve(stream, facts, context)).await,
        }
    }
}

async fn say<S: AsyncRead + Outlet + Unpin>(mut stream: TlsStream<S>, answer: &[u8]) {
    let said = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    match timeout(CLOSE_TIME, said).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a client left before its answer: {error}"),
        Err(_) => debug!("a client did not take its answer within {} s", CLOSE_TIME.as_secs()),
    }
}

/// Closes a stream properly, unless the client makes that take too long.
async fn close<S: AsyncRead + Outlet + Unpin>(mut stream: TlsStream<S>) {
    match timeout(CLOSE_TIME, stream.shutdown()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a client was gone before the close: {error}"),
        Err(_) => warn!("a client did not take its last bytes within {} s", CLOSE_TIME.as_secs()),
    }
}
