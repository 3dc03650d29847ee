//! Sequences of operations on the multiplexer, of the peer and of the channels' users, against a model that knows the protocol only.
//!
//! Input: a byte that sets the limit, then operations of four bytes: what, on which channel, and a number.
#![no_main]

use edge_gateway::budget::Budget;
use edge_gateway::limits::ssh::{FAILURES_OWED_MAX, RECEIVE_DATA_MAX, REFUSALS_MAX, SEND_DATA_MAX, WINDOW_START};
use edge_gateway::ssh::error::Error;
use edge_gateway::ssh::msg::{self, ChannelOpen, Rest};
use edge_gateway::ssh::mux::{ChannelId, Control, Mux, OpenFailure, Read, Room};
use edge_gateway_fuzz::{Script, operation};
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(limit) = script.byte() else { return };
    let mut harness = Harness::new(usize::from(limit) % 8 + 1);
    loop {
        let (Some(what), Some(choice), Some(number)) = (script.byte(), script.byte(), script.number()) else {
            return harness.finish();
        };
        if harness.operate(what, choice, number).is_err() {
            return; // as foretold, and it ends the connection
        }
        harness.check();
    }
});

/// A channel as its peer and its user see it.
#[derive(Default)]
struct Channel {
    /// This side's name of it, once it was announced.
    id: Option<ChannelId>,
    /// The peer's number of it. No two are the same, so it also gives each channel's data a pattern of its own.
    number: u32,
    confirmed: bool,

    // From the peer to the user.
    /// What the peer may still send.
    window: usize,
    sent: u64,
    read: u64,
    /// Bytes that became free for the peer again: read by the user, or of no use to anybody.
    freed: usize,
    /// Bytes that the peer was granted again.
    returned: usize,
    failures_owed: u16,
    eof_sent: bool,
    close_sent: bool,

    // From the user to the peer.
    peer_window: u32,
    packet_max: u32,
    shut_down: bool,
    released: bool,
    eof_received: bool,
    close_received: bool,

    // What the user waits for.
    reader_waits: bool,
    writer_waits: bool,
    starved: bool,
}

impl Channel {
    fn byte(&self, position: u64) -> u8 {
        (position ^ position >> 8 ^ position >> 16 ^ u64::from(self.number) * 101) as u8
    }

    /// The next `length` bytes that the peer sends.
    fn data(&mut self, length: usize) -> Vec<u8> {
        let from = self.sent;
        self.sent += length as u64;
        self.window -= length;
        (from..self.sent).map(|position| self.byte(position)).collect()
    }

    /// Its name, while somebody uses it.
    fn user(&self) -> Option<ChannelId> {
        self.id.filter(|_| !self.released)
    }

    fn is_over(&self) -> bool {
        self.released && self.close_sent && self.close_received
    }
}

struct Harness {
    mux: Mux,
    limit: usize,
    /// By this side's number: the lowest that is free.
    channels: BTreeMap<u16, Channel>,
    refused: VecDeque<(u32, OpenFailure)>,
    opened: u32,
    /// Whether any ring has held data since the last sweep.
    touched: bool,
}

/// The peer broke the protocol, and the multiplexer said so.
struct Ended;

impl Harness {
    fn new(limit: usize) -> Self {
        Harness {
            // Nothing to lend: every window stays what the model says.
            mux: Mux::new(limit, Arc::new(Budget::new(2 * limit * WINDOW_START, limit))),
            limit,
            channels: BTreeMap::new(),
            refused: VecDeque::new(),
            opened: 0,
            touched: false,
        }
    }

    fn operate(&mut self, what: u8, choice: u8, number: u16) -> Result<(), Ended> {
        let amount = usize::from(number);
        match what % operation::COUNT {
            operation::OPEN => self.open(choice, number)?,
            operation::DATA => self.receive_data(choice, amount, true)?,
            operation::ANY_DATA => self.receive_data(choice, amount, false)?,
            operation::EXTENDED_DATA => self.receive_extended_data(choice, amount)?,
            operation::ADJUST => self.receive_adjust(choice, number)?,
            operation::EOF => self.receive_eof(choice)?,
            operation::CLOSE => self.receive_close(choice)?,
            operation::REQUEST => self.receive_request(choice, number)?,
            operation::READ => self.read(choice, amount),
            operation::WRITE => self.write(choice, amount),
            operation::STARVE => self.starve(choice),
            operation::SHUTDOWN => self.shut_down(choice),
            operation::RELEASE => self.release(choice),
            operation::CONTROL => (0..number).take_while(|_| self.send_control()).for_each(drop),
            operation::DISPATCH => self.dispatch(),
            _ => self.sweep(),
        }
        Ok(())
    }

