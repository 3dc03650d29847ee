//! The task that owns the socket: moves bytes between it and the engine, keeps the engine's time, wakes who waits.

use super::{LinkError, Shared, State};
use crate::limits::ssh::DISCONNECT_MS;
use crate::ssh::error::Error;
use crate::wheel;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Rounds of reading and writing before other tasks get their turn.
const ROUNDS_MAX: usize = 8;

pub(super) struct Driver {
    shared: Arc<Shared>,
    stream: TcpStream,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, stream: TcpStream) -> Self {
        Driver { shared, stream }
    }

    /// Drives the link to its end.
    pub(super) async fn run(mut self) {
        let mut alarm = Alarm::new(self.shared.started);
        let error = poll_fn(|context| self.poll(&mut alarm, context)).await;
        let goodbye = matches!(error, LinkError::Ssh(Error::Closed));
        if !matches!(error, LinkError::Io(_)) {
            let farewell = poll_fn(|context| self.poll_farewell(goodbye, context));
            // An error is worth one attempt to tell the relay, a clean stop a little patience.
            let patience = if goodbye { Duration::from_millis(DISCONNECT_MS) } else { Duration::ZERO };
            let _told = timeout(patience, farewell).await;
        }
        self.shared.lock().end(error);
    }

    fn poll(&mut self, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<LinkError> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        super::remember(&mut state.driver, context);
        for _ in 0..ROUNDS_MAX {
            match self.round(&mut state, alarm, context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(error) => return Poll::Ready(error),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// One round: read, write, tell, look at the time. Whether there may be more to do at once.
    fn round(&mut self, state: &mut State, alarm: &mut Alarm, context: &mut Context<'_>) -> Result<bool, LinkError> {
        if let Some(error) = state.connection.error() {
            return Err(error.clone().into());
        }
        let mut progress = false;
        if state.connection.wants_input() {
            let mut space = ReadBuf::new(state.connection.input_space());
            if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, &mut space) {
                result?;
                let n = space.filled().len();
                if n == 0 {
                    return Err(state.connection.handle_end().into());
                }
                state.connection.handle_input(n, self.shared.now())?;
                progress = true;
            }
        }
        let wanted_input = state.connection.wants_input();
        while let Poll::Ready(n) = poll_write(&mut self.stream, state, context)? {
            if n == 0 {
                break;
            }
            progress = true;
        }
        if !wanted_input && state.connection.wants_input() {
            // Packets may be waiting in the input buffer for the answers to leave.
            state.connection.handle_input(0, self.shared.now())?;
            progress = true;
        }
        state.dispatch_events();
        state.feed_starved();
        while alarm.is_due(state.connection.poll_timeout(), context) {
            state.connection.handle_timeout(self.shared.now())?;
            crate::pool::trim();
            progress = true;
        }
        if state.connection.is_starved() {
            // The writer just woken runs first; the next one is fed in the next poll.
            context.waker().wake_by_ref();
        }
        Ok(progress)
    }

    /// Writes what is left, and for a clean stop waits until the relay closes too: a socket closed with unread input would reset
    /// the connection, and the relay might never read the SSH_MSG_DISCONNECT that frees its slot.
    fn poll_farewell(&mut self, wait: bool, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        while ready!(poll_write(&mut self.stream, &mut state, context))? > 0 {}
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        if !wait {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut space = [0; 512];
            let mut space = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
            if space.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Writes a piece of the engine's output; 0 when there is none.
fn poll_write(stream: &mut TcpStream, state: &mut State, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let output = state.connection.output();
    if output.is_empty() {
        return Poll::Ready(Ok(0));
    }
    let Poll::Ready(written) = Pin::new(stream).poll_write(context, output) else {
        state.connection.output_stuck();
        return Poll::Pending;
    };
    let n = written?;
    if n == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    state.connection.consume_output(n);
    Poll::Ready(Ok(n))
}

/// Milliseconds that a deadline moves into the future before the timer follows it.
const ALARM_SLACK: u64 = 10_000;

/// One timer for the whole link. Deadlines mostly move into the future, with every packet; the timer is left alone then and looks
/// again when it fires, unless they move far.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` is set to, in milliseconds from the start; `None` when it has fired.
    armed: Option<u64>,
    started: Instant,
}

impl Alarm {
    fn new(started: std::time::Instant) -> Self {
        let started = Instant::from_std(started);
        Alarm { sleep: Box::pin(sleep_until(started)), armed: None, started }
    }

    /// Whether `deadline` has come.
    fn is_due(&mut self, deadline: Option<u64>, context: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return false };
        loop {
            if self.armed.is_none_or(|at| deadline < at || deadline > at + ALARM_SLACK) {
                let at = self.started + Duration::from_millis(deadline);
                // A new one: to set a timer to a later time leaves it in the wheel at the earlier one.
                self.sleep.set(sleep_until(wheel::set(at.into_std()).into()));
                self.armed = Some(deadline);
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                return false;
            }
            if self.armed.take().is_some_and(|at| at >= deadline) {
                return true;
            }
        }
    }
}
