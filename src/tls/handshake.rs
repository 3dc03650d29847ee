//! Drives a rustls handshake over any byte stream, then takes the traffic secrets over.
//!
//! rustls is shown one whole record more whenever it asks for bytes, never one that it does not
//! need, so everything after the handshake is left for our own record layer.

use std::io;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, Error, ExtractedSecrets, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::HandshakeError;
use super::receiver::Receiver;
use super::record::{Opener, RecordError, Sealer, record_length};
use super::sender::Sender;
use super::session::{Keys, Session};
use super::stream::TlsStream;
use crate::limits::TLS_HEADER;
use crate::pool::{Buffer, Lane};

/// What rustls's client and server have in common.
pub(super) trait Side: Sized {
    type Data;

    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data>;

    /// Whether something is waiting to be encoded.
    fn wants_write(&self) -> bool;

    fn into_kernel(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error>;

    fn keys(connection: Box<KernelConnection<Self::Data>>) -> Keys;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        self.process_tls_records(records)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }

    fn into_kernel(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }

    fn keys(connection: Box<KernelConnection<Self::Data>>) -> Keys {
        Keys::Server(connection)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        self.process_tls_records(records)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }

    fn into_kernel(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }

    fn keys(connection: Box<KernelConnection<Self::Data>>) -> Keys {
        Keys::Client(connection)
    }
}

/// A handshake on its way: what was read, and what is to be sent.
pub(super) struct Handshake<S> {
    io: S,
    incoming: Incoming,
    outgoing: Buffer,
    pending: usize,
    /// What the stream receives into.
    lane: Lane,
}

/// Bytes from the peer: `shown` of them are whole records that rustls has been shown, the rest, up
/// to `filled`, is at most a record and a header.
struct Incoming {
    buffer: Buffer,
    shown: usize,
    filled: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Handshake<S> {
    /// `start` is what has been read of the first record: at most its header. Waits for two buffers.
    pub(super) async fn new(io: S, start: &[u8], lane: Lane) -> Self {
        let mut buffer = Buffer::take(lane).await;
        buffer[..start.len()].copy_from_slice(start);
        let incoming = Incoming { buffer, shown: 0, filled: start.len() };
        Self { io, incoming, outgoing: Buffer::take(Lane::Sending).await, pending: 0, lane }
    }

    /// Runs the handshake to its end. On an error the peer has been sent the alert.
    pub(super) async fn run<C: Side>(&mut self, side: &mut C) -> Result<(), HandshakeError> {
        loop {
            let UnbufferedStatus { discard, state } = side.process(&mut self.incoming.buffer[..self.incoming.shown]);
            let mut done = false;
            let mut blocked = false;
            match state? {
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.io, &mut self.outgoing, &mut self.pending).await?;
                }
                ConnectionState::TransmitTlsData(data) => {
                    send(&mut self.io, &self.outgoing, &mut self.pending).await?;
                    self.io.flush().await?;
                    data.done();
                }
                ConnectionState::BlockedHandshake => blocked = true,
                ConnectionState::WriteTraffic(_) => done = true,
                // Early data is off, and nothing after the handshake has been shown.
                _ => return Err(HandshakeError::Tls(Error::HandshakeNotComplete)),
            }
            self.incoming.discard(discard);
            if done {
                return Ok(());
            }
            if blocked {
                self.incoming.show_next(&mut self.io).await?;
            }
        }
    }

    /// Sends what rustls still has to say after an error: the alert, if the peer is to blame. It is
    /// shown no more records: to find fault with another one, it would panic.
    pub(super) async fn send_alert<C: Side>(&mut self, side: &mut C) -> io::Result<()> {
        while side.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(data)), .. } = side.process(&mut []) else {
                break;
            };
            if encode(data, &mut self.io, &mut self.outgoing, &mut self.pending).await.is_err() {
                break;
            }
        }
        send(&mut self.io, &self.outgoing, &mut self.pending).await?;
        self.io.flush().await
    }

    /// The stream, once [`run`](Self::run) has ended well.
    pub(super) fn into_stream<C: Side>(self, side: C) -> Result<TlsStream<S>, HandshakeError> {
        let Self { io, incoming, lane, .. } = self;
        let (secrets, connection) = side.into_kernel()?;
        let version = connection.protocol_version();
        let limit = confidentiality_limit(connection.negotiated_cipher_suite());
        let unusable = |_: RecordError| Error::General("traffic secrets of no known kind".into());
        let sealer = Sealer::new(version, secrets.tx, limit).map_err(unusable)?;
        let opener = Opener::new(version, secrets.rx).map_err(unusable)?;
        let start = &incoming.buffer[incoming.shown..incoming.filled];
        let receiver = Receiver::new(opener, start, lane).map_err(unusable)?;
        let keys = Keys::new(version, connection, C::keys);
        Ok(TlsStream::new(io, Session::new(receiver, Sender::new(sealer, lane.way_out()), keys)))
    }
}

impl Incoming {
    fn discard(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
        self.shown -= count;
    }

    /// Reads up to the end of the next record, and counts it as shown.
    async fn show_next<S: AsyncRead + Unpin>(&mut self, io: &mut S) -> Result<(), HandshakeError> {
        self.fill(io, self.shown + TLS_HEADER).await?;
        let header = self.buffer[self.shown..].first_chunk().ok_or(HandshakeError::FlightTooLong)?;
        let length = record_length(*header).map_err(|_| HandshakeError::NotTls)?;
        let end = self.shown + length;
        self.fill(io, end).await?;
        self.shown = end;
        Ok(())
    }

    /// Reads until `end` bytes are there, and not past the next header.
    async fn fill<S: AsyncRead + Unpin>(&mut self, io: &mut S, end: usize) -> Result<(), HandshakeError> {
        while self.filled < end {
            let room = self.buffer.get_mut(self.filled..end).ok_or(HandshakeError::FlightTooLong)?;
            match io.read(room).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

/// Encodes one record behind what is pending, which is sent first when they don't both fit.
async fn encode<S: AsyncWrite + Unpin, D>(
    mut data: EncodeTlsData<'_, D>,
    io: &mut S,
    outgoing: &mut Buffer,
    pending: &mut usize,
) -> Result<(), HandshakeError> {
    loop {
        match data.encode(&mut outgoing[*pending..]) {
            Ok(written) => {
                *pending += written;
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(_)) if *pending > 0 => send(io, outgoing, pending).await?,
            Err(_) => return Err(HandshakeError::FlightTooLong),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, outgoing: &Buffer, pending: &mut usize) -> io::Result<()> {
    let length = std::mem::take(pending);
    io.write_all(&outgoing[..length]).await
}

/// Records that a key of this suite may seal.
fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        #[cfg(feature = "tls12")]
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        // Not offered; but rustls knows it when another package of the same build asks for TLS 1.2.
        #[cfg(not(feature = "tls12"))]
        #[allow(unreachable_patterns)]
        _ => 0,
    }
}
