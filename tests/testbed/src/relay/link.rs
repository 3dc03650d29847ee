//! A TCP connection that can be cut or frozen under the one who uses it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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
    received: AtomicU64,
    sent: AtomicU64,
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
        for waker in [state.reader.take(), state.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }

    /// Bytes read from the peer so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes written to the peer so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
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

pub(crate) struct Link {
    stream: TcpStream,
    control: Arc<Control>,
}

impl Link {
    pub(crate) fn new(stream: TcpStream) -> Link {
        let state = State {
            mode: Mode::Open,
            reader: None,
            writer: None,
        };
        let control = Control {
            state: Mutex::new(state),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        };
        Link {
            stream,
            control: Arc::new(control),
        }
    }

    pub(crate) fn control(&self) -> Arc<Control> {
        self.control.clone()
    }

    /// The error of a cut link. The reset goes out when the stream is dropped.
    fn reset(&self) -> io::Error {
        match self.stream.set_zero_linger() {
            Ok(()) => io::ErrorKind::ConnectionReset.into(),
            Err(e) => e,
        }
    }

    /// Whether the writer may go on.
    fn poll_writable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self.control.for_writer(cx) {
            Mode::Open | Mode::Closing => Poll::Ready(Ok(())),
            Mode::Frozen => Poll::Pending,
            Mode::Cut => Poll::Ready(Err(self.reset())),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.control.for_reader(cx) {
            Mode::Open => {}
            Mode::Frozen => return Poll::Pending,
            Mode::Closing => return Poll::Ready(Ok(())),
            Mode::Cut => return Poll::Ready(Err(this.reset())),
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.control
            .received
            .fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.control
            .sent
            .fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
