//! What a connection knows, and how messages, time and commands change it.

use super::{Config, Event, Now, Write};
use crate::limits::ssh as limits;
use crate::ssh::auth::{ServerSigAlgs, USERAUTH_SERVICE};
use crate::ssh::error::{Error, PeerText, Stage, malformed};
use crate::ssh::msg::{
    self, CHANNEL_DATA_HEADER, ChannelClose, ChannelData, ChannelEof, ChannelExtendedData, ChannelOpen, ChannelRequest,
    ChannelWindowAdjust, Class, Disconnect, ExtInfo, GlobalRequest, Message, RequestFailure, RequestSuccess, Rest,
    ServiceAccept, ServiceRequest, Unimplemented, UserauthBanner, UserauthFailure, UserauthSuccess,
};
use crate::ssh::mux::{ChannelId, Mux, Room};
use crate::ssh::transport::Transport;
use crate::ssh::wire::{Reader, Sink};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub(super) fn stage(self) -> Stage {
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

/// Everything but the input buffer, so that a payload can be handled where it lies.
pub(super) struct Core {
    pub(super) transport: Transport,
    config: Config,
    pub(super) phase: Phase,
    pub(super) mux: Mux,
    sig_algs: ServerSigAlgs,
    banner: Option<PeerText>,
    /// Event::Authenticated is due.
    authenticated: bool,
    /// Event::Forwarding is due.
    forwarding: Option<u16>,
    /// The server listens for this side.
    forward_granted: bool,
    forward_due: bool,
    pub(super) keepalive_due: bool,
    /// The socket takes nothing for now.
    pub(super) output_stuck: bool,
    asked: heapless::Deque<Asked, { limits::GLOBAL_REQUESTS_MAX }>,
    unimplemented: heapless::Deque<u32, { limits::UNIMPLEMENTED_MAX }>,
    failures_owed: u16,
    pub(super) failed: Option<Error>,
    /// The time at the last input.
    pub(super) now: u64,
    /// Time of the last packet received.
    heard: u64,
    /// When the answer to a keepalive is overdue.
    pub(super) answer_deadline: Option<u64>,
    /// When the handshake, or a key exchange that is going on, is overdue.
    pub(super) exchange_deadline: Option<u64>,
    /// When the keys are due for a change.
    rekey_at: u64,
    /// When ring buffers are looked after, while there are any.
    sweep_at: Option<u64>,
}

impl Core {
    pub(super) fn new(transport: Transport, phase: Phase, config: Config, now: Now) -> Self {
        Core {
            transport,
            phase,
            mux: Mux::new(config.channels_max, config.budget.clone()),
            sig_algs: ServerSigAlgs::Unknown,
            banner: None,
            authenticated: false,
            forwarding: None,
            forward_granted: false,
            forward_due: config.forward.is_some(),
            keepalive_due: false,
            output_stuck: false,
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
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Remembers an error and tells the server.
    pub(super) fn settle(&mut self, result: Result<(), Error>) -> Result<(), Error> {
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

    pub(super) fn fail(&mut self, error: Error) {
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

    pub(super) fn accepts_input(&self) -> bool {
        self.mux.accepts_input() && !self.unimplemented.is_full() && self.failures_owed < limits::FAILURES_OWED_MAX
    }

    /// Handles one payload.
    pub(super) fn handle(&mut self, payload: &[u8], sequence: u32, now: Now) -> Result<(), Error> {
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
                self.mux.data(message.recipient, message.data, self.now)?;
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

    pub(super) fn rekey_when_due(&mut self, received: (u32, u64), now: Now) -> Result<(), Error> {
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

    pub(super) fn next_timeout(&self) -> Option<u64> {
        if self.failed.is_some() {
            return None;
        }
        let keepalive =
            (self.phase == Phase::Open).then(|| self.answer_deadline.unwrap_or(self.heard + self.config.keepalive_ms));
        let rekey = (self.phase == Phase::Open && !self.transport.is_exchanging()).then_some(self.rekey_at);
        [keepalive, rekey, self.exchange_deadline, self.sweep_at].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Now) -> Result<(), Error> {
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
    pub(super) fn pump(&mut self) {
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
        match self.mux.poll_control(self.now) {
            Some(control) => output.packet(|writer| control.encode(writer)),
            None => false,
        }
    }

    /// The most channel data that a packet written now could carry.
    pub(super) fn data_room(&self) -> usize {
        if !self.transport.may_send() {
            return 0;
        }
        let output = &self.transport.output;
        let room = output.payload_room().saturating_sub(CHANNEL_DATA_HEADER + limits::CONTROL_RESERVE);
        // While the socket takes no more, one large packet waits and not two: a small one that comes now is sent behind it.
        if self.output_stuck && !output.pending().is_empty() { room.min(limits::SMALL_DATA) } else { room }
    }

    pub(super) fn write(&mut self, id: ChannelId, data: &[u8]) -> Write {
        match self.room(id) {
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

    pub(super) fn capacity(&mut self, id: ChannelId) -> Write {
        match self.room(id) {
            Room::Closed => Write::Closed,
            Room::Blocked => Write::Blocked,
            Room::Bytes { most, .. } => {
                let room = self.data_room();
                let enough = if self.mux.is_small(id) { most.min(limits::SMALL_DATA) } else { most };
                if self.mux.is_confirmed(id) && room >= enough {
                    return Write::Taken(most.min(room));
                }
                self.mux.starve(id);
                Write::Blocked
            }
        }
    }

    fn room(&mut self, id: ChannelId) -> Room {
        if !self.mux.is_confirmed(id) {
            self.pump();
        }
        self.mux.room(id)
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
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
