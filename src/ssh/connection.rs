//! One connection to a relay: bytes and time in, bytes and events out.

mod state;

use self::state::{Core, Phase};
use super::auth::Credentials;
use super::error::{Error, PeerText};
use super::mux::{ChannelId, Read, Ready};
use super::negotiate::Trust;
use super::packet::Input;
use super::transport::Transport;
use crate::budget::Budget;
use crate::limits::ssh as limits;
use ring::rand::SystemRandom;
use std::sync::Arc;

/// What a connection needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom to believe.
    pub trust: Trust,
    /// Who this side is.
    pub credentials: Arc<Credentials>,
    /// Ask the server to listen on this address and port (`tcpip-forward`, RFC 4254 section 7.1): for a plain OpenSSH relay.
    pub forward: Option<(String, u16)>,
    /// Most channels at once, at most [`limits::CHANNELS_MAX`].
    pub channels_max: usize,
    /// What the windows of the channels come out of; links of one process share it.
    pub budget: Arc<Budget>,
    /// New keys after this many bytes in either direction.
    pub rekey_bytes: u64,
    /// Silence after which a sign of life is asked for, in milliseconds.
    pub keepalive_ms: u64,
    /// How long to wait for it, in milliseconds.
    pub keepalive_answer_ms: u64,
}

impl Config {
    /// The usual limits.
    pub fn new(trust: Trust, credentials: Arc<Credentials>) -> Self {
        Config {
            trust,
            credentials,
            forward: None,
            channels_max: limits::CHANNELS_MAX,
            budget: Arc::default(),
            rekey_bytes: limits::REKEY_BYTES,
            keepalive_ms: limits::KEEPALIVE_MS,
            keepalive_answer_ms: limits::KEEPALIVE_ANSWER_MS,
        }
    }
}

/// The time, from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes back, in milliseconds from any start.
    pub ms: u64,
    /// The wall clock, in seconds since 1970: what certificates are checked against.
    pub unix: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server's banner (RFC 4252 section 5.4), fit for a log.
    Banner(PeerText),
    /// The server accepted the user.
    Authenticated,
    /// The server listens on this port (RFC 4254 section 7.1).
    Forwarding(u16),
    /// A channel has news.
    Channel(ChannelId, Ready),
}

/// The result of [`Connection::channel_write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// So many bytes were taken.
    Taken(usize),
    /// None: the window or the output buffer is full. [`Ready::writable`] will tell.
    Blocked,
    /// The channel is closed, or this side has sent EOF.
    Closed,
}

/// The client's side of one SSH connection.
///
/// Four kinds of methods: `handle_*` take input; commands (`channel_*`, [`Connection::rekey`], [`Connection::disconnect`]) change
/// state; `poll_*` give output and are called until they have nothing left; the rest only look. After an error only
/// [`Connection::output`] is of use: it may hold an SSH_MSG_DISCONNECT for the server.
pub struct Connection {
    input: Input,
    core: Core,
}

impl Connection {
    /// A connection whose first output is due at once.
    pub fn new(config: Config, now: Now) -> Result<Self, Error> {
        let transport = Transport::new(config.trust.clone(), SystemRandom::new())?;
        let mut core = Core::new(transport, Phase::Identification, config, now);
        core.exchange_deadline = Some(now.ms + limits::HANDSHAKE_MS);
        core.pump();
        Ok(Connection { input: Input::new(), core })
    }

    /// A connection that is authenticated and does not encrypt: for packets written by hand or by a fuzzer.
    #[cfg(any(test, fuzzing))]
    pub fn open_plain(config: Config, now: Now) -> Result<Self, Error> {
        let transport = Transport::open_plain(config.trust.clone())?;
        Ok(Connection { input: Input::new(), core: Core::new(transport, Phase::Open, config, now) })
    }

    // Input.

    /// Where bytes from the socket go. Never empty while [`Connection::wants_input`] is true.
    pub fn input_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// Whether the socket should be read. It should not while the server takes no answers, or after the end.
    pub fn wants_input(&self) -> bool {
        self.core.failed.is_none() && self.core.accepts_input()
    }

    /// The first `n` bytes of [`Connection::input_space`] were filled. `n` may be 0: to go on after [`Connection::wants_input`]
    /// was false.
    pub fn handle_input(&mut self, n: usize, now: Now) -> Result<(), Error> {
        self.input.filled(n);
        let result = self.process(now);
        self.core.settle(result)
    }

