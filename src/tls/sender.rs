//! The sending half of a stream: plaintext gathered in place, sealed there, and written out.

use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType};

use super::error::StreamError;
use super::record::{RecordError, SUFFIX, Sealer};
use crate::limits::TLS_PLAINTEXT_MAX;
use crate::pool::{Buffer, Claim, Lane};
use crate::room::Outlet;

/// A record is not made smaller than this, however little the stream below takes: 22 bytes of each are not data.
const RECORD_LEAST: usize = 512;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// At most one record is gathered or on its way, in one buffer: a peer that does not read stops the
/// writer, not the gateway. It is no larger than what the stream below takes at once, and there is no
/// buffer before it takes anything: to wait for a slow peer costs no memory. Where that was less than
/// [`RECORD_LEAST`], what the peer did not take of the record waits in a small allocation of its own.
pub(super) struct Sender {
    sealer: Sealer,
    /// There while any byte is gathered or on its way.
    buffer: Option<Buffer>,
    claim: Claim,
    /// Plaintext bytes gathered; 0 while `sealed` is not empty.
    plain: usize,
    /// How many may be gathered in this record: what the stream below takes at once.
    most: usize,
    /// Sealed bytes in the buffer that are not written yet.
    sealed: Range<usize>,
    /// The end of a small record, which the stream below did not take: it comes before all else.
    rest: Vec<u8>,
    /// The last alert was sealed: nothing may follow it.
    closed: bool,
}

impl Sender {
    pub(super) fn new(sealer: Sealer, lane: Lane) -> Self {
        Self {
            sealer,
            buffer: None,
            claim: Claim::new(lane),
            plain: 0,
            most: TLS_PLAINTEXT_MAX,
            sealed: 0..0,
            rest: Vec::new(),
            closed: false,
        }
    }

