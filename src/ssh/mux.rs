//! The channel multiplexer (RFC 4254 section 5): channels that the peer opens, and what is owed to them.
//!
//! What arrives changes state and never produces output; output is derived from that state when there is room for it
//! ([`Mux::poll_control`]). So the link is read no matter how slowly the peer, or a target, reads.

use super::channel_set::Set;
use super::error::Error;
use super::flow::{Receive, Send};
use super::msg::{self, ChannelOpen, ChannelOpenConfirmation, ChannelOpenFailure, Message, Rest};
use super::wire::{Reader, Sink};
use crate::budget::Budget;
use crate::limits::ssh::{
    CHANNEL_IDLE_MAX, CHANNELS_MAX, FAILURES_OWED_MAX, RECEIVE_DATA_MAX, REFUSALS_MAX, SEND_DATA_MAX, SMALL_DATA,
};
use std::sync::Arc;

/// This side's number of a channel: an index into the table. It is free again only when both sides have closed the channel, or the
/// link has ended, and [`Mux::release`] was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(pub(crate) u16);

impl ChannelId {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// RFC 4254 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OpenFailure {
    /// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED`
    AdministrativelyProhibited = 1,
    /// `SSH_OPEN_CONNECT_FAILED`
    ConnectFailed = 2,
    /// `SSH_OPEN_UNKNOWN_CHANNEL_TYPE`
    UnknownChannelType = 3,
    /// `SSH_OPEN_RESOURCE_SHORTAGE`
    ResourceShortage = 4,
}

/// A control message that is due. `recipient` is the peer's number of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of RFC 4254")]
pub enum Control {
    Confirm { recipient: u32, sender: u32, window: u32 },
    Refuse { recipient: u32, reason: OpenFailure },
    Failure { recipient: u32 },
    Adjust { recipient: u32, bytes: u32 },
    Eof { recipient: u32 },
    Close { recipient: u32 },
}

impl Control {
    /// Writes the payload: at most [`CONTROL_MESSAGE_MAX`](crate::limits::ssh::CONTROL_MESSAGE_MAX) bytes with its packet.
    pub fn encode(&self, sink: &mut impl Sink) {
        match *self {
            Control::Confirm { recipient, sender, window } => ChannelOpenConfirmation {
                recipient,
                sender,
                window,
                packet_max: RECEIVE_DATA_MAX as u32,
                specific: Rest(b""),
            }
            .encode(sink),
            Control::Refuse { recipient, reason } => {
                ChannelOpenFailure { recipient, reason: reason as u32, description: b"", language: b"" }.encode(sink);
            }
            Control::Failure { recipient } => msg::ChannelFailure { recipient }.encode(sink),
            Control::Adjust { recipient, bytes } => msg::ChannelWindowAdjust { recipient, bytes }.encode(sink),
            Control::Eof { recipient } => msg::ChannelEof { recipient }.encode(sink),
            Control::Close { recipient } => msg::ChannelClose { recipient }.encode(sink),
        }
    }
}

/// What a channel can do now that it could not before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The peer opened it.
    pub opened: bool,
    /// A read that found nothing would now find data, the end, or that the channel is closed.
    pub readable: bool,
    /// A write that was blocked can be tried again.
    pub writable: bool,
}

/// What a read finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// Data, in one piece; [`Mux::consume`] what was taken.
    Data(&'a [u8]),
    /// Nothing yet: [`Ready::readable`] will tell.
    Blocked,
    /// The peer has sent EOF or closed the channel, and everything has been read.
    End,
}

/// Whether data can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many bytes in one packet, to this channel of the peer's.
    Bytes {
        #[allow(missing_docs)]
        recipient: u32,
        #[allow(missing_docs)]
        most: usize,
    },
    /// The peer's window is used up: [`Ready::writable`] will tell.
    Blocked,
    /// The channel is closed, or this side has sent EOF.
    Closed,
}

