//! After `101 Switching Protocols`: bytes both ways, whatever they mean.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead};
use tokio::time::{Instant, Sleep, sleep};

use super::body::Framing;
use super::exchange::Outcome;
use super::pump::{Pump, PumpError};
use super::upstream::Upstream;
use crate::limits::TCP_HALF_CLOSED_TIME;
use crate::room::{Outlet, Room};
use crate::tls::TlsStream;

/// Carries bytes until both sides have closed, or one has and the other is silent.
///
/// # Errors
/// Which connection broke, and how.
pub(super) async fn tunnel<S>(client: &mut TlsStream<S>, upstream: &mut Upstream) -> Result<Outcome, String>
where
    S: AsyncRead + Outlet + Unpin,
{
    let (mut there, mut back) = (Direction::new(), Direction::new());
    let mut silence: Option<Pin<Box<Sleep>>> = None;
    let both = poll_fn(|cx| {
        let before = (there.pump.moved(), back.pump.moved());
        let sent = there.poll(cx, client, upstream)?.is_ready();
        let received = back.poll(cx, upstream, client)?.is_ready();
        match (sent, received) {
            (true, true) => return Poll::Ready(Ok(())),
            (false, false) => return Poll::Pending,
            _ => {}
        }
        let silence = silence.get_or_insert_with(|| Box::pin(sleep(TCP_HALF_CLOSED_TIME)));
        if before != (there.pump.moved(), back.pump.moved()) {
            silence.as_mut().reset(Instant::now() + TCP_HALF_CLOSED_TIME);
        }
        silence.as_mut().poll(cx).map(Ok)
    });
    match both.await {
        Ok(()) => Ok(Outcome { client_stays: false, target_stays: false }),
        Err(PumpError::Source(error) | PumpError::Sink(error)) => Err(error.to_string()),
        Err(PumpError::Framing(why)) => Err(why.into()),
    }
}

struct Direction {
    pump: Pump,
    closed: bool,
}

impl Direction {
    fn new() -> Self {
        Self { pump: Pump::new(Framing::Close), closed: false }
    }

    /// Carries what there is; the end of it is passed on.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), PumpError>>
    where
        R: AsyncBufRead + Unpin,
        W: Room + Unpin,
    {
        if !self.closed {
            ready!(self.pump.poll(cx, from, to))?;
            ready!(Pin::new(to).poll_shutdown(cx)).map_err(PumpError::Sink)?;
            self.closed = true;
        }
        Poll::Ready(Ok(()))
    }
}
