//! [`TlsStream`]: an established TLS connection over any byte stream, client or server.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::room::{Outlet, Room, poll_copy_into};

/// A TLS connection after its handshake.
///
/// Reading: [`AsyncBufRead`] lends the plaintext where it was opened; [`AsyncRead`] copies it. The
/// peer's close_notify is the end; the end of `S` without one is
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), after all that came before it was read. Either
/// way writing may go on.
///
/// Writing: bytes are gathered into full records and leave with the next record or with
/// [`poll_flush`](AsyncWrite::poll_flush), as with a `BufWriter`; [`Room`] gathers without the copy.
/// [`poll_shutdown`](AsyncWrite::poll_shutdown) flushes, sends the close_notify and shuts `S` down;
/// reading may go on. Dropping the stream sends nothing.
///
/// Each direction holds one pooled buffer while it has bytes in flight, and none when it is idle.
pub struct TlsStream<S> {
    io: S,
    /// Boxed, so that a stream is cheap to move from one future into the next.
    session: Box<Session>,
}

impl<S> TlsStream<S> {
    pub(super) fn new(io: S, session: Session) -> Self {
        Self { io, session: Box::new(session) }
    }

    /// How many pooled buffers (of [`RECORD_BUF`](crate::limits::RECORD_BUF) bytes) are held now.
    pub fn buffers_held(&self) -> usize {
        usize::from(self.session.receiver.holds_buffer()) + usize::from(self.session.sender.holds_buffer())
    }

    /// The byte stream below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("buffers_held", &self.buffers_held()).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Outlet + Unpin> Room for TlsStream<S> {
    fn poll_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<&mut [u8]>> {
        let Self { io, session } = self;
        ready!(session.poll_rekey(cx, io))?;
        session.sender.poll_room(cx, io, least)
    }

    fn gathered(&mut self, count: usize) {
        self.session.sender.gathered(count);
    }
}

impl<S: AsyncRead + Outlet + Unpin> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { io, session } = self.get_mut();
        ready!(session.poll_plain(cx, io))?;
        Poll::Ready(Ok(session.receiver.plain()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().session.receiver.consume(amount);
    }
}

impl<S: AsyncRead + Outlet + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, session } = self.get_mut();
        ready!(session.poll_plain(cx, io))?;
        let plain = session.receiver.plain();
        let count = plain.len().min(into.remaining());
        into.put_slice(&plain[..count]);
        session.receiver.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Outlet + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_copy_into(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, session } = self.get_mut();
        ready!(session.sender.poll_flush(cx, io))?;
        Pin::new(io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, session } = self.get_mut();
        ready!(session.sender.poll_close(cx, io))?;
        Pin::new(io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls::error::StreamError;
    use crate::tls::{Clock, Connector, Host, Trust};

    type Peer = tokio_rustls::server::TlsStream<DuplexStream>;

    async fn joined(version: &'static rustls::SupportedProtocolVersion) -> (TlsStream<DuplexStream>, Peer) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate");
        let config = ServerConfig::builder_with_provider(crate::provider::provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a server");
        let connector = Connector::new(Trust::Anyone, &Clock::new(|| 0)).expect("a connector");
        let host = Host::parse("localhost").expect("a host");
        let (near, far) = duplex(4096);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (ours, theirs) = tokio::join!(connector.connect(near, &host), acceptor.accept(far));
        (ours.expect("client"), theirs.expect("server"))
    }

    #[tokio::test]
    async fn a_worn_key_is_replaced_in_tls_13_and_ends_the_stream_in_tls_12() {
        let (mut ours, mut theirs) = joined(&rustls::version::TLS13).await;
        ours.session.sender.wear_after(10);
        for round in 0..100u8 {
            ours.write_all(&[round]).await.expect("written");
            ours.flush().await.expect("flushed");
            assert_eq!(theirs.read_u8().await.expect("read"), round);
        }

        let (mut ours, mut theirs) = joined(&rustls::version::TLS12).await;
        ours.session.sender.wear_after(10);
        let mut sent = 0;
        let error = loop {
            match ours.write_all(&[1]).await {
                Ok(()) => ours.flush().await.expect("flushed"),
                Err(error) => break error,
            }
            sent += 1;
        };
        assert_eq!(error.to_string(), StreamError::Exhausted.to_string());
        ours.shutdown().await.expect("a last record is left for the close_notify");
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.expect("a clean end");
        assert!(received.len() == sent && sent > 0);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_holds_no_buffer_for_small_records() {
        let (mut ours, mut theirs) = joined(&rustls::version::TLS13).await;
        let mut sent = Vec::new();
        loop {
            let piece = [sent.len() as u8; 100];
            ours.write_all(&piece).await.expect("gathered");
            sent.extend(piece);
            let flushed = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_flush(cx)));
            if flushed.await.is_pending() {
                break;
            }
        }
        assert!(!ours.session.sender.holds_buffer());
        let mut received = vec![0; sent.len()];
        let (flushed, read) = tokio::join!(ours.flush(), theirs.read_exact(&mut received));
        assert_eq!((flushed.expect("flushed"), read.expect("read")), ((), sent.len()));
        assert!(received == sent);
    }

    #[tokio::test]
    async fn an_asked_for_key_update_comes_before_the_next_data() {
        let (mut ours, mut theirs) = joined(&rustls::version::TLS13).await;
        ours.session.key_update_due = true;
        ours.write_all(b"under the new key").await.expect("written");
        ours.flush().await.expect("flushed");
        let mut received = [0; 17];
        theirs.read_exact(&mut received).await.expect("read");
        assert_eq!(&received, b"under the new key");
        assert!(!ours.session.key_update_due);
    }
}