/// A closing step of one direction.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    No,
    Due,
    Done,
}

struct Channel {
    /// The peer's number of the channel.
    remote: u32,
    receive: Receive,
    send: Send,
    failures_owed: u16,
    confirm: Step,
    eof: Step,
    close: Step,
    eof_received: bool,
    close_received: bool,
    /// Nobody on this side uses the channel any more.
    released: bool,
    read_blocked: bool,
    write_blocked: bool,
    /// The last packet was a small one, or there was none.
    small: bool,
    ready: Ready,
}

const _: () = assert!(size_of::<Channel>() + size_of::<Option<Box<Channel>>>() <= CHANNEL_IDLE_MAX / 2);

impl Channel {
    fn finished(&self) -> bool {
        self.released && self.close == Step::Done && self.close_received
    }

    /// Nobody on this side uses it, or knows of it yet.
    fn is_unused(&self) -> bool {
        self.released || self.ready.opened
    }

    fn credit_due(&self) -> bool {
        self.receive.credit_due() && self.close == Step::No && !self.eof_received
    }

    /// The message that is due first. A channel is confirmed before anything else, and closed after everything else.
    fn next_control(&mut self, sender: u32, now: u64) -> Option<Control> {
        let recipient = self.remote;
        if self.confirm == Step::Due {
            self.confirm = Step::Done;
            let window = self.receive.window() as u32; // at most WINDOW_MAX
            return Some(Control::Confirm { recipient, sender, window });
        }
        if self.close == Step::Done {
            return None;
        }
        if self.failures_owed > 0 {
            self.failures_owed -= 1;
            return Some(Control::Failure { recipient });
        }
        if self.credit_due() {
            // Nothing is left of it when the window shrinks.
            let bytes = self.receive.take_credit(now);
            if bytes > 0 {
                return Some(Control::Adjust { recipient, bytes });
            }
        }
        if self.eof == Step::Due {
            self.eof = Step::Done;
            return Some(Control::Eof { recipient });
        }
        if self.close == Step::Due {
            self.close = Step::Done;
            return Some(Control::Close { recipient });
        }
        None
    }
}

/// All channels of a connection.
///
/// Input: [`Mux::open`], [`Mux::data`] and their like. Commands: [`Mux::consume`], [`Mux::shutdown`], [`Mux::release`]. Output:
/// [`Mux::poll_control`], [`Mux::poll_ready`].
pub struct Mux {
    channels: Vec<Option<Box<Channel>>>,
    /// Most channels at once, at most [`CHANNELS_MAX`].
    limit: usize,
    open: usize,
    budget: Arc<Budget>,
    refusals: heapless::Deque<(u32, OpenFailure), REFUSALS_MAX>,
    /// Channels that a control message is due for.
    due: Set,
    /// Channels with something new to tell their user.
    ready: Set,
    /// Channels whose data did not fit into the output buffer.
    starved: Set,
    /// The link has ended: nothing is sent or received any more.
    ended: bool,
}

impl Mux {
    /// No channels, and room for `limit`, at most [`CHANNELS_MAX`], whose windows come out of `budget`.
    pub fn new(limit: usize, budget: Arc<Budget>) -> Self {
        Mux {
            channels: Vec::new(),
            limit: limit.min(CHANNELS_MAX),
            open: 0,
            budget,
            refusals: heapless::Deque::new(),
            due: Set::default(),
            ready: Set::default(),
            starved: Set::default(),
            ended: false,
        }
    }

    /// Channels in use, the ones that are being closed included.
    pub fn len(&self) -> usize {
        self.open
    }

    /// Whether no channel is in use.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether another message of the peer's can be answered. While not, the link must not be read.
    pub fn accepts_input(&self) -> bool {
        !self.refusals.is_full()
    }

    // Input: what the peer sends.

