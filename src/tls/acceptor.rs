//! Turns channels into TLS streams, each with the newest certificate and the client's facts.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::UnbufferedServerConnection;
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::HandshakeError;
use super::facts::ClientFacts;
use super::handshake::Handshake;
use super::identity::{NOT_RESOLVED, ServerIdentity};
use super::stream::TlsStream;
use crate::limits::{TLS_HANDSHAKE_TIME, TLS_HANDSHAKES, TLS_HEADER};
use crate::pool::Lane;
use crate::room::Outlet;

/// The server side of TLS, shared by all channels.
#[derive(Debug)]
pub struct Acceptor {
    config: Mutex<Arc<ServerConfig>>,
    turns: Semaphore,
}

/// A client whose certificate is verified.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection, ready to be read.
    pub stream: TlsStream<S>,
    /// The ALPN name agreed on, one of those that the identity serves.
    pub protocol: Vec<u8>,
    /// What the client's certificate says about it.
    pub facts: ClientFacts,
}

impl Acceptor {
    /// Serves with this identity.
    pub fn new(identity: &ServerIdentity) -> Self {
        Self { config: Mutex::new(identity.config.clone()), turns: Semaphore::new(TLS_HANDSHAKES) }
    }

    /// Serves channels that come from now on with another identity. Open streams are not touched.
    pub fn replace(&self, identity: &ServerIdentity) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = identity.config.clone();
    }

    /// Does the TLS handshake within [`TLS_HANDSHAKE_TIME`].
    ///
    /// A client that says nothing costs no buffer. Once it speaks, it waits for one of
    /// [`TLS_HANDSHAKES`] turns.
    ///
    /// # Errors
    /// Why the handshake failed. The client has been sent an alert when it is to blame.
    pub async fn accept<S: AsyncRead + Outlet + Unpin>(&self, io: S) -> Result<Accepted<S>, HandshakeError> {
        match timeout(TLS_HANDSHAKE_TIME, self.handshake(io)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(HandshakeError::Timeout),
        }
    }

    async fn handshake<S: AsyncRead + Outlet + Unpin>(&self, mut io: S) -> Result<Accepted<S>, HandshakeError> {
        let mut header = [0; TLS_HEADER];
        io.read_exact(&mut header).await?;
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(HandshakeError::Timeout);
        };
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut server = UnbufferedServerConnection::new(config)?;
        let mut handshake = Handshake::new(io, &header, Lane::Clients).await;
        if let Err(error) = handshake.run(&mut server).await {
            // The client may be gone already; what it did wrong is worth more than that.
            let _ = handshake.send_alert(&mut server).await;
            return Err(match error {
                HandshakeError::Tls(Error::General(why)) if why == NOT_RESOLVED => HandshakeError::NoAlpn,
                error => error,
            });
        }
        let protocol = server.alpn_protocol().unwrap_or_default().to_vec();
        let facts = match server.peer_certificates() {
            Some([leaf, ..]) => ClientFacts::read(leaf),
            _ => return Err(Error::NoCertificatesPresented.into()),
        };
        Ok(Accepted { stream: handshake.into_stream(server)?, protocol, facts })
    }
}
