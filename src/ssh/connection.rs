//! One connection to a relay: bytes and time in, bytes and events out.

use super::auth::{Credentials, ServerSigAlgs, USERAUTH_SERVICE};
use super::error::{Error, PeerText, Stage, malformed};
use super::msg::{
    self, CHANNEL_DATA_HEADER, ChannelClose, ChannelData, ChannelEof, ChannelExtendedData, ChannelOpen, ChannelRequest,
    ChannelWindowAdjust, Class, Disconnect, ExtInfo, GlobalRequest, Message, RequestFailure, RequestSuccess, Rest,
    ServiceAccept, ServiceRequest, Unimplemented, UserauthBanner, UserauthFailure, UserauthSuccess,
};
use super::mux::{ChannelId, Mux, Read, Ready, Room};
use super::negotiate::Trust;
use super::packet::Input;
use super::transport::Transport;
use super::wire::{Reader, Sink};
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

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server's identification is awaited.
    Identification,
    /// The first key exchange.
    Keys,
    /// SERVICE_REQUEST is due (`false`) or sent.
    Service(bool),
    /// USERAUTH_REQUEST is due (`false`) or sent.
    Userauth(bool),
    /// The connection protocol.
    Open,
}

impl Phase {
    fn stage(self) -> Stage {
        match self {
            Phase::Identification => Stage::Identification,
            Phase::Keys => Stage::KeyExchange,
            Phase::Service(_) | Phase::Userauth(_) => Stage::Authentication,
            Phase::Open => Stage::Open,
        }
    }
}

/// A global request of ours whose answer is awaited (RFC 4254 section 4: answers come in order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Forward,
    Keepalive,
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

/// Everything but the input buffer, so that a payload can be handled where it lies.
struct Core {
    transport: Transport,
    config: Config,
    phase: Phase,
    mux: Mux,
    sig_algs: ServerSigAlgs,
    banner: Option<PeerText>,
    /// Event::Authenticated is due.
    authenticated: bool,
    /// Event::Forwarding is due.
    forwarding: Option<u16>,
    /// The server listens for this side.
    forward_granted: bool,
    forward_due: bool,
    keepalive_due: bool,
    asked: heapless::Deque<Asked, { limits::GLOBAL_REQUESTS_MAX }>,
    unimplemented: heapless::Deque<u32, { limits::UNIMPLEMENTED_MAX }>,
    failures_owed: u16,
    failed: Option<Error>,
    /// The time at the last input.
    now: u64,
    /// Time of the last packet received.
    heard: u64,
    /// When the answer to a keepalive is overdue.
    answer_deadline: Option<u64>,
    /// When the handshake, or a key exchange that is going on, is overdue.
    exchange_deadline: Option<u64>,
    /// When the keys are due for a change.
    rekey_at: u64,
    /// When ring buffers are looked after, while there are any.
    sweep_at: Option<u64>,
}

impl Connection {
    /// A connection whose first output is due at once.
    pub fn new(config: Config, now: Now) -> Result<Self, Error> {
        let transport = Transport::new(config.trust.clone(), SystemRandom::new())?;
        let mut connection = Self::with(transport, Phase::Identification, config, now);
        connection.core.exchange_deadline = Some(now.ms + limits::HANDSHAKE_MS);
        connection.core.pump();
        Ok(connection)
    }

    /// A connection that is authenticated and does not encrypt: for packets written by hand or by a fuzzer.
    #[cfg(any(test, fuzzing))]
    pub fn open_plain(config: Config, now: Now) -> Result<Self, Error> {
        Ok(Self::with(Transport::open_plain(config.trust.clone())?, Phase::Open, config, now))
    }

