//! Drives one SSH connection to a relay over TCP, and gives each channel that the relay opens to the layers above as a byte stream.
//!
//! One task owns the socket. Channels share the engine with it behind a lock that is never held across an await; nothing is
//! allocated for a packet.

mod channel;
mod dial;
mod driver;
mod proxy;

pub use channel::Channel;
pub use dial::{DialError, dial};

use crate::ssh::connection::{Config, Connection, Event, Now};
use crate::ssh::error::{Error, Fault};
use crate::ssh::mux::ChannelId;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Tells the wall clock in seconds since 1970. It is given from outside because small boxes start without a clock.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why a link ended.
#[derive(Clone, Debug)]
pub enum LinkError {
    /// The engine says so.
    Ssh(Error),
    /// The socket failed.
    Io(Arc<io::Error>),
}

impl LinkError {
    /// Who must do something.
    pub fn fault(&self) -> Fault {
        match self {
            LinkError::Ssh(error) => error.fault(),
            LinkError::Io(_) => Fault::Link,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Ssh(error) => error.fmt(f),
            LinkError::Io(error) => write!(f, "the connection was lost: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        LinkError::Ssh(error)
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        LinkError::Io(Arc::new(error))
    }
}

/// A link to a relay. Dropping it says goodbye to the relay and ends every channel.
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Speaks SSH on `stream` until the relay has accepted the user, and listens if [`Config::forward`] asks for it. The engine's
    /// handshake deadline applies.
    pub async fn establish(stream: TcpStream, config: Config, clock: WallClock) -> Result<Link, LinkError> {
        let shared = Arc::new(Shared::new(config, clock)?);
        let link = Link { shared: shared.clone() };
        tokio::spawn(driver::Driver::new(shared, stream).run());
        poll_fn(|context| link.shared.lock().poll_established(context)).await?;
        Ok(link)
    }

    /// The next channel that the relay opens, or why the link ended.
    pub async fn accept(&self) -> Result<Channel, LinkError> {
        let id = poll_fn(|context| self.shared.lock().poll_accept(context)).await?;
        Ok(Channel::new(id, self.shared.clone()))
    }

    /// The port that the server listens on for this side, once it does.
    pub fn forwarded_port(&self) -> Option<u16> {
        self.shared.lock().forwarded_port
    }

    /// Asks for new keys.
    pub fn rekey(&self) -> Result<(), LinkError> {
        let mut state = self.shared.lock();
        let now = self.shared.now();
        state.connection.rekey(now)?;
        state.wake_driver();
        Ok(())
    }

    /// Asks for a sign of life, within `answer`: the network below may have changed.
    pub fn probe(&self, answer: Duration) {
        let mut state = self.shared.lock();
        let now = self.shared.now();
        state.connection.probe(u64::try_from(answer.as_millis()).unwrap_or(u64::MAX), now);
        state.wake_driver();
    }

    /// Channels in use.
    pub fn channels(&self) -> usize {
        self.shared.lock().connection.channels()
    }

    /// Says goodbye and waits until the relay has been told, or until it takes too long.
    pub async fn disconnect(&self) -> LinkError {
        self.shared.goodbye();
        self.closed().await
    }

    /// Waits for the end of the link.
    pub async fn closed(&self) -> LinkError {
        poll_fn(|context| self.shared.lock().poll_closed(context)).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.goodbye();
    }
}

/// What the driver and the channels have in common.
struct Shared {
    state: Mutex<State>,
    clock: WallClock,
    started: Instant,
}

struct State {
    connection: Connection,
    /// The end of the link, once the driver has seen it.
    ended: Option<LinkError>,
    established: bool,
    forward_wanted: bool,
    forwarded_port: Option<u16>,
    /// Channels that wait for [`Link::accept`]: at most as many as may be open.
    opened: VecDeque<ChannelId>,
    driver: Option<Waker>,
    link: Wakers,
    /// By the number of the channel.
    channels: Vec<Wakers>,
}

/// Who waits: a reader and a writer of a channel, or `accept` (reader) and `closed` (writer) of the link.
#[derive(Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wakers {
    fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Keeps the waker that is there if it wakes the same task.
fn remember(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

impl Shared {
    fn new(config: Config, clock: WallClock) -> Result<Self, Error> {
        let forward_wanted = config.forward.is_some();
        let started = Instant::now();
        let connection = Connection::new(config, Now { ms: 0, unix: clock() })?;
        let state = State {
            connection,
            ended: None,
            established: false,
            forward_wanted,
            forwarded_port: None,
            opened: VecDeque::new(),
            driver: None,
            link: Wakers::default(),
            channels: Vec::new(),
        };
        Ok(Shared { state: Mutex::new(state), clock, started })
    }

    /// A panic elsewhere leaves nothing half done that matters here, so a poisoned lock is used on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { ms, unix: (self.clock)() }
    }

    fn goodbye(&self) {
        let mut state = self.lock();
        state.connection.disconnect();
        state.wake_driver();
    }
}

impl State {
    fn wake_driver(&mut self) {
        if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// Wakes the driver if there is something to send.
    fn flush(&mut self) {
        if !self.connection.output().is_empty() {
            self.wake_driver();
        }
    }

    fn waiting(&mut self, id: ChannelId) -> Option<&mut Wakers> {
        let index = usize::from(id.0);
        if self.channels.len() <= index {
            self.channels.resize_with(index + 1, Wakers::default);
        }
        self.channels.get_mut(index)
    }

    /// Passes the engine's news on to those who wait for it.
    fn dispatch_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Banner(text) => log::info!("relay says: {text}"),
                Event::Authenticated => {
                    self.established = !self.forward_wanted;
                    wake(&mut self.link.reader);
                }
                Event::Forwarding(port) => {
                    self.forwarded_port = Some(port);
                    self.established = true;
                    wake(&mut self.link.reader);
                }
                Event::Channel(id, ready) => {
                    if ready.opened {
                        self.opened.push_back(id);
                        wake(&mut self.link.reader);
                    }
                    if let Some(wakers) = self.waiting(id) {
                        if ready.readable {
                            wake(&mut wakers.reader);
                        }
                        if ready.writable {
                            wake(&mut wakers.writer);
                        }
                    }
                }
            }
        }
    }

    /// Lets writers that wait for room in the output buffer try again: one for each packet that fits.
    fn feed_starved(&mut self) {
        if let Some(id) = self.connection.poll_starved()
            && let Some(wakers) = self.waiting(id)
        {
            wake(&mut wakers.writer);
        }
    }

    fn end(&mut self, error: LinkError) {
        self.ended.get_or_insert(error);
        // Nobody will accept these any more.
        while let Some(id) = self.opened.pop_front() {
            self.connection.channel_release(id);
        }
        self.connection.end();
        self.driver = None;
        self.link.wake_all();
        for wakers in &mut self.channels {
            wakers.wake_all();
        }
    }

    fn poll_established(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        match &self.ended {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if self.established => Poll::Ready(Ok(())),
            None => {
                remember(&mut self.link.reader, context);
                Poll::Pending
            }
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<ChannelId, LinkError>> {
        match (&self.ended, self.opened.pop_front()) {
            (Some(error), _) => Poll::Ready(Err(error.clone())),
            (None, Some(id)) => Poll::Ready(Ok(id)),
            (None, None) => {
                remember(&mut self.link.reader, context);
                Poll::Pending
            }
        }
    }

    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<LinkError> {
        match &self.ended {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                remember(&mut self.link.writer, context);
                Poll::Pending
            }
        }
    }
}
