//! A channel as a byte stream.

use super::{Shared, remember};
use crate::room::Outlet;
use crate::ssh::connection::Write;
use crate::ssh::mux::{ChannelId, Read};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A channel that the relay opened. Reading what arrived is what gives the relay credit to send more, so a stream that is not read
/// costs its window and nothing else. `shutdown` sends EOF; dropping it closes the channel.
pub struct Channel {
    id: ChannelId,
    shared: Arc<Shared>,
}

impl Channel {
    pub(super) fn new(id: ChannelId, shared: Arc<Shared>) -> Self {
        Channel { id, shared }
    }

    /// This side's number of the channel, for log lines. Numbers are used again.
    pub fn number(&self) -> u16 {
        self.id.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.id.0)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(wakers) = state.waiting(self.id) {
            *wakers = super::Wakers::default();
        }
        state.connection.channel_release(self.id);
        state.flush();
    }
}

fn link_lost(error: &super::LinkError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string())
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        let before = buf.filled().len();
        // Twice: what lies on both sides of the ring's end comes in one call.
        for _ in 0..2 {
            match state.connection.channel_read(self.id) {
                Read::Data(data) if buf.remaining() > 0 => {
                    let n = data.len().min(buf.remaining());
                    buf.put_slice(data.get(..n).unwrap_or_default());
                    state.connection.channel_consume(self.id, n);
                }
                Read::Data(_) => break,
                _ if buf.filled().len() > before => break,
                Read::End => return Poll::Ready(Ok(())),
                Read::Blocked => {
                    if let Some(error) = &state.ended {
                        return Poll::Ready(Err(link_lost(error)));
                    }
                    if let Some(wakers) = state.waiting(self.id) {
                        remember(&mut wakers.reader, context);
                    }
                    return Poll::Pending;
                }
            }
        }
        state.flush();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(link_lost(error)));
        }
        match state.connection.channel_write(self.id, data) {
            Write::Taken(n) => {
                state.wake_driver();
                Poll::Ready(Ok(n))
            }
            Write::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Write::Blocked => {
                if let Some(wakers) = state.waiting(self.id) {
                    remember(&mut wakers.writer, context);
                }
                Poll::Pending
            }
        }
    }

    /// Data is in the link's output buffer once it was taken; the driver sends it without being asked.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.connection.channel_shutdown(self.id);
        state.flush();
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Channel {
    fn poll_capacity(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.shared.lock();
        if state.ended.is_some() {
            return Poll::Ready(usize::MAX);
        }
        match state.connection.channel_capacity(self.id) {
            Write::Taken(n) => Poll::Ready(n),
            Write::Closed => Poll::Ready(usize::MAX),
            Write::Blocked => {
                if let Some(wakers) = state.waiting(self.id) {
                    remember(&mut wakers.writer, context);
                }
                Poll::Pending
            }
        }
    }
}