    /// CHANNEL_OPEN. `direct-tcpip` is accepted whatever its payload: the relay sends none. `forwarded-tcpip` is accepted when this
    /// side asked for it.
    pub fn open(&mut self, message: &ChannelOpen<'_>, forwarding: bool) -> Result<(), Error> {
        let refused = match message.kind {
            b"direct-tcpip" => None,
            b"forwarded-tcpip" if !forwarding => Some(OpenFailure::AdministrativelyProhibited),
            b"forwarded-tcpip" => {
                forwarded_tcpip(message.specific.0).ok_or(Error::Malformed(msg::CHANNEL_OPEN))?;
                None
            }
            _ => Some(OpenFailure::UnknownChannelType),
        };
        let admitted = match refused {
            Some(reason) => Err(reason),
            None if message.packet_max == 0 => Err(OpenFailure::ConnectFailed), // nothing could ever be sent
            None if self.open >= self.limit => Err(OpenFailure::ResourceShortage),
            None => self.budget.admit().ok_or(OpenFailure::ResourceShortage),
        };
        let share = match admitted {
            Ok(share) => share,
            Err(reason) => {
                return self.refusals.push_back((message.sender, reason)).map_err(|_| Error::TooManyRequests);
            }
        };
        let index = self.channels.iter().position(Option::is_none).unwrap_or(self.channels.len());
        let id = ChannelId(u16::try_from(index).map_err(|_| Error::Internal("channel table"))?);
        let channel = Box::new(Channel {
            remote: message.sender,
            receive: Receive::new(share),
            send: Send::new(message.window, message.packet_max),
            failures_owed: 0,
            confirm: Step::Due,
            eof: Step::No,
            close: Step::No,
            eof_received: false,
            close_received: false,
            released: false,
            read_blocked: false,
            write_blocked: false,
            small: true,
            ready: Ready { opened: true, ..Ready::default() },
        });
        match self.channels.get_mut(index) {
            Some(slot) => *slot = Some(channel),
            None => self.channels.push(Some(channel)),
        }
        self.open += 1;
        self.due.insert(id);
        self.ready.insert(id);
        Ok(())
    }

    /// CHANNEL_DATA.
    pub fn data(&mut self, recipient: u32, data: &[u8], now: u64) -> Result<(), Error> {
        let (id, channel) = self.receiving(recipient, msg::CHANNEL_DATA)?;
        channel.receive.data(recipient, data, now)?;
        self.wake_reader(id);
        Ok(())
    }

    /// CHANNEL_EXTENDED_DATA: nothing on this side has a use for it. It counts against the window and is given back.
    pub fn extended_data(&mut self, recipient: u32, data: &[u8]) -> Result<(), Error> {
        let (id, channel) = self.receiving(recipient, msg::CHANNEL_EXTENDED_DATA)?;
        channel.receive.skip(recipient, data.len())?;
        self.due.insert(id);
        Ok(())
    }

    /// CHANNEL_WINDOW_ADJUST.
    pub fn window_adjust(&mut self, recipient: u32, bytes: u32) -> Result<(), Error> {
        let (id, channel) = self.known(recipient, msg::CHANNEL_WINDOW_ADJUST)?;
        channel.send.adjust(recipient, bytes)?;
        if bytes > 0 {
            self.wake_writer(id);
        }
        Ok(())
    }

    /// CHANNEL_EOF.
    pub fn eof(&mut self, recipient: u32) -> Result<(), Error> {
        let (id, channel) = self.receiving(recipient, msg::CHANNEL_EOF)?;
        channel.eof_received = true;
        self.wake_reader(id);
        Ok(())
    }

    /// CHANNEL_CLOSE: answered in kind.
    pub fn close(&mut self, recipient: u32) -> Result<(), Error> {
        let (id, channel) = self.known(recipient, msg::CHANNEL_CLOSE)?;
        channel.close_received = true;
        if channel.close == Step::No {
            channel.close = Step::Due;
            channel.eof = Step::Done;
        }
        self.due.insert(id);
        self.wake_reader(id);
        self.wake_writer(id);
        self.free_if_finished(id);
        Ok(())
    }

