//! [`TlsStream`]: an established TLS connection over any byte stream, client or server.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::error::StreamError;
use super::receiver::Receiver;
use super::record::RecordError;
use super::sender::Sender;
use crate::limits::TLS_IDLE_RECORDS;
use crate::room::{Room, poll_copy_into};

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const HANDSHAKE_HEADER: usize = 4;

/// Where the next keys come from: TLS 1.3 has them, each side with its own schedule.
pub(super) enum Keys {
    /// TLS 1.2: one key for life.
    Fixed,
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

impl Keys {
    fn next(&mut self, sending: bool) -> Result<(u64, ConnectionTrafficSecrets), StreamError> {
        let secrets = match (self, sending) {
            (Self::Fixed, true) => return Err(StreamError::Exhausted),
            (Self::Fixed, false) => return Err(StreamError::Unexpected),
            (Self::Server(keys), true) => keys.update_tx_secret(),
            (Self::Server(keys), false) => keys.update_rx_secret(),
            (Self::Client(keys), true) => keys.update_tx_secret(),
            (Self::Client(keys), false) => keys.update_rx_secret(),
        };
        secrets.map_err(|_| StreamError::Unexpected)
    }
}

/// How reading ended.
#[derive(Clone, Copy)]
enum End {
    /// close_notify.
    Clean,
    Failed(StreamError),
}

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
    receiver: Receiver,
    sender: Sender,
    keys: Keys,
    end: Option<End>,
    /// Bytes of a session ticket that continue in the next record.
    ticket: usize,
    /// The peer wants a new key from us before our next data.
    key_update_due: bool,
}

impl<S> TlsStream<S> {
    pub(super) fn new(io: S, receiver: Receiver, sender: Sender, keys: Keys) -> Self {
        Self {
            io,
            receiver,
            sender,
            keys,
            end: None,
            ticket: 0,
            key_update_due: false,
        }
    }

    /// How many pooled buffers (of [`RECORD_BUF`](crate::limits::RECORD_BUF) bytes) are held now.
    pub fn buffers_held(&self) -> usize {
        usize::from(self.receiver.holds_buffer()) + usize::from(self.sender.holds_buffer())
    }