    fn with(transport: Transport, phase: Phase, config: Config, now: Now) -> Self {
        let core = Core {
            transport,
            phase,
            mux: Mux::new(config.channels_max),
            sig_algs: ServerSigAlgs::Unknown,
            banner: None,
            authenticated: false,
            forwarding: None,
            forward_granted: false,
            forward_due: config.forward.is_some(),
            keepalive_due: false,
            asked: heapless::Deque::new(),
            unimplemented: heapless::Deque::new(),
            failures_owed: 0,
            failed: None,
            now: now.ms,
            heard: now.ms,
            answer_deadline: None,
            exchange_deadline: None,
            rekey_at: u64::MAX,
            sweep_at: None,
            config,
        };
        Connection { input: Input::new(), core }
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
        self.core.transport.output.consume(n);
        self.core.pump();
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

    /// Sends EOF.
    pub fn channel_shutdown(&mut self, id: ChannelId) {
        self.core.mux.shutdown(id);
    }

    /// Closes a channel whose user is gone.
    pub fn channel_release(&mut self, id: ChannelId) {
        self.core.mux.release(id);
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

impl Core {
    fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Remembers an error and tells the server.
    fn settle(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Ok(()) => {
                self.pump();
                self.check()
            }
            Err(error) => {
                if self.failed.is_none() {
                    self.fail(error.clone());
                }
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: Error) {
        if let Some(reason) = error.disconnect_reason() {
            let mut strings = Vec::new();
            strings.string(error.to_string().as_bytes());
            strings.string(b"");
            let message = Disconnect { reason, description_and_language: Rest(&strings) };
            // Without room for it the server learns from the end of the connection.
            let _sent = self.transport.output.packet(|writer| message.encode(writer));
        }
        self.failed = Some(error);
    }

    fn accepts_input(&self) -> bool {
        self.mux.accepts_input() && !self.unimplemented.is_full() && self.failures_owed < limits::FAILURES_OWED_MAX
    }

    /// Handles one payload.
    fn handle(&mut self, payload: &[u8], sequence: u32, now: Now) -> Result<(), Error> {
        self.heard = now.ms;
        self.answer_deadline = None;
        let number = payload.first().copied().unwrap_or_default();
        if matches!(number, 30..=49) && self.transport.swallows_guess() {
            return Ok(());
        }
        let class = msg::class(number);
        if class != Some(Class::Kex) {
            if number != msg::DISCONNECT && self.transport.forbids_generic() {
                return Err(Error::StrictKex(number));
            }
            if class != Some(Class::Generic) && !self.transport.may_receive() {
                return Err(Error::OutOfPhase(number, "during a key exchange"));
            }
        }
        match class {
            Some(Class::Kex) => self.transport.handle(payload, sequence, now.unix),
            Some(Class::Generic) => self.handle_generic(number, payload),
            Some(Class::Service) => self.handle_service(number, payload),
            Some(Class::Auth) => self.handle_auth(number, payload, now),
            Some(Class::Connection) if self.phase == Phase::Open => self.handle_connection(number, payload),
            Some(Class::Connection) => Err(Error::OutOfPhase(number, "before authentication")),
            // RFC 4253 section 11.4. Room was made sure of by `accepts_input`.
            None => self.unimplemented.push_back(sequence).map_err(|_| Error::TooManyRequests),
        }
    }

    fn handle_generic(&mut self, number: u8, payload: &[u8]) -> Result<(), Error> {
        match number {
            msg::DISCONNECT => {
                let message = Disconnect::parse(payload).map_err(malformed(number))?;
                Err(Error::Disconnected(message.reason, PeerText::new(msg::disconnect_text(&message))))
            }
            // IGNORE and DEBUG are for nobody; UNIMPLEMENTED can only answer a keepalive or a global request, as proof of life.
            _ => Ok(()),
        }
    }

    fn handle_service(&mut self, number: u8, payload: &[u8]) -> Result<(), Error> {
        match (number, self.phase) {
            (msg::EXT_INFO, Phase::Keys | Phase::Service(_) | Phase::Userauth(_)) => {
                let message = ExtInfo::parse(payload).map_err(malformed(number))?;
                let found = ServerSigAlgs::read(message.count, message.pairs.0).ok_or(Error::Malformed(number))?;
                if let Some(found) = found {
                    self.sig_algs = found;
                }
                Ok(())
            }
            (msg::SERVICE_ACCEPT, Phase::Service(true)) => {
                let accept = ServiceAccept::parse(payload).map_err(malformed(number))?;
                if accept.service != USERAUTH_SERVICE {
                    return Err(Error::OutOfPhase(number, "for another service"));
                }
                self.phase = Phase::Userauth(false);
                Ok(())
            }
            _ => Err(Error::OutOfPhase(number, self.phase.stage().name())),
        }
    }

    fn handle_auth(&mut self, number: u8, payload: &[u8], now: Now) -> Result<(), Error> {
        match (number, self.phase) {
            (msg::USERAUTH_BANNER, Phase::Userauth(_)) => {
                let banner = UserauthBanner::parse(payload).map_err(malformed(number))?;
                self.banner = Some(PeerText::new(banner.message));
                Ok(())
            }
            (msg::USERAUTH_FAILURE, Phase::Userauth(true)) => {
                let failure = UserauthFailure::parse(payload).map_err(malformed(number))?;
                Err(Error::UserRefused(PeerText::new(failure.can_continue.0.as_bytes())))
            }
            (msg::USERAUTH_SUCCESS, Phase::Userauth(true)) => {
                UserauthSuccess::parse(payload).map_err(malformed(number))?;
                self.phase = Phase::Open;
                self.authenticated = true;
                self.exchange_deadline = None;
                self.rekey_at = now.ms + limits::REKEY_MS;
                Ok(())
            }
            _ => Err(Error::OutOfPhase(number, self.phase.stage().name())),
        }
    }

    fn handle_connection(&mut self, number: u8, payload: &[u8]) -> Result<(), Error> {
        let malformed = malformed(number);
        match number {
            msg::CHANNEL_DATA => {
                let message = ChannelData::parse(payload).map_err(malformed)?;
                self.mux.data(message.recipient, message.data)?;
                if self.sweep_at.is_none() {
                    self.sweep_at = Some(self.heard + limits::SWEEP_MS);
                }
                Ok(())
            }
            msg::CHANNEL_WINDOW_ADJUST => {
                let message = ChannelWindowAdjust::parse(payload).map_err(malformed)?;
                self.mux.window_adjust(message.recipient, message.bytes)
            }
            msg::CHANNEL_EXTENDED_DATA => {
                let message = ChannelExtendedData::parse(payload).map_err(malformed)?;
                self.mux.extended_data(message.recipient, message.data)
            }
            msg::CHANNEL_EOF => self.mux.eof(ChannelEof::parse(payload).map_err(malformed)?.recipient),
            msg::CHANNEL_CLOSE => self.mux.close(ChannelClose::parse(payload).map_err(malformed)?.recipient),
            msg::CHANNEL_REQUEST => {
                let message = ChannelRequest::parse(payload).map_err(malformed)?;
                self.mux.request(message.recipient, message.want_reply)
            }
            msg::CHANNEL_OPEN => self.mux.open(&ChannelOpen::parse(payload).map_err(malformed)?, self.forward_granted),
            msg::GLOBAL_REQUEST => {
                // None is supported; RFC 4254 section 4 asks for a failure where a reply is wanted.
                if GlobalRequest::parse(payload).map_err(malformed)?.want_reply {
                    self.failures_owed += 1;
                }
                Ok(())
            }
            msg::REQUEST_SUCCESS => {
                let message = RequestSuccess::parse(payload).map_err(malformed)?;
                self.answered(Some(message.specific.0))
            }
            msg::REQUEST_FAILURE => {
                RequestFailure::parse(payload).map_err(malformed)?;
                self.answered(None)
            }
            // Answers to channel opens and channel requests: this side makes neither.
            _ => Err(Error::OutOfPhase(number, "as an answer to nothing")),
        }
    }

    fn answered(&mut self, success: Option<&[u8]>) -> Result<(), Error> {
        match (self.asked.pop_front(), success) {
            (None, _) => Err(Error::UnexpectedReply),
            (Some(Asked::Keepalive), _) => Ok(()),
            (Some(Asked::Forward), None) => Err(Error::ForwardRefused),
            (Some(Asked::Forward), Some(specific)) => {
                let requested = self.config.forward.as_ref().map_or(0, |(_, port)| *port);
                let port = match requested {
                    // RFC 4254 section 7.1: the port is told only when the server chose it.
                    0 => Reader::new(specific)
                        .uint32()
                        .ok()
                        .and_then(|port| u16::try_from(port).ok())
                        .ok_or(Error::Malformed(msg::REQUEST_SUCCESS))?,
                    port => port,
                };
                self.forward_granted = true;
                self.forwarding = Some(port);
                Ok(())
            }
        }
    }

    /// Goes on when a key exchange has ended, and watches over one that goes on.
    fn after_exchange(&mut self) {
        if self.transport.is_exchanging() {
            if self.exchange_deadline.is_none() {
                self.exchange_deadline = Some(self.now + limits::HANDSHAKE_MS); // the server began
            }
        } else if self.phase == Phase::Keys {
            self.phase = Phase::Service(false);
        } else if self.phase == Phase::Open && self.exchange_deadline.take().is_some() {
            self.rekey_at = self.now + limits::REKEY_MS;
        }
    }

    fn rekey_when_due(&mut self, received: (u32, u64), now: Now) -> Result<(), Error> {
        let sent = self.transport.output.used();
        let due = |(packets, bytes): (u32, u64)| packets >= limits::REKEY_PACKETS || bytes >= self.config.rekey_bytes;
        if self.phase == Phase::Open
            && (due(sent) || due(received) || now.ms >= self.rekey_at)
            && self.transport.rekey()?
        {
            self.exchange_deadline = Some(now.ms + limits::HANDSHAKE_MS);
        }
        Ok(())
    }

    fn next_timeout(&self) -> Option<u64> {
        if self.failed.is_some() {
            return None;
        }
        let keepalive =
            (self.phase == Phase::Open).then(|| self.answer_deadline.unwrap_or(self.heard + self.config.keepalive_ms));
        let rekey = (self.phase == Phase::Open && !self.transport.is_exchanging()).then_some(self.rekey_at);
        [keepalive, rekey, self.exchange_deadline, self.sweep_at].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Now) -> Result<(), Error> {
        self.now = now.ms;
        if self.exchange_deadline.is_some_and(|deadline| now.ms >= deadline) {
            return Err(Error::HandshakeTimeout);
        }
        if self.phase == Phase::Open {
            match self.answer_deadline {
                Some(deadline) if now.ms >= deadline => return Err(Error::KeepaliveTimeout),
                None if now.ms >= self.heard + self.config.keepalive_ms => {
                    self.keepalive_due = true;
                    self.answer_deadline = Some(now.ms + self.config.keepalive_answer_ms);
                }
                _ => {}
            }
            self.rekey_when_due((0, 0), now)?;
        }
        if self.sweep_at.is_some_and(|at| now.ms >= at) {
            self.sweep_at = self.mux.sweep().then_some(now.ms + limits::SWEEP_MS);
        }
        Ok(())
    }

    /// Writes everything that is due and fits.
    fn pump(&mut self) {
        if self.failed.is_some() {
            return;
        }
        self.transport.pump();
        self.after_exchange();
        while self.transport.may_send() && self.pump_one() {}
    }

    /// Writes one message that is due, most urgent first. Whether it did.
    fn pump_one(&mut self) -> bool {
        let output = &mut self.transport.output;
        if output.payload_room() < limits::CONTROL_MESSAGE_MAX {
            return false;
        }
        if let Some(sequence_number) = self.unimplemented.front().copied() {
            let sent = output.packet(|writer| Unimplemented { sequence_number }.encode(writer));
            if sent {
                self.unimplemented.pop_front();
            }
            return sent;
        }
        match self.phase {
            Phase::Identification | Phase::Keys => false,
            Phase::Service(sent) => {
                let request = ServiceRequest { service: USERAUTH_SERVICE };
                if sent || !output.packet(|writer| request.encode(writer)) {
                    return false;
                }
                self.phase = Phase::Service(true);
                true
            }
            Phase::Userauth(sent) => !sent && self.authenticate(),
            Phase::Open => self.pump_open(),
        }
    }

    fn authenticate(&mut self) -> bool {
        let Some(session_id) = self.transport.session_id() else { return false };
        let credentials = &self.config.credentials;
        let request = credentials
            .choose(&self.sig_algs)
            .and_then(|algorithm| credentials.request(algorithm, session_id.as_ref()).ok_or(Error::Signing));
        match request {
            Ok(request) => {
                // The largest certificate fits an empty buffer, and nothing else is sent at this time.
                if self.transport.output.packet(|writer| writer.put(&request)) {
                    self.phase = Phase::Userauth(true);
                    return true;
                }
                false
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    fn pump_open(&mut self) -> bool {
        let output = &mut self.transport.output;
        if self.failures_owed > 0 {
            let sent = output.packet(|writer| RequestFailure {}.encode(writer));
            self.failures_owed -= u16::from(sent);
            return sent;
        }
        if self.forward_due {
            let Some((address, port)) = &self.config.forward else { return false };
            let mut specific = Vec::new();
            specific.string(address.as_bytes());
            specific.uint32(u32::from(*port));
            let sent = output.packet(|writer| {
                GlobalRequest { name: b"tcpip-forward", want_reply: true, specific: Rest(&specific) }.encode(writer);
            });
            self.forward_due = !sent;
            return sent && self.asked.push_back(Asked::Forward).is_ok();
        }
        if self.keepalive_due {
            self.keepalive_due = false;
            // With earlier ones unanswered there is nothing to gain from one more.
            return !self.asked.is_full()
                && output.packet(|writer| {
                    GlobalRequest { name: b"keepalive@openssh.com", want_reply: true, specific: Rest(b"") }
                        .encode(writer);
                })
                && self.asked.push_back(Asked::Keepalive).is_ok();
        }
        match self.mux.poll_control() {
            Some(control) => output.packet(|writer| control.encode(writer)),
            None => false,
        }
    }

    /// The most channel data that a packet written now could carry.
    fn data_room(&self) -> usize {
        if !self.transport.may_send() {
            return 0;
        }
        self.transport.output.payload_room().saturating_sub(CHANNEL_DATA_HEADER + limits::CONTROL_RESERVE)
    }

    fn write(&mut self, id: ChannelId, data: &[u8]) -> Write {
        if !self.mux.is_confirmed(id) {
            self.pump();
        }
        match self.mux.room(id) {
            Room::Closed => Write::Closed,
            Room::Blocked => Write::Blocked,
            Room::Bytes { .. } if data.is_empty() => Write::Taken(0),
            Room::Bytes { recipient, most } => {
                let data = data.get(..most).unwrap_or(data);
                // All or nothing: a small rest of the buffer would only make small packets.
                if !self.mux.is_confirmed(id) || self.data_room() < data.len() {
                    self.mux.starve(id);
                    return Write::Blocked;
                }
                if !self.transport.output.packet(|writer| ChannelData { recipient, data }.encode(writer)) {
                    return Write::Blocked;
                }
                self.mux.sent(id, data.len());
                Write::Taken(data.len())
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        if let Some(banner) = self.banner.take() {
            return Some(Event::Banner(banner));
        }
        if core::mem::take(&mut self.authenticated) {
            return Some(Event::Authenticated);
        }
        if let Some(port) = self.forwarding.take() {
            return Some(Event::Forwarding(port));
        }
        self.mux.poll_ready().map(|(id, ready)| Event::Channel(id, ready))
    }
}
