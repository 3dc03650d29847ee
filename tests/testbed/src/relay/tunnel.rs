//! One channel towards a gateway, as a byte stream.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use russh::server::Msg;
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

use super::counters::OpenChannel;
use super::link::Control;

/// Bytes between the client and the channel in each direction.
const BUFFER: usize = 64 * 1024;
/// Largest piece of client data handed to the channel at once.
const PIECE: usize = 32 * 1024;

/// A channel to a gateway: bytes written arrive at the gateway, and bytes read come from it.
///
/// `shutdown` sends the channel's end of file and leaves the other direction open; dropping the tunnel closes the
/// channel. When the gateway closes, or its connection is lost, reads end and writes fail with `BrokenPipe`.
pub struct Tunnel {
    io: DuplexStream,
    /// Dropped with the tunnel, which the carrying task notices.
    _held: oneshot::Sender<Infallible>,
}

impl Tunnel {
    pub(super) fn new(channel: Channel<Msg>, link: Arc<Control>, counted: OpenChannel) -> Tunnel {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (held, dropped) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                () = carry(channel, far, dropped) => {}
                // russh waits for a client that doesn't read, and would not notice.
                () = link.until_cut() => {}
            }
            drop(counted);
        });
        Tunnel { io: near, _held: held }
    }
}

async fn carry(channel: Channel<Msg>, client: DuplexStream, dropped: oneshot::Receiver<Infallible>) {
    let (mut from_gateway, to_gateway) = channel.split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let inbound = async {
        while let Some(message) = from_gateway.wait().await {
            let done = match message {
                ChannelMsg::Data { data } => to_client.write_all(&data).await,
                ChannelMsg::Eof => to_client.shutdown().await,
                ChannelMsg::Close => break,
                _ => Ok(()),
            };
            if done.is_err() {
                break;
            }
        }
    };
    let outbound = async {
        let mut piece = vec![0; PIECE];
        loop {
            match from_client.read(&mut piece).await {
                // End of file is not the end of the channel: the gateway may still be answering.
                Ok(0) => match to_gateway.eof().await {
                    Ok(()) => std::future::pending().await,
                    Err(_) => break,
                },
                Ok(n) => {
                    if to_gateway.data_bytes(piece[..n].to_vec()).await.is_err() {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
        _ = dropped => {}
    }
    // Fails when the connection is gone, and then the channel is gone with it.
    let _ = to_gateway.close().await;
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