    /// CHANNEL_REQUEST: none is supported, so each that wants a reply gets a failure.
    pub fn request(&mut self, recipient: u32, want_reply: bool) -> Result<(), Error> {
        let (id, channel) = self.known(recipient, msg::CHANNEL_REQUEST)?;
        if want_reply {
            if channel.failures_owed >= FAILURES_OWED_MAX {
                return Err(Error::TooManyRequests);
            }
            channel.failures_owed += 1;
            self.due.insert(id);
        }
        Ok(())
    }

    /// The channel with this number, if the peer may still send on it.
    fn known(&mut self, recipient: u32, message: u8) -> Result<(ChannelId, &mut Channel), Error> {
        let unknown = Error::UnknownChannel(message, recipient);
        let Ok(index) = u16::try_from(recipient) else { return Err(unknown) };
        match self.channels.get_mut(usize::from(index)) {
            Some(Some(channel)) if !channel.close_received => Ok((ChannelId(index), channel)),
            _ => Err(unknown),
        }
    }

    /// The channel with this number, if the peer may still send data on it.
    fn receiving(&mut self, recipient: u32, message: u8) -> Result<(ChannelId, &mut Channel), Error> {
        let (id, channel) = self.known(recipient, message)?;
        if channel.eof_received { Err(Error::DataAfterEof(recipient)) } else { Ok((id, channel)) }
    }

    fn wake_reader(&mut self, id: ChannelId) {
        if let Some(channel) = self.get_mut(id)
            && core::mem::take(&mut channel.read_blocked)
        {
            channel.ready.readable = true;
            self.ready.insert(id);
        }
    }

    fn wake_writer(&mut self, id: ChannelId) {
        if let Some(channel) = self.get_mut(id)
            && core::mem::take(&mut channel.write_blocked)
        {
            channel.ready.writable = true;
            self.ready.insert(id);
        }
    }

    /// The link has ended. No close will be answered: what is not used is free, and its share of the budget with it.
    pub fn end(&mut self) {
        self.ended = true;
        for index in 0..self.channels.len() {
            self.free_if_finished(ChannelId(index as u16)); // the table is no longer than CHANNELS_MAX
        }
    }

    fn free_if_finished(&mut self, id: ChannelId) {
        let ended = self.ended;
        if self.get_mut(id).is_some_and(|channel| channel.finished() || (ended && channel.is_unused())) {
            if let Some(slot) = self.channels.get_mut(id.index()) {
                *slot = None;
            }
            self.open -= 1;
            self.due.remove(id);
            self.ready.remove(id);
            self.starved.remove(id);
        }
    }

    fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.index()).and_then(Option::as_deref_mut)
    }

    // Commands: what the user of a channel does.

    /// What can be read now.
    pub fn read(&mut self, id: ChannelId) -> Read<'_> {
        let Some(channel) = self.get_mut(id) else { return Read::End };
        if channel.receive.front().is_empty() {
            if channel.eof_received || channel.close_received || channel.released {
                return Read::End;
            }
            channel.read_blocked = true;
            return Read::Blocked;
        }
        Read::Data(channel.receive.front())
    }

    /// The first `n` bytes of [`Read::Data`] have been taken: they become credit for the peer.
    pub fn consume(&mut self, id: ChannelId, n: usize) {
        if let Some(channel) = self.get_mut(id) {
            channel.receive.consume(n.min(channel.receive.front().len()));
            if channel.credit_due() {
                self.due.insert(id);
            }
        }
    }

    /// How much may be sent now. Until the channel is confirmed: nothing.
    pub fn room(&mut self, id: ChannelId) -> Room {
        let Some(channel) = self.get_mut(id) else { return Room::Closed };
        if channel.eof != Step::No || channel.close != Step::No {
            return Room::Closed;
        }
        match channel.send.room() {
            0 => {
                channel.write_blocked = true;
                Room::Blocked
            }
            most => Room::Bytes { recipient: channel.remote, most: most.min(SEND_DATA_MAX) },
        }
    }

    /// Whether the channel's packets are small: then room for a small one is enough to go on.
    pub fn is_small(&mut self, id: ChannelId) -> bool {
        self.get_mut(id).is_some_and(|channel| channel.small)
    }

    /// Whether the peer has been told that the channel is open.
    pub fn is_confirmed(&mut self, id: ChannelId) -> bool {
        self.get_mut(id).is_none_or(|channel| channel.confirm == Step::Done)
    }

    /// `n` bytes were sent.
    pub fn sent(&mut self, id: ChannelId, n: usize) {
        if let Some(channel) = self.get_mut(id) {
            channel.send.sent(n);
            channel.small = n <= SMALL_DATA;
        }
    }

    /// Data of this channel did not fit into the output buffer: [`Mux::poll_starved`] will name it in turn.
    pub fn starve(&mut self, id: ChannelId) {
        if let Some(channel) = self.get_mut(id) {
            channel.write_blocked = true;
            self.starved.insert(id);
        }
    }

    /// No more data will be sent: EOF.
    pub fn shutdown(&mut self, id: ChannelId) {
        if let Some(channel) = self.get_mut(id)
            && channel.eof == Step::No
        {
            channel.eof = Step::Due;
            self.due.insert(id);
        }
    }

    /// The channel is not used any more: it is closed, and what still arrives is dropped.
    pub fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.get_mut(id) else { return };
        channel.released = true;
        channel.receive.discard();
        channel.ready = Ready::default();
        (channel.read_blocked, channel.write_blocked) = (false, false);
        if channel.close == Step::No {
            channel.close = Step::Due;
        }
        self.due.insert(id);
        self.ready.remove(id);
        self.starved.remove(id);
        self.free_if_finished(id);
    }

    /// Gives back ring buffers that stayed empty since the last call. Whether any is still held.
    pub fn sweep(&mut self) -> bool {
        let mut held = false;
        for channel in self.channels.iter_mut().flatten() {
            held |= channel.receive.sweep();
        }
        held
    }

    // Output.

    /// The next control message, in turn among the channels. Once returned it counts as sent.
    pub fn poll_control(&mut self, now: u64) -> Option<Control> {
        if let Some((recipient, reason)) = self.refusals.pop_front() {
            return Some(Control::Refuse { recipient, reason });
        }
        while let Some(id) = self.due.next() {
            let message = self.get_mut(id).and_then(|channel| channel.next_control(u32::from(id.0), now));
            match message {
                Some(message) => {
                    self.free_if_finished(id);
                    return Some(message);
                }
                None => self.due.remove(id),
            }
        }
        None
    }

    /// The next channel with news for its user.
    pub fn poll_ready(&mut self) -> Option<(ChannelId, Ready)> {
        let id = self.ready.next()?;
        self.ready.remove(id);
        self.get_mut(id).map(|channel| (id, core::mem::take(&mut channel.ready)))
    }

    /// The next channel, in turn, whose data did not fit and which may try again: there is room for one packet.
    pub fn poll_starved(&mut self) -> Option<ChannelId> {
        let id = self.starved.next()?;
        self.starved.remove(id);
        if let Some(channel) = self.get_mut(id) {
            channel.write_blocked = false;
        }
        Some(id)
    }

    /// Whether any channel waits for room in the output buffer.
    pub fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }
}

/// RFC 4254 section 7.2: address and port that were connected, address and port of the originator. Whether they can be read.
fn forwarded_tcpip(payload: &[u8]) -> Option<()> {
    let mut reader = Reader::new(payload);
    reader.string().ok()?;
    reader.uint32().ok()?;
    reader.string().ok()?;
    reader.uint32().ok()?;
    reader.end().ok()
}