    /// Room for at least `least` more bytes of plaintext (at most [`TLS_PLAINTEXT_MAX`]), after
    /// what is gathered. Waits until the record before has gone out.
    pub(super) fn poll_room<S: Outlet + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        least: usize,
    ) -> Poll<io::Result<&mut [u8]>> {
        if self.closed {
            return Poll::Ready(Err(StreamError::Closed.into()));
        }
        if self.plain + least > self.most {
            self.seal_gathered().map_err(StreamError::from)?;
        }
        ready!(self.poll_drain(cx, io))?;
        if self.plain == 0 {
            let taken = ready!(io.poll_capacity(cx)).saturating_sub(self.sealer.prefix() + SUFFIX);
            self.most = taken.clamp(least.max(RECORD_LEAST), TLS_PLAINTEXT_MAX);
        }
        let start = self.sealer.prefix() + self.plain;
        let end = self.sealer.prefix() + self.most;
        ready!(self.poll_buffer(cx));
        Poll::Ready(Ok(self.buffer.as_mut().map(|buffer| &mut buffer[start..end]).unwrap_or_default()))
    }

    /// Makes sure that there is a buffer.
    fn poll_buffer(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.buffer.is_none() {
            self.buffer = Some(ready!(self.claim.poll(cx)));
        }
        Poll::Ready(())
    }

    /// Counts `count` bytes that were put into the room as gathered.
    pub(super) fn gathered(&mut self, count: usize) {
        self.plain = self.most.min(self.plain + count);
        self.release();
    }

    /// Gives an empty buffer back.
    pub(super) fn release(&mut self) {
        if self.plain == 0 && self.sealed.is_empty() {
            self.buffer = None;
        }
    }

    /// Seals what is gathered and writes all of it out.
    pub(super) fn poll_flush<S: Outlet + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>> {
        self.seal_gathered().map_err(StreamError::from)?;
        self.poll_drain(cx, io)
    }

    /// As [`poll_flush`](Self::poll_flush), and a close_notify after it.
    pub(super) fn poll_close<S: Outlet + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx, io))?;
        if !self.closed {
            ready!(self.poll_buffer(cx));
            self.seal_alert(WARNING, AlertDescription::CloseNotify).map_err(StreamError::from)?;
            ready!(self.poll_drain(cx, io))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the peer what it did wrong, as far as that is possible without waiting. What was
    /// gathered is dropped, and nothing can be written any more.
    pub(super) fn abort<S: Outlet + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut S, alert: AlertDescription) {
        if !self.closed {
            self.plain = 0;
            let free = self.poll_drain(cx, io).is_ready() && self.poll_buffer(cx).is_ready();
            if free && self.seal_alert(FATAL, alert).is_ok() {
                let _ = self.poll_drain(cx, io);
            }
            self.closed = true;
        }
    }

    /// Whether the key has sealed nearly all the records that its cipher can bear.
    pub(super) fn is_worn(&self) -> bool {
        self.sealer.is_worn()
    }

    /// Sends `message` (a KeyUpdate) under the old key, after what is gathered, and goes on with the
    /// new one.
    pub(super) fn poll_rekey<S: Outlet + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        message: &[u8],
        secrets: impl FnOnce() -> Result<(u64, ConnectionTrafficSecrets), StreamError>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx, io))?;
        ready!(self.poll_buffer(cx));
        let secrets = secrets()?;
        self.seal(ContentType::Handshake, message).map_err(StreamError::from)?;
        self.sealer.rekey(secrets).map_err(StreamError::from)?;
        Poll::Ready(Ok(()))
    }

    /// Whether a pooled buffer is held.
    pub(super) fn holds_buffer(&self) -> bool {
        self.buffer.is_some()
    }

    /// Pretends that the cipher bears only `limit` records.
    #[cfg(test)]
    pub(super) fn wear_after(&mut self, limit: u64) {
        self.sealer.limit = limit;
    }

    fn seal_gathered(&mut self) -> Result<(), RecordError> {
        if let Some(buffer) = self.buffer.as_mut().filter(|_| self.plain > 0) {
            let length = self.sealer.seal(ContentType::ApplicationData, buffer, self.plain)?;
            self.plain = 0;
            self.sealed = 0..length;
        }
        Ok(())
    }

    /// Seals a short message of our own; there is a buffer, and nothing is gathered or on its way.
    fn seal(&mut self, content_type: ContentType, message: &[u8]) -> Result<(), RecordError> {
        let start = self.sealer.prefix();
        let Some(buffer) = &mut self.buffer else { return Err(RecordError::Overflow) };
        buffer[start..start + message.len()].copy_from_slice(message);
        let length = self.sealer.seal(content_type, buffer, message.len())?;
        self.sealed = 0..length;
        Ok(())
    }

    fn seal_alert(&mut self, level: u8, alert: AlertDescription) -> Result<(), RecordError> {
        self.closed = true;
        self.seal(ContentType::Alert, &[level, alert.into()])
    }

    fn poll_drain<S: Outlet + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(poll_some(cx, io, &self.rest))?;
            self.rest.drain(..written);
        }
        while let Some(buffer) = self.buffer.as_ref().filter(|_| !self.sealed.is_empty()) {
            let left = &buffer[self.sealed.clone()];
            match poll_some(cx, io, left) {
                Poll::Ready(written) => self.sealed.start += written?,
                Poll::Pending if left.len() <= RECORD_LEAST + self.sealer.prefix() + SUFFIX => {
                    self.rest.extend_from_slice(left);
                    self.sealed = 0..0;
                    self.release();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }
}

/// Writes at least one byte.
fn poll_some<S: Outlet + Unpin>(cx: &mut Context<'_>, io: &mut S, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Poll::Ready(match ready!(Pin::new(io).poll_write(cx, bytes))? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    })
}

const _: () = assert!(
    crate::limits::RECORD_BUF >= crate::limits::TLS_HEADER + 8 + TLS_PLAINTEXT_MAX + SUFFIX,
    "a full record fits in a pooled buffer"
);
