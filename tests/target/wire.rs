//! Byte streams to test with.

use edge_gateway::room::Outlet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use edge_gateway::tls::{Accepted, Acceptor, HandshakeError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What an SSH channel with a small window would hold.
pub(crate) const WINDOW: usize = 8 * 1024;

pub(crate) type Connected = (io::Result<TlsStream<DuplexStream>>, Result<Accepted<DuplexStream>, HandshakeError>);

/// Joins a rustls client and the agent's acceptor in memory.
pub(crate) async fn connect(acceptor: &Acceptor, config: ClientConfig) -> Connected {
    let (near, far) = duplex(WINDOW);
    tokio::join!(handshake(near, config), acceptor.accept(far))
}

/// The client's handshake. The agent's certificate is for `localhost`, and no SNI is sent.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    mut config: ClientConfig,
) -> io::Result<TlsStream<S>> {
    config.enable_sni = false;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, io).await
}

/// Passes one byte at a time each way, and says `Pending` before every one.
pub(crate) struct Trickle<S> {
    io: S,
    read: bool,
    write: bool,
}

impl<S> Trickle<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, read: false, write: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Trickle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read = !self.read;
        if self.read {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut one = into.take(1);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut one);
        let count = one.filled().len();
        into.advance(count);
        result
    }
}

impl<S: AsyncWrite + Unpin> Outlet for Trickle<S> {}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trickle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write = !self.write;
        if self.write {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Damages one byte of what is written.
pub(crate) struct Mangle<S> {
    io: S,
    /// The byte's place in the stream, counted down, and what it is combined with.
    at: usize,
    with: u8,
}

impl<S> Mangle<S> {
    pub(crate) fn new(io: S, at: usize, with: u8) -> Self {
        Self { io, at, with }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mangle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> Outlet for Mangle<S> {}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mangle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(self.at) {
            *byte ^= self.with;
        }
        let result = Pin::new(&mut self.io).poll_write(cx, &bytes);
        if let Poll::Ready(Ok(written)) = result {
            self.at = self.at.checked_sub(written).unwrap_or(usize::MAX);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