    /// The byte stream below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("buffers_held", &self.buffers_held())
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Reads records until there is plaintext or the end.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TLS_IDLE_RECORDS {
            if !self.receiver.plain().is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.end {
                Some(End::Clean) => return Poll::Ready(Ok(())),
                Some(End::Failed(error)) => return Poll::Ready(Err(error.into())),
                None => {}
            }
            let record =
                ready!(self.receiver.poll_record(cx, &mut self.io)).inspect_err(|error| {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        self.end = Some(End::Failed(StreamError::Truncated));
                    }
                })?;
            if let Err((error, alert)) = self.handle(record) {
                self.end = Some(End::Failed(error));
                if let Some(alert) = alert {
                    self.sender.abort(cx, &mut self.io, alert);
                }
            }
        }
        // A peer that sends nothing but empty records gets no more than its turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Acts on a record; an error comes with the alert that the peer is owed.
    fn handle(
        &mut self,
        record: Result<ContentType, RecordError>,
    ) -> Result<(), (StreamError, Option<AlertDescription>)> {
        let fault = |error, alert| Err((error, Some(alert)));
        let content_type = match record {
            Ok(content_type) => content_type,
            Err(error) => {
                let alert = match error {
                    RecordError::Authentication => AlertDescription::BadRecordMac,
                    RecordError::Overflow => AlertDescription::RecordOverflow,
                    RecordError::Header | RecordError::Padding => {
                        AlertDescription::UnexpectedMessage
                    }
                    RecordError::Exhausted | RecordError::Secrets => {
                        AlertDescription::InternalError
                    }
                };
                return fault(error.into(), alert);
            }
        };
        if content_type == ContentType::ApplicationData && self.ticket == 0 {
            return Ok(());
        }
        let length = self.receiver.plain().len();
        let handled = match content_type {
            ContentType::Alert => self.handle_alert(),
            ContentType::Handshake if self.receiver.is_tls13() => match self.handle_handshake() {
                Ok(()) => Ok(()),
                Err(error) => fault(error, AlertDescription::UnexpectedMessage),
            },
            _ => fault(StreamError::Unexpected, AlertDescription::UnexpectedMessage),
        };
        self.receiver.consume(length);
        handled
    }

    fn handle_alert(&mut self) -> Result<(), (StreamError, Option<AlertDescription>)> {
        let &[_, code] = self.receiver.plain() else {
            return Err((StreamError::Unexpected, Some(AlertDescription::DecodeError)));
        };
        match AlertDescription::from(code) {
            AlertDescription::CloseNotify => self.end = Some(End::Clean),
            // Says only that a close_notify follows (RFC 8446 section 6.1).
            AlertDescription::UserCanceled => {}
            alert => return Err((StreamError::Alert(alert), None)),
        }
        Ok(())
    }

    /// Post-handshake messages of TLS 1.3: KeyUpdate from both sides, and tickets, which nobody
    /// here redeems, from servers.
    fn handle_handshake(&mut self) -> Result<(), StreamError> {
        let from_server = matches!(self.keys, Keys::Client(_));
        let mut messages = self.receiver.plain();
        let mut rekey = None;
        if messages.is_empty() {
            return Err(StreamError::Unexpected);
        }
        while !messages.is_empty() {
            if self.ticket > 0 {
                let skipped = self.ticket.min(messages.len());
                self.ticket -= skipped;
                messages = &messages[skipped..];
                continue;
            }
            let Some((&[kind, high, middle, low], rest)) =
                messages.split_first_chunk::<HANDSHAKE_HEADER>()
            else {
                return Err(StreamError::Unexpected);
            };
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            match (kind, rest) {
                (NEW_SESSION_TICKET, rest) if from_server => {
                    self.ticket = length;
                    messages = rest;
                }
                // It ends its record: what follows is under the new key (RFC 8446 section 5.1).
                (KEY_UPDATE, &[requested @ 0..=1]) if length == 1 => {
                    rekey = Some(requested == 1);
                    messages = &[];
                }
                _ => return Err(StreamError::Unexpected),
            }
        }
        if let Some(requested) = rekey {
            self.receiver.rekey(self.keys.next(false)?)?;
            self.key_update_due |= requested;
        }
        Ok(())
    }

    /// Sends the KeyUpdate that the peer asked for, or that the cipher's limit calls for.
    fn poll_rekey(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.key_update_due || self.sender.is_worn() {
            let message = [KEY_UPDATE, 0, 0, 1, 0];
            let keys = &mut self.keys;
            ready!(
                self.sender
                    .poll_rekey(cx, &mut self.io, &message, || keys.next(true))
            )?;
            self.key_update_due = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Room for TlsStream<S> {
    fn poll_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<&mut [u8]>> {
        ready!(self.poll_rekey(cx))?;
        self.sender.poll_room(cx, &mut self.io, least)
    }

    fn gathered(&mut self, count: usize) {
        self.sender.gathered(count);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_plain(cx))?;
        Poll::Ready(Ok(this.receiver.plain()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().receiver.consume(amount);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_plain(cx))?;
        let plain = this.receiver.plain();
        let count = plain.len().min(into.remaining());
        into.put_slice(&plain[..count]);
        this.receiver.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_copy_into(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.sender.poll_flush(cx, &mut this.io))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.sender.poll_close(cx, &mut this.io))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The version decides whether there will be other keys.
pub(super) fn keys_for<D>(
    version: ProtocolVersion,
    connection: KernelConnection<D>,
    wrap: fn(Box<KernelConnection<D>>) -> Keys,
) -> Keys {
    if version == ProtocolVersion::TLSv1_3 {
        wrap(Box::new(connection))
    } else {
        Keys::Fixed
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
    use crate::tls::{Clock, Connector, Host, Trust};

    type Peer = tokio_rustls::server::TlsStream<DuplexStream>;

    async fn joined(
        version: &'static rustls::SupportedProtocolVersion,
    ) -> (TlsStream<DuplexStream>, Peer) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate");
        let config = ServerConfig::builder_with_provider(crate::tls::provider::provider())
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
        ours.sender.wear_after(10);
        for round in 0..100u8 {
            ours.write_all(&[round]).await.expect("written");
            ours.flush().await.expect("flushed");
            assert_eq!(theirs.read_u8().await.expect("read"), round);
        }

        let (mut ours, mut theirs) = joined(&rustls::version::TLS12).await;
        ours.sender.wear_after(10);
        let mut sent = 0;
        let error = loop {
            match ours.write_all(&[1]).await {
                Ok(()) => ours.flush().await.expect("flushed"),
                Err(error) => break error,
            }
            sent += 1;
        };
        assert_eq!(error.to_string(), StreamError::Exhausted.to_string());
        ours.shutdown()
            .await
            .expect("a last record is left for the close_notify");
        let mut received = Vec::new();
        theirs
            .read_to_end(&mut received)
            .await
            .expect("a clean end");
        assert!(received.len() == sent && sent > 0);
    }

    #[tokio::test]
    async fn an_asked_for_key_update_comes_before_the_next_data() {
        let (mut ours, mut theirs) = joined(&rustls::version::TLS13).await;
        ours.key_update_due = true;
        ours.write_all(b"under the new key").await.expect("written");
        ours.flush().await.expect("flushed");
        let mut received = [0; 17];
        theirs.read_exact(&mut received).await.expect("read");
        assert_eq!(&received, b"under the new key");
        assert!(!ours.key_update_due);
    }
}
