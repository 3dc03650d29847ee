//! The connection to the target of HTTP requests, in the clear or in TLS.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::room::Room;
use crate::target::gathered::Gathered;
use crate::tls::TlsStream;

#[derive(Debug)]
pub(super) enum Upstream {
    Plain(Gathered<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The same call on whichever it is.
macro_rules! either {
    ($upstream:expr, $stream:ident => $call:expr) => {
        match $upstream.get_mut() {
            Upstream::Plain($stream) => $call,
            Upstream::Tls($stream) => $call,
        }
    };
}

impl Upstream {
    /// Whether a kept connection is as it was left. One that has something to say, be it only its
    /// end, is of no use for another request.
    pub(super) fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(self).poll_fill_buf(cx).is_pending()
    }
}

impl Room for Upstream {
    fn poll_room(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<&mut [u8]>> {
        match self {
            Self::Plain(stream) => stream.poll_room(cx, least),
            Self::Tls(stream) => stream.poll_room(cx, least),
        }
    }

    fn gathered(&mut self, count: usize) {
        match self {
            Self::Plain(stream) => stream.gathered(count),
            Self::Tls(stream) => stream.gathered(count),
        }
    }
}

impl AsyncBufRead for Upstream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        either!(self, stream => Pin::new(stream).poll_fill_buf(cx))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        either!(self, stream => Pin::new(stream).consume(amount));
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
