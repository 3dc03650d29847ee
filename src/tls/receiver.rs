//! The receiving half of a stream: records read whole, opened in place, and lent to the reader.

use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion};
use tokio::io::{AsyncRead, ReadBuf};

use super::error::StreamError;
use super::record::{Opener, RecordError, record_length};
use crate::limits::TLS_HEADER;
use crate::pool::{Buffer, Claim, Lane};

/// One read brings the rest of a record and the header of the next, so bulk costs one read a record,
/// nothing is ever moved in the buffer, and an idle stream needs no buffer to wait in.
pub(super) struct Receiver {
    opener: Opener,
    /// The header of the next record, and how much of it is there.
    header: [u8; TLS_HEADER],
    header_length: usize,
    /// There from a complete header until the record's last byte is taken.
    buffer: Option<Buffer>,
    claim: Claim,
    /// Bytes of the record in the buffer.
    filled: usize,
    /// Where the application data that nobody has taken yet is.
    plain: Range<usize>,
}

impl Receiver {
    /// `start` is what came after the handshake: at most one record header.
    pub(super) fn new(opener: Opener, start: &[u8], lane: Lane) -> Result<Self, RecordError> {
        let mut header = [0; TLS_HEADER];
        header.get_mut(..start.len()).ok_or(RecordError::Header)?.copy_from_slice(start);
        let claim = Claim::new(lane);
        Ok(Self { opener, header, header_length: start.len(), buffer: None, claim, filled: 0, plain: 0..0 })
    }

    /// Application data that was opened and not taken.
    pub(super) fn plain(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|buffer| buffer.get(self.plain.clone())).unwrap_or_default()
    }

    /// Takes `count` bytes of [`plain`](Self::plain).
    pub(super) fn consume(&mut self, count: usize) {
        self.plain.start = self.plain.end.min(self.plain.start + count);
        if self.plain.is_empty() && self.header_length < TLS_HEADER {
            self.buffer = None;
        }
    }

    /// Reads and opens the next record. [`plain`](Self::plain) is empty when this is called, and
    /// holds the contents of the record after it, whatever its type.
    pub(super) fn poll_record<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<Result<ContentType, RecordError>>> {
        while self.header_length < TLS_HEADER {
            let read = match poll_read(cx, io, &mut self.header[self.header_length..]) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    self.buffer = None;
                    return Poll::Pending;
                }
            };
            self.header_length += read;
        }
        let length = match record_length(self.header) {
            Ok(length) => length,
            Err(error) => return Poll::Ready(Ok(Err(error))),
        };
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(ready!(self.claim.poll(cx))),
        };
        if self.filled < TLS_HEADER {
            buffer[..TLS_HEADER].copy_from_slice(&self.header);
            self.filled = TLS_HEADER;
        }
        while self.filled < length {
            self.filled += ready!(poll_read(cx, io, &mut buffer[self.filled..length + TLS_HEADER]))?;
        }
        let next = &buffer[length..self.filled];
        self.header[..next.len()].copy_from_slice(next);
        self.header_length = next.len();
        self.filled = 0;
        Poll::Ready(Ok(self.opener.open(&mut buffer[..length]).map(|(content_type, plain)| {
            self.plain = plain;
            content_type
        })))
    }

    /// Goes on with new keys (a TLS 1.3 key update).
    pub(super) fn rekey(&mut self, secrets: (u64, ConnectionTrafficSecrets)) -> Result<(), RecordError> {
        self.opener = Opener::new(ProtocolVersion::TLSv1_3, secrets)?;
        Ok(())
    }

    /// Whether this is TLS 1.3.
    pub(super) fn is_tls13(&self) -> bool {
        self.opener.is_tls13()
    }

    /// Whether a pooled buffer is held.
    pub(super) fn holds_buffer(&self) -> bool {
        self.buffer.is_some()
    }
}

/// Reads at least one byte; the end of the bytes is an error, because TLS has an end of its own.
fn poll_read<S: AsyncRead + Unpin>(cx: &mut Context<'_>, io: &mut S, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut into))?;
    Poll::Ready(match into.filled().len() {
        0 => Err(StreamError::Truncated.into()),
        read => Ok(read),
    })
}
