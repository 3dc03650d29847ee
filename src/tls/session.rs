//! What an established connection does with the records that it gets: data, alerts, new keys.

use core::task::{Context, Poll, ready};
use std::io;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion};
use tokio::io::AsyncRead;

use super::error::StreamError;
use super::receiver::Receiver;
use super::record::RecordError;
use super::sender::Sender;
use crate::limits::TLS_IDLE_RECORDS;
use crate::room::Outlet;

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
    /// The version decides whether there will be other keys.
    pub(super) fn new<D>(
        version: ProtocolVersion,
        connection: KernelConnection<D>,
        wrap: fn(Box<KernelConnection<D>>) -> Self,
    ) -> Self {
        if version == ProtocolVersion::TLSv1_3 { wrap(Box::new(connection)) } else { Self::Fixed }
    }

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

/// An established connection, without its byte stream.
pub(super) struct Session {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    keys: Keys,
    end: Option<End>,
    /// Bytes of a session ticket that continue in the next record.
    ticket: usize,
    /// The peer wants a new key from us before our next data.
    pub(super) key_update_due: bool,
}

impl Session {
    pub(super) fn new(receiver: Receiver, sender: Sender, keys: Keys) -> Self {
        Self { receiver, sender, keys, end: None, ticket: 0, key_update_due: false }
    }

    /// Reads records until there is plaintext or the end.
    pub(super) fn poll_plain<S: AsyncRead + Outlet + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TLS_IDLE_RECORDS {
            if !self.receiver.plain().is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.end {
                Some(End::Clean) => return Poll::Ready(Ok(())),
                Some(End::Failed(error)) => return Poll::Ready(Err(error.into())),
                None => {}
            }
            let record = ready!(self.receiver.poll_record(cx, io)).inspect_err(|error| {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    self.end = Some(End::Failed(StreamError::Truncated));
                }
            })?;
            if let Err((error, alert)) = self.handle(record) {
                self.end = Some(End::Failed(error));
                if let Some(alert) = alert {
                    self.sender.abort(cx, io, alert);
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
                    RecordError::Header | RecordError::Padding => AlertDescription::UnexpectedMessage,
                    RecordError::Exhausted | RecordError::Secrets => AlertDescription::InternalError,
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
            let Some((&[kind, high, middle, low], rest)) = messages.split_first_chunk::<HANDSHAKE_HEADER>() else {
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
    pub(super) fn poll_rekey<S: Outlet + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>> {
        if self.key_update_due || self.sender.is_worn() {
            let message = [KEY_UPDATE, 0, 0, 1, 0];
            let keys = &mut self.keys;
            ready!(self.sender.poll_rekey(cx, io, &message, || keys.next(true)))?;
            self.key_update_due = false;
        }
        Poll::Ready(Ok(()))
    }
}
