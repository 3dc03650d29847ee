//! Writers that lend their buffer, so that bytes are put where they leave from, and streams that tell how much they take.

use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::{AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A writer that gathers bytes in a buffer of its own until that is full or flushed.
pub trait Room: AsyncWrite {
    /// Lends the free part of the buffer, at least `least` bytes of it; a full buffer is written out
    /// first. `least` is at most [`TLS_PLAINTEXT_MAX`](crate::limits::TLS_PLAINTEXT_MAX).
    ///
    /// # Errors
    /// As [`AsyncWrite::poll_write`].
    fn poll_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<&mut [u8]>>;

    /// Counts the first `count` bytes of the room as written. Always follows
    /// [`poll_room`](Self::poll_room): with 0, it gives an unused buffer back.
    fn gathered(&mut self, count: usize);
}

/// [`AsyncWrite::poll_write`] for any [`Room`].
pub fn poll_copy_into<W: Room + ?Sized>(writer: &mut W, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    if bytes.is_empty() {
        return Poll::Ready(Ok(0));
    }
    let room = ready!(writer.poll_room(cx, 1))?;
    let count = bytes.len().min(room.len());
    room[..count].copy_from_slice(&bytes[..count]);
    writer.gathered(count);
    Poll::Ready(Ok(count))
}

/// The writing side of a byte stream that can tell how much it takes, so that nobody has to hold what it does not take.
pub trait Outlet: AsyncWrite {
    /// How many bytes a write would take now, as far as that is known. Waits while it is none. When the stream takes
    /// nothing ever again this is any number, and writing tells why.
    fn poll_capacity(&mut self, _cx: &mut Context<'_>) -> Poll<usize> {
        Poll::Ready(usize::MAX)
    }
}

impl Outlet for TcpStream {}

impl Outlet for DuplexStream {}
