//! A TCP connection to a target with pooled buffers, each there only while it holds bytes.

use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::{Buffer, Claim, Lane};
use crate::room::{Room, poll_copy_into};

/// Reads and writes through buffers, as `BufReader` and `BufWriter` do.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    io: S,
    incoming: Half,
    outgoing: Half,
}

/// A buffer, and the bytes in it that have yet to move on.
#[derive(Debug)]
struct Half {
    buffer: Option<Buffer>,
    claim: Claim,
    bytes: Range<usize>,
}

impl Half {
    fn new(lane: Lane) -> Self {
        Self { buffer: None, claim: Claim::new(lane), bytes: 0..0 }
    }

    fn poll_buffer(&mut self, cx: &Context<'_>) -> Poll<&mut Buffer> {
        Poll::Ready(match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(ready!(self.claim.poll(cx))),
        })
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|buffer| buffer.get(self.bytes.clone())).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.bytes.start = self.bytes.end.min(self.bytes.start + count);
        if self.bytes.is_empty() {
            (self.buffer, self.bytes) = (None, 0..0);
        }
    }
}

impl<S> Gathered<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, incoming: Half::new(Lane::Targets), outgoing: Half::new(Lane::Targets.way_out()) }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.bytes().is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.bytes()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outgoing.consume(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Room for Gathered<S> {
    fn poll_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<&mut [u8]>> {
        let free = self.outgoing.buffer.as_ref().map(|buffer| buffer.len() - self.outgoing.bytes.end);
        if free.is_some_and(|free| free < least) {
            ready!(self.poll_drain(cx))?;
        }
        let end = self.outgoing.bytes.end;
        Poll::Ready(Ok(&mut ready!(self.outgoing.poll_buffer(cx))[end..]))
    }

    fn gathered(&mut self, count: usize) {
        let length = self.outgoing.buffer.as_ref().map_or(0, |buffer| buffer.len());
        self.outgoing.bytes.end = length.min(self.outgoing.bytes.end + count);
        self.outgoing.consume(0);
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for Gathered<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { io, incoming, .. } = self.get_mut();
        if incoming.bytes.is_empty() {
            let mut room = ReadBuf::new(ready!(incoming.poll_buffer(cx)));
            let read = Pin::new(io).poll_read(cx, &mut room);
            incoming.bytes = 0..room.filled().len();
            incoming.consume(0);
            ready!(read)?;
        }
        Poll::Ready(Ok(incoming.bytes()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().incoming.consume(amount);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = bytes.len().min(into.remaining());
        into.put_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_copy_into(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_wait_for_the_flush_and_buffers_go_when_they_are_empty() {
        let (near, mut far) = duplex(64);
        let mut stream = Gathered::new(near);
        stream.write_all(b"one ").await.expect("gathered");
        stream.write_all(b"two").await.expect("gathered");
        assert_eq!(stream.outgoing.bytes(), b"one two");
        stream.flush().await.expect("flushed");
        assert!(stream.outgoing.buffer.is_none());
        let mut received = [0; 7];
        far.read_exact(&mut received).await.expect("read");
        assert_eq!(&received, b"one two");

        far.write_all(b"back").await.expect("written");
        assert_eq!(stream.fill_buf().await.expect("read"), b"back");
        AsyncBufReadExt::consume(&mut stream, 4);
        assert!(stream.incoming.buffer.is_none());
    }

    #[tokio::test]
    async fn more_than_a_buffer_goes_through_in_order() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
        let (near, mut far) = duplex(64);
        let mut stream = Gathered::new(near);
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            },
            far.read_to_end(&mut received)
        );
        sent.and(read.map(drop)).expect("sent and read");
        assert!(received == bytes);
    }
}