    // What the peer does.

    /// The channel number that the peer means: mostly one in use.
    fn target(&self, choice: u8) -> u32 {
        match choice {
            255 => u32::MAX,
            254 => 0x1_0000,
            240.. => u32::from(choice - 240),
            _ => {
                let nth = usize::from(choice) % self.channels.len().max(1);
                self.channels.keys().nth(nth).copied().map_or(0, u32::from)
            }
        }
    }

    /// The channel that the peer may still send `message` on, or the error that it must lead to.
    fn known(&mut self, number: u32, message: u8) -> Result<&mut Channel, Error> {
        let known = u16::try_from(number).ok().and_then(|id| self.channels.get_mut(&id));
        known.filter(|channel| !channel.close_sent).ok_or(Error::UnknownChannel(message, number))
    }

    fn receiving(&mut self, number: u32, message: u8) -> Result<&mut Channel, Error> {
        let channel = self.known(number, message)?;
        if channel.eof_sent { Err(Error::DataAfterEof(number)) } else { Ok(channel) }
    }

    fn open(&mut self, choice: u8, number: u16) -> Result<(), Ended> {
        let fields = b"\0\0\0\x09127.0.0.1\0\0\0\x16\0\0\0\x09127.0.0.1\0\0\x80\0";
        let (kind, payload, forwarding): (&[u8], &[u8], bool) = match choice % 8 {
            4 => (b"forwarded-tcpip", fields, true),
            5 => (b"forwarded-tcpip", fields, false),
            6 => (b"forwarded-tcpip", b"\0\0\0\x09", true),
            7 => (b"session", b"", false),
            _ => (b"direct-tcpip", &fields[..usize::from(choice) % fields.len()], false),
        };
        let window = [0, 1, 1000, 0x8000, 0x20_0000, u32::MAX - 5, u32::MAX, 70_000][usize::from(number & 7)];
        let packet_max = [0, 1, 100, 0x8000, u32::MAX, 16_384, 16_385, 32_768][usize::from(number >> 3 & 7)];
        let peer = self.opened;
        self.opened += 1;

        let refusal = match choice % 8 {
            5 => Some(OpenFailure::AdministrativelyProhibited),
            7 => Some(OpenFailure::UnknownChannelType),
            _ if packet_max == 0 => Some(OpenFailure::ConnectFailed),
            _ if self.channels.len() == self.limit => Some(OpenFailure::ResourceShortage),
            _ => None,
        };
        let expected = match (choice % 8, refusal) {
            (6, _) => Err(Error::Malformed(msg::CHANNEL_OPEN)),
            (_, Some(_)) if self.refused.len() == REFUSALS_MAX => Err(Error::TooManyRequests),
            _ => Ok(()),
        };
        assert_eq!(self.mux.accepts_input(), self.refused.len() < REFUSALS_MAX);
        let message = ChannelOpen { kind, sender: peer, window, packet_max, specific: Rest(payload) };
        let result = self.mux.open(&message, forwarding);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)?;
        match refusal {
            Some(reason) => self.refused.push_back((peer, reason)),
            None => {
                let id = (0..).find(|id| !self.channels.contains_key(id)).expect("fewer than the limit");
                let channel = Channel {
                    number: peer,
                    window: WINDOW_START,
                    peer_window: window,
                    packet_max,
                    ..Channel::default()
                };
                self.channels.insert(id, channel);
            }
        }
        Ok(())
    }

    fn receive_data(&mut self, choice: u8, length: usize, within: bool) -> Result<(), Ended> {
        let number = self.target(choice);
        let (expected, data) = match self.receiving(number, msg::CHANNEL_DATA) {
            Err(error) => (Err(error), vec![0; length]),
            Ok(channel) if within => (Ok(()), channel.data(length.min(channel.window).min(RECEIVE_DATA_MAX))),
            Ok(_) if length > RECEIVE_DATA_MAX => (Err(Error::DataTooLong(number, length)), vec![0; length]),
            Ok(channel) if length > channel.window => (Err(Error::WindowOverrun(number)), vec![0; length]),
            Ok(channel) => (Ok(()), channel.data(length)),
        };
        self.touched |= !data.is_empty();
        let result = self.mux.data(number, &data, 0);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)
    }

    fn receive_extended_data(&mut self, choice: u8, length: usize) -> Result<(), Ended> {
        let number = self.target(choice);
        let (expected, length) = match self.receiving(number, msg::CHANNEL_EXTENDED_DATA) {
            Err(error) => (Err(error), length),
            Ok(channel) => {
                let length = length.min(channel.window).min(RECEIVE_DATA_MAX);
                channel.window -= length;
                channel.freed += length;
                (Ok(()), length)
            }
        };
        let result = self.mux.extended_data(number, &vec![b'e'; length]);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)
    }

    fn receive_adjust(&mut self, choice: u8, number: u16) -> Result<(), Ended> {
        let bytes = if number & 1 == 0 { u32::from(number) << 16 } else { u32::from(number >> 1) };
        let number = self.target(choice);
        let expected = self.known(number, msg::CHANNEL_WINDOW_ADJUST).and_then(|channel| {
            channel.peer_window = channel.peer_window.checked_add(bytes).ok_or(Error::WindowOverflow(number))?;
            Ok(())
        });
        let result = self.mux.window_adjust(number, bytes);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)
    }

    fn receive_eof(&mut self, choice: u8) -> Result<(), Ended> {
        let number = self.target(choice);
        let expected = self.receiving(number, msg::CHANNEL_EOF).map(|channel| channel.eof_sent = true);
        let result = self.mux.eof(number);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)
    }

    fn receive_close(&mut self, choice: u8) -> Result<(), Ended> {
        let number = self.target(choice);
        let expected = self.known(number, msg::CHANNEL_CLOSE).map(|channel| channel.close_sent = true);
        let result = self.mux.close(number);
        assert_eq!(result, expected);
        result.map_err(|_| Ended)
    }

    fn receive_request(&mut self, choice: u8, number: u16) -> Result<(), Ended> {
        let (want_reply, times) = (number & 1 == 1, number >> 1 & 511);
        let number = self.target(choice);
        for _ in 0..times {
            let expected = self.known(number, msg::CHANNEL_REQUEST).and_then(|channel| {
                if want_reply && channel.failures_owed == FAILURES_OWED_MAX {
                    return Err(Error::TooManyRequests);
                }
                channel.failures_owed += u16::from(want_reply);
                Ok(())
            });
            let result = self.mux.request(number, want_reply);
            assert_eq!(result, expected);
            result.map_err(|_| Ended)?;
        }
        Ok(())
    }

    // What the users of the channels do.

    /// A channel that has a user: announced, and not given back.
    fn used(&mut self, choice: u8) -> Option<(ChannelId, &mut Channel, &mut Mux)> {
        let count = self.channels.values().filter(|channel| channel.user().is_some()).count();
        let mut used = self.channels.values_mut().filter(|channel| channel.user().is_some());
        let channel = used.nth(usize::from(choice) % count.max(1))?;
        Some((channel.id?, channel, &mut self.mux))
    }

    /// Reads up to `most` bytes, in as many pieces as they come in.
    fn read(&mut self, choice: u8, most: usize) {
        let Some((id, channel, mux)) = self.used(choice) else { return };
        let mut left = most;
        loop {
            match mux.read(id) {
                Read::Data(data) => {
                    assert!(!data.is_empty() && channel.read < channel.sent);
                    let n = data.len().min(left);
                    for byte in &data[..n] {
                        assert_eq!(*byte, channel.byte(channel.read), "byte {} of its stream", channel.read);
                        channel.read += 1;
                    }
                    assert!(channel.read <= channel.sent);
                    channel.freed += n;
                    mux.consume(id, n);
                    left -= n;
                    if left == 0 {
                        return;
                    }
                }
                Read::Blocked => {
                    assert_eq!(channel.read, channel.sent, "there is data");
                    assert!(!channel.eof_sent && !channel.close_sent, "there is the end");
                    channel.reader_waits = true;
                    return;
                }
                Read::End => {
                    assert_eq!(channel.read, channel.sent, "the end comes last");
                    assert!(channel.eof_sent || channel.close_sent);
                    return;
                }
            }
        }
    }

    fn write(&mut self, choice: u8, length: usize) {
        let Some((id, channel, mux)) = self.used(choice) else { return };
        assert_eq!(mux.is_confirmed(id), channel.confirmed);
        let room = mux.room(id);
        if channel.shut_down || channel.close_sent {
            assert_eq!(room, Room::Closed);
            return;
        }
        let most = (channel.peer_window.min(channel.packet_max) as usize).min(SEND_DATA_MAX);
        if most == 0 {
            assert_eq!(room, Room::Blocked);
            channel.writer_waits = true;
            return;
        }
        assert_eq!(room, Room::Bytes { recipient: channel.number, most });
        // As the connection does: nothing ahead of the confirmation.
        if channel.confirmed {
            let n = most.min(length);
            mux.sent(id, n);
            channel.peer_window -= n as u32;
        }
    }

    /// The output buffer is full when there would be room in the window.
    fn starve(&mut self, choice: u8) {
        let Some((id, channel, mux)) = self.used(choice) else { return };
        match mux.room(id) {
            Room::Bytes { .. } => {
                mux.starve(id);
                channel.starved = true;
                channel.writer_waits = true;
            }
            Room::Blocked => channel.writer_waits = true,
            Room::Closed => {}
        }
    }

    fn shut_down(&mut self, choice: u8) {
        let Some((id, channel, mux)) = self.used(choice) else { return };
        mux.shutdown(id);
        channel.shut_down = true;
    }

    fn release(&mut self, choice: u8) {
        let Some((id, channel, mux)) = self.used(choice) else { return };
        mux.release(id);
        channel.released = true;
        (channel.reader_waits, channel.writer_waits, channel.starved) = (false, false, false);
    }

    // What the multiplexer has to say.

    /// Takes one control message. Whether there was one.
    fn send_control(&mut self) -> bool {
        let control = self.mux.poll_control(0);
        if let Some((recipient, reason)) = self.refused.pop_front() {
            assert_eq!(control, Some(Control::Refuse { recipient, reason }), "refusals come first, in order");
            return true;
        }
        let Some(control) = control else { return false };
        let recipient = match control {
            Control::Refuse { .. } => panic!("{control:?} for nothing"),
            Control::Confirm { recipient, .. }
            | Control::Failure { recipient }
            | Control::Adjust { recipient, .. }
            | Control::Eof { recipient }
            | Control::Close { recipient } => recipient,
        };
        let (id, channel) =
            self.channels.iter_mut().find(|(_, channel)| channel.number == recipient).expect("one of its own");
        assert!(!channel.close_received, "{control:?} after close");
        if let Control::Confirm { sender, .. } = control {
            assert_eq!(sender, u32::from(*id));
            assert!(!channel.confirmed, "confirmed twice");
            channel.confirmed = true;
            return true;
        }
        assert!(channel.confirmed, "{control:?} before the confirmation");
        match control {
            Control::Failure { .. } => {
                channel.failures_owed = channel.failures_owed.checked_sub(1).expect("an answer to nothing");
            }
            Control::Adjust { bytes, .. } => {
                assert!(!channel.eof_sent && !channel.close_sent && !channel.released, "credit for nothing");
                channel.returned += bytes as usize;
                channel.window += bytes as usize;
            }
            Control::Eof { .. } => {
                assert!(channel.shut_down && !channel.eof_received, "EOF that nobody asked for");
                channel.eof_received = true;
            }
            _ => {
                assert!(channel.close_sent || channel.released, "close that nobody asked for");
                channel.close_received = true;
            }
        }
        true
    }

    /// Passes the news on to the users, as the driver does.
    fn dispatch(&mut self) {
        for turn in 0.. {
            assert!(turn <= self.channels.len(), "there is no end to the news");
            let Some((id, ready)) = self.mux.poll_ready() else { break };
            let channel = self.channels.get_mut(&id.number()).expect("news of a channel in use");
            assert!(!channel.released);
            assert_eq!(ready.opened, channel.id.is_none(), "a channel is announced once, and first of all");
            channel.id = Some(id);
            // Whoever is woken tries again. It may be for nothing: the news may be older than the last try.
            if ready.readable {
                channel.reader_waits = self.mux.read(id) == Read::Blocked;
            }
            if ready.writable {
                channel.writer_waits = self.mux.room(id) == Room::Blocked;
            }
        }
        for turn in 0.. {
            assert!(turn <= self.channels.len(), "there is no end to the channels that starve");
            let Some(id) = self.mux.poll_starved() else { break };
            let channel = self.channels.get_mut(&id.number()).expect("a channel in use");
            assert!(core::mem::take(&mut channel.starved));
            channel.writer_waits = false;
        }
        assert!(!self.mux.is_starved());
        // Whoever still waits has reason to.
        for channel in self.channels.values() {
            assert!(!channel.starved);
            let id = channel.id.expect("every channel was announced");
            if channel.reader_waits {
                assert_eq!(self.mux.read(id), Read::Blocked, "a reader was not woken");
            }
            // A writer that shut down itself is not told that it can't write any more.
            if channel.writer_waits && !channel.shut_down {
                assert_eq!(self.mux.room(id), Room::Blocked, "a writer was not woken");
            }
        }
    }

    /// Ring buffers that stayed empty from one sweep to the next are given back.
    fn sweep(&mut self) {
        let held = self.mux.sweep();
        let unread = self.channels.values().any(|channel| !channel.released && channel.read < channel.sent);
        assert!(held || !unread, "data lies in a ring that is not held");
        assert!(!held || unread || self.touched, "an empty ring is kept");
        self.touched = unread;
    }

    /// What holds between any two operations.
    fn check(&mut self) {
        self.channels.retain(|_, channel| !channel.is_over());
        assert_eq!(self.mux.len(), self.channels.len(), "a slot is free when both have closed and the user is gone");
        assert!(self.channels.len() <= self.limit);
        for channel in self.channels.values().filter(|channel| !channel.released) {
            let buffered = (channel.sent - channel.read) as usize;
            let unreturned = channel.freed - channel.returned;
            assert_eq!(channel.window + buffered + unreturned, WINDOW_START);
        }
    }

    /// Takes all control messages: what was owed has then been said.
    fn send_all_control(&mut self) {
        let owed = self.channels.values().map(|channel| usize::from(channel.failures_owed) + 4).sum::<usize>();
        let most = self.refused.len() + owed;
        for turn in 0.. {
            assert!(turn <= most, "there is no end to the control messages");
            if !self.send_control() {
                break;
            }
        }
        for channel in self.channels.values() {
            assert!(channel.confirmed);
            assert_eq!(channel.close_received, channel.close_sent || channel.released);
            if !channel.close_received {
                assert_eq!(channel.failures_owed, 0);
                assert_eq!(channel.eof_received, channel.shut_down);
                assert!(channel.eof_sent || channel.freed - channel.returned < WINDOW_START / 2, "credit is held back");
            }
        }
    }

    /// Everything is said, read and closed: nothing must be left.
    fn finish(mut self) {
        self.send_all_control();
        self.dispatch();
        self.check();
        for number in self.channels.keys().copied().collect::<Vec<_>>() {
            if !self.channels[&number].released {
                // Those before it were released, so it is the first that is used.
                self.read(0, usize::MAX);
                self.release(0);
            }
            if !self.channels[&number].close_sent {
                let _ = self.receive_close(240 + number as u8);
            }
        }
        self.send_all_control();
        self.check();
        assert!(self.mux.is_empty());
        assert_eq!(self.mux.poll_control(0), None);
        assert_eq!(self.mux.poll_ready(), None);
        assert!(!self.mux.sweep());
    }
}
