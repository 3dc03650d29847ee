//! `infisical-tcp-proxy`: raw bytes to and from the target of the client's certificate.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context as Task, Poll, ready};
use std::io;

use log::{debug, warn};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::connect::connect;
use super::{Context, close};
use crate::limits::{COPY_BURST, TCP_HALF_CLOSED_TIME};
use crate::room::{Outlet, Room};
use crate::tls::{ClientFacts, TlsStream};

pub(super) async fn serve<S>(mut stream: TlsStream<S>, facts: &ClientFacts, context: &Context)
where
    S: AsyncRead + Outlet + Unpin + Send,
{
    let target = match facts.target() {
        Ok(target) if target.scheme.is_none() => target,
        Ok(target) => {
            warn!("tcp: {target}: the client asks for a URL, not for a host");
            return close(stream).await;
        }
        Err(error) => {
            warn!("tcp: {error}");
            return close(stream).await;
        }
    };
    let mut socket = match connect(target, &context.policy).await {
        Ok(socket) => socket,
        Err(error) => {
            warn!("tcp: {target}: {error}");
            return close(stream).await;
        }
    };
    let mut tunnel = Tunnel::default();
    let end = poll_fn(|cx| tunnel.poll(cx, &mut stream, &mut socket)).await;
    debug!("tcp: {target}: {end}, {} bytes there, {} back", tunnel.there.bytes, tunnel.back.bytes);
    match end {
        End::Both | End::Silence => close(stream).await,
        // Dropped without a close_notify: the client can tell that this was not the end of the data.
        End::Target(error) => warn!("tcp: {target}: the connection broke: {error}"),
        End::Client(_) => {}
    }
}

/// How a tunnel ended.
enum End {
    /// Each side closed its direction.
    Both,
    /// One side closed, and the other said nothing for [`TCP_HALF_CLOSED_TIME`].
    Silence,
    Client(io::Error),
    Target(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => f.write_str("closed"),
            Self::Silence => f.write_str("half closed, then silent"),
            Self::Client(error) => write!(f, "the client is gone: {error}"),
            Self::Target(error) => write!(f, "the target is gone: {error}"),
        }
    }
}

/// Both directions of a tunnel, in one task. The target writes into the TLS record that goes out,
/// and is written to from the record that came in.
#[derive(Default)]
struct Tunnel {
    there: Direction,
    back: Direction,
    /// There while exactly one direction is closed.
    silence: Option<Pin<Box<Sleep>>>,
}

#[derive(Default)]
struct Direction {
    bytes: u64,
    /// Bytes were gathered that have not been flushed.
    gathered: bool,
    /// The source has ended; the sink is to be closed.
    ended: bool,
    closed: bool,
}

impl Tunnel {
    fn poll<S>(&mut self, cx: &mut Task<'_>, stream: &mut TlsStream<S>, socket: &mut TcpStream) -> Poll<End>
    where
        S: AsyncRead + Outlet + Unpin,
    {
        let before = (self.there.bytes, self.back.bytes);
        let there = self.poll_there(cx, stream, socket);
        let back = self.poll_back(cx, stream, socket);
        match (there, back) {
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Both),
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            _ => {}
        }
        let deadline = Instant::now() + TCP_HALF_CLOSED_TIME;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(TCP_HALF_CLOSED_TIME)));
        if before != (self.there.bytes, self.back.bytes) {
            silence.as_mut().reset(deadline);
        }
        silence.as_mut().poll(cx).map(|()| End::Silence)
    }

    /// Client to target.
    fn poll_there<S>(
        &mut self,
        cx: &mut Task<'_>,
        stream: &mut TlsStream<S>,
        socket: &mut TcpStream,
    ) -> Poll<Result<(), End>>
    where
        S: AsyncRead + Outlet + Unpin,
    {
        for _ in 0..COPY_BURST {
            if self.there.closed {
                return Poll::Ready(Ok(()));
            }
            let plain = ready!(Pin::new(&mut *stream).poll_fill_buf(cx)).map_err(End::Client)?;
            if plain.is_empty() {
                ready!(Pin::new(&mut *socket).poll_shutdown(cx)).map_err(End::Target)?;
                self.there.closed = true;
                continue;
            }
            let count = ready!(Pin::new(&mut *socket).poll_write(cx, plain)).map_err(End::Target)?;
            Pin::new(&mut *stream).consume(count);
            self.there.bytes += count as u64;
        }
        yield_now(cx)
    }

    /// Target to client.
    fn poll_back<S>(
        &mut self,
        cx: &mut Task<'_>,
        stream: &mut TlsStream<S>,
        socket: &mut TcpStream,
    ) -> Poll<Result<(), End>>
    where
        S: AsyncRead + Outlet + Unpin,
    {
        for _ in 0..COPY_BURST {
            if self.back.closed {
                return Poll::Ready(Ok(()));
            }
            if self.back.ended {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx)).map_err(End::Client)?;
                self.back.closed = true;
                continue;
            }
            if self.back.gathered {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(End::Client)?;
                self.back.gathered = false;
            }
            // Only then is there something to make room for.
            ready!(socket.poll_read_ready(cx)).map_err(End::Target)?;
            let mut room = ReadBuf::new(ready!(stream.poll_room(cx, 1)).map_err(End::Client)?);
            let read = Pin::new(&mut *socket).poll_read(cx, &mut room);
            let count = room.filled().len();
            stream.gathered(count);
            ready!(read).map_err(End::Target)?;
            self.back.ended = count == 0;
            self.back.gathered = count > 0;
            self.back.bytes += count as u64;
        }
        if self.back.gathered {
            ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(End::Client)?;
            self.back.gathered = false;
        }
        yield_now(cx)
    }
}

/// Lets the other tunnels have their turn.
fn yield_now<T>(cx: &mut Task<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
