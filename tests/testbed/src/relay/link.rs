//! A TCP connection that can be cut or frozen under the one who uses it, and that never makes a writer wait.
//!
//! russh's session loop doesn't read while it waits to write. Two such loops, each with more to send than the sockets
//! hold, wait for each other for ever. So what the loop writes goes to a queue, and a task of its own empties it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

/// Bytes that wait for the socket at most: more than the windows of all channels of a test.
const QUEUE: usize = 256 * 1024 * 1024;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Carries them.
    Open,
    /// Neither reads nor writes, and keeps the socket: a peer behind a dead wire.
    Frozen,
    /// Writes what is left and reads end of file, so that the user of the link closes it.
    Closing,
    /// Both directions fail, and the peer gets a reset.
    Cut,
}

/// The other handle to a [`Link`].
pub(crate) struct Control {
    state: Mutex<State>,
    changed: Notify,
    received: AtomicUsize,
    sent: AtomicUsize,
}

struct State {
    mode: Mode,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Control {
    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.state.lock().expect("no holder panics");
        state.mode = mode;
        for waker in [state.reader.take(), state.writer.take()].into_iter().flatten() {
            waker.wake();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns when the link is cut.
    pub(crate) async fn until_cut(&self) {
        loop {
            // Made before the look at the mode, so that no change falls between.
            let changed = self.changed.notified();
            if self.state.lock().expect("no holder panics").mode == Mode::Cut {
                return;
            }
            changed.await;
        }
    }

    /// Bytes read from the peer so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed) as u64
    }

    /// Bytes written to the peer so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) as u64
    }

    fn for_reader(&self, cx: &Context<'_>) -> Mode {
        let mut state = self.state.lock().expect("no holder panics");
        state.reader = Some(cx.waker().clone());
        state.mode
    }

    fn for_writer(&self, cx: &Context<'_>) -> Mode {
        let mut state = self.state.lock().expect("no holder panics");
        state.writer = Some(cx.waker().clone());
        state.mode
    }
}

/// The session's end of a connection.
pub(crate) struct Link {
    socket: OwnedReadHalf,
    /// Written only; it is a duplex because dropping that is an end of file at the other end.
    queue: DuplexStream,
    control: Arc<Control>,
}

impl Link {
    /// The session's end, and the work of sending what it writes. That work ends after the link is dropped, when all
    /// is sent or can't be.
    pub(crate) fn new(stream: TcpStream) -> (Link, impl Future<Output = ()> + Send + 'static) {
        let state = State { mode: Mode::Open, reader: None, writer: None };
        let control = Arc::new(Control {
            state: Mutex::new(state),
            changed: Notify::new(),
            received: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        });
        let (socket, outbound) = stream.into_split();
        let (queue, queued) = tokio::io::duplex(QUEUE);
        let outbound = Outbound { socket: Some(outbound), control: control.clone() };
        (Link { socket, queue, control }, send(queued, outbound))
    }

    pub(crate) fn control(&self) -> Arc<Control> {
        self.control.clone()
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.control.for_reader(cx) {
            Mode::Open => {}
            Mode::Frozen => return Poll::Pending,
            Mode::Closing => return Poll::Ready(Ok(())),
            Mode::Cut => {
                // The reset goes out when both halves are dropped.
                this.socket.as_ref().set_zero_linger()?;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        this.control.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.queue).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.queue).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.queue).poll_shutdown(cx)
    }
}

async fn send(mut queued: DuplexStream, mut outbound: Outbound) {
    // A peer that is gone takes nothing more, and the session learns it by reading.
    if tokio::io::copy(&mut queued, &mut outbound).await.is_ok() {
        let _ = outbound.shutdown().await;
    }
}

/// The socket's writing half, as far as the mode lets it write.
struct Outbound {
    /// `None` once the link is cut.
    socket: Option<OwnedWriteHalf>,
    control: Arc<Control>,
}

impl Outbound {
    fn poll_socket(&mut self, cx: &Context<'_>) -> Poll<io::Result<Pin<&mut OwnedWriteHalf>>> {
        match self.control.for_writer(cx) {
            Mode::Open | Mode::Closing => {}
            Mode::Frozen => return Poll::Pending,
            Mode::Cut => {
                if let Some(socket) = self.socket.take() {
                    // Dropping it would say goodbye before the reset.
                    socket.forget();
                }
            }
        }
        match &mut self.socket {
            Some(socket) => Poll::Ready(Ok(Pin::new(socket))),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Outbound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(ready!(this.poll_socket(cx))?.poll_write(cx, buf))?;
        this.control.sent.fetch_add(written, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_socket(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_socket(cx))?.poll_shutdown(cx)
    }
}