    fn process(&mut self, now: Now) -> Result<(), Error> {
        self.core.check()?;
        self.core.now = now.ms;
        if self.core.phase == Phase::Identification {
            let (consumed, complete) = self.core.transport.identification(self.input.raw())?;
            self.input.consume_raw(consumed);
            if !complete {
                return Ok(());
            }
            self.core.phase = Phase::Keys;
        }
        while self.core.accepts_input() {
            let Some((sequence, payload)) = self.input.next_packet()? else { break };
            self.core.handle(payload, sequence, now)?;
            if let Some((key, reset)) = self.core.transport.take_input_key() {
                self.input.set_key(key, reset);
            }
            // Each answer is put out before the next packet can ask for another one.
            self.core.pump();
        }
        self.core.rekey_when_due(self.input.used(), now)
    }

    /// The server closed the TCP connection: the error that says when.
    pub fn handle_end(&mut self) -> Error {
        let error = self.core.failed.clone().unwrap_or(Error::LinkClosed(self.core.phase.stage()));
        self.core.failed = Some(error.clone());
        error
    }

    /// When [`Connection::handle_timeout`] must be called next, on the clock of [`Now::ms`].
    pub fn poll_timeout(&self) -> Option<u64> {
        self.core.next_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), Error> {
        let result = self.core.check().and_then(|()| self.core.handle_timeout(now));
        self.core.settle(result)
    }

    // Output.

    /// Bytes for the socket.
    pub fn output(&mut self) -> &[u8] {
        self.core.pump();
        self.core.transport.output.pending()
    }

    /// The socket took the first `n` bytes of [`Connection::output`].
    pub fn consume_output(&mut self, n: usize) {
        self.core.output_stuck = false;
        self.core.transport.output.consume(n);
        self.core.pump();
    }

    /// The socket takes nothing for now.
    pub fn output_stuck(&mut self) {
        self.core.output_stuck = true;
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.poll_event()
    }

    /// The next channel whose write was blocked by a full output buffer and that may try again, in turn. `None` when there is no
    /// room, or nobody waits for it.
    pub fn poll_starved(&mut self) -> Option<ChannelId> {
        let room = self.core.data_room();
        if room >= limits::SEND_DATA_MAX { self.core.mux.poll_starved() } else { None }
    }

    /// Whether [`Connection::poll_starved`] may have more to tell.
    pub fn is_starved(&self) -> bool {
        self.core.mux.is_starved() && self.core.data_room() >= limits::SEND_DATA_MAX
    }

    // Commands.

    /// What can be read from a channel now.
    pub fn channel_read(&mut self, id: ChannelId) -> Read<'_> {
        self.core.mux.read(id)
    }

    /// The first `n` bytes of [`Read::Data`] were taken.
    pub fn channel_consume(&mut self, id: ChannelId, n: usize) {
        self.core.mux.consume(id, n);
    }

    /// Sends as much of `data` as the window and the output buffer take, in one packet.
    pub fn channel_write(&mut self, id: ChannelId, data: &[u8]) -> Write {
        if self.core.failed.is_some() {
            return Write::Closed;
        }
        self.core.write(id, data)
    }

    /// What [`Connection::channel_write`] would say to very much data, without sending any.
    pub fn channel_capacity(&mut self, id: ChannelId) -> Write {
        if self.core.failed.is_some() {
            return Write::Closed;
        }
        self.core.capacity(id)
    }

    /// Sends EOF.
    pub fn channel_shutdown(&mut self, id: ChannelId) {
        self.core.mux.shutdown(id);
    }

    /// Closes a channel whose user is gone.
    pub fn channel_release(&mut self, id: ChannelId) {
        self.core.mux.release(id);
    }

    /// The link has ended: channels are given up without a word to the server.
    pub fn end(&mut self) {
        self.core.mux.end();
    }

    /// Starts a key exchange unless one is going on.
    pub fn rekey(&mut self, now: Now) -> Result<(), Error> {
        if self.core.transport.is_established() && self.core.transport.rekey()? {
            self.core.exchange_deadline = Some(now.ms + limits::HANDSHAKE_MS);
        }
        Ok(())
    }

    /// Asks for a sign of life now, within `answer_ms`: the network below may have changed.
    pub fn probe(&mut self, answer_ms: u64, now: Now) {
        if self.is_authenticated() {
            let deadline = now.ms + answer_ms;
            self.core.answer_deadline = Some(self.core.answer_deadline.map_or(deadline, |at| at.min(deadline)));
            self.core.keepalive_due = true;
            self.core.pump();
        }
    }

    /// Says goodbye: the rest of [`Connection::output`] is to be sent, then the socket closed.
    pub fn disconnect(&mut self) {
        if self.core.failed.is_none() {
            self.core.fail(Error::Closed);
        }
    }

    // Looks.

    /// Why the connection ended, if it did.
    pub fn error(&self) -> Option<&Error> {
        self.core.failed.as_ref()
    }

    /// Whether the user is authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.core.phase == Phase::Open
    }

    /// Channels in use.
    pub fn channels(&self) -> usize {
        self.core.mux.len()
    }
}
