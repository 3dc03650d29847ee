//! The bytes of a server, in pieces of any size, with time and commands between them.
//!
//! Input: a byte of flags, then steps. The server of a connection that starts open sends whole packets in plain text, so that the
//! fuzzer reaches what lies behind the key exchange.
#![no_main]

use edge_gateway::limits::ssh as limits;
use edge_gateway::ssh::connection::{Connection, Event, Now, Write};
use edge_gateway::ssh::msg;
use edge_gateway::ssh::mux::{ChannelId, Read};
use edge_gateway_fuzz::{Script, config, flag, packet, step};
use libfuzzer_sys::fuzz_target;

/// 2026-01-15.
const UNIX: u64 = 1_768_435_200;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(flags) = script.byte() else { return };
    let mut harness = Harness::new(flags);
    while harness.step(&mut script).is_some() {
        harness.settle();
    }
    harness.finish();
});

struct Harness {
    connection: Connection,
    now: Now,
    channels_max: usize,
    /// On their way from the server.
    arriving: Vec<u8>,
    /// Most bytes that arrive at once.
    piece: usize,
    /// What the engine has sent and nobody has looked at yet.
    sent: Vec<u8>,
    identified: bool,
    /// Channels that the engine has announced and that are in use.
    channels: Vec<ChannelId>,
}

impl Harness {
    fn new(flags: u8) -> Self {
        let now = Now { ms: 0, unix: UNIX };
        let mut config = config(flags & flag::PINNED != 0);
        config.forward = (flags & flag::FORWARD != 0).then(|| ("127.0.0.1".into(), 0));
        if flags & flag::REKEY_EARLY != 0 {
            config.rekey_bytes = 512;
        }
        if flags & flag::FEW_CHANNELS != 0 {
            config.channels_max = 3;
        }
        let channels_max = config.channels_max;
        let open = flags & flag::OPEN != 0;
        let connection = if open { Connection::open_plain(config, now) } else { Connection::new(config, now) };
        Harness {
            connection: connection.expect("a random source"),
            now,
            channels_max,
            arriving: Vec::new(),
            piece: usize::MAX,
            sent: Vec::new(),
            identified: open,
            channels: Vec::new(),
        }
    }

    /// One step of the script; `None` at its end.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % step::COUNT {
            step::RAW => self.arriving.extend_from_slice(script.string()?),
            step::PACKET => self.arriving.extend(packet(script.string()?)),
            step::LONG_PACKET => {
                let (payload, more) = (script.string()?, usize::from(script.number()?));
                self.arriving.extend(packet(&[payload, &vec![b'x'; more]].concat()));
            }
            step::PIECES => self.piece = usize::from(script.byte()?) + 1,
            step::TIME => self.pass(u64::from(script.number()?) * 64),
            step::SEND => self.send(usize::from(script.number()?)),
            step::READ => {
                let (id, most) = (self.channel(script.byte()?), usize::from(script.number()?));
                if let Some(id) = id
                    && let Read::Data(data) = self.connection.channel_read(id)
                {
                    assert!(!data.is_empty(), "a read that finds nothing is no read");
                    let n = data.len().min(most);
                    self.connection.channel_consume(id, n);
                }
            }
            step::WRITE => {
                let (id, length) = (self.channel(script.byte()?), usize::from(script.number()?));
                if let Some(id) = id
                    && let Write::Taken(n) = self.connection.channel_write(id, &vec![b'w'; length])
                {
                    assert!(n <= length.min(limits::SEND_DATA_MAX));
                }
            }
            step::SHUTDOWN => {
                self.channel(script.byte()?).into_iter().for_each(|id| self.connection.channel_shutdown(id))
            }
            step::RELEASE => {
                if let Some(id) = self.channel(script.byte()?) {
                    self.channels.retain(|other| *other != id);
                    self.connection.channel_release(id);
                }
            }
            step::REKEY => self.connection.rekey(self.now).expect("a random source"),
            step::DISCONNECT => self.connection.disconnect(),
            step::PROBE => self.connection.probe(u64::from(script.byte()?) * 64, self.now),
            _ => {
                let error = self.connection.handle_end();
                assert_eq!(self.connection.error(), Some(&error));
            }
        }
        Some(())
    }

    /// A channel in use.
    fn channel(&self, choice: u8) -> Option<ChannelId> {
        self.channels.get(usize::from(choice) % self.channels.len().max(1)).copied()
    }

    /// What the driver does at every turn: feeds the engine, and passes its news on.
    fn settle(&mut self) {
        self.receive();
        // An Authenticated, a Forwarding and a Banner, and one event for each channel.
        for turn in 0.. {
            assert!(turn <= limits::CHANNELS_MAX + 3, "there is no end to the events");
            match self.connection.poll_event() {
                None => break,
                Some(Event::Channel(id, ready)) if ready.opened => {
                    assert!(!self.channels.contains(&id), "a channel in use was opened again");
                    self.channels.push(id);
                }
                Some(_) => {}
            }
        }
        for turn in 0.. {
            assert!(turn <= limits::CHANNELS_MAX, "there is no end to the channels that starve");
            if self.connection.poll_starved().is_none() {
                break;
            }
        }
        assert!(!self.connection.is_starved(), "the driver would never rest");
        assert!(self.connection.channels() <= self.channels_max);
        assert!(self.connection.output().len() <= limits::OUTPUT_BUFFER);
    }

    fn receive(&mut self) {
        while !self.arriving.is_empty() && self.connection.wants_input() {
            let space = self.connection.input_space();
            assert!(!space.is_empty(), "input is wanted, and there is no room for it");
            let n = self.arriving.len().min(self.piece).min(space.len());
            for (to, from) in space.iter_mut().zip(self.arriving.drain(..n)) {
                *to = from;
            }
            let result = self.connection.handle_input(n, self.now);
            assert_eq!(result.as_ref().err(), self.connection.error(), "an error stays");
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix += ms / 1000;
        for turn in 0.. {
            assert!(turn < 4, "the alarm rings without end");
            if self.connection.poll_timeout().is_none_or(|at| at > self.now.ms) {
                return;
            }
            let result = self.connection.handle_timeout(self.now);
            assert_eq!(result.as_ref().err(), self.connection.error(), "an error stays");
        }
    }

    /// The server takes up to `most` bytes.
    fn send(&mut self, most: usize) {
        let wanted_input = self.connection.wants_input();
        let output = self.connection.output();
        let n = output.len().min(most);
        self.sent.extend_from_slice(&output[..n]);
        self.connection.consume_output(n);
        if !wanted_input && self.connection.wants_input() {
            let result = self.connection.handle_input(0, self.now);
            assert_eq!(result.as_ref().err(), self.connection.error(), "an error stays");
        }
        self.look();
    }

    /// Looks at what was sent: whole packets, well padded, with messages that can be read.
    fn look(&mut self) {
        if !self.identified {
            let Some(end) = self.sent.iter().position(|byte| *byte == b'\n') else { return };
            assert!(self.sent.starts_with(b"SSH-2.0-") && end < limits::IDENTIFICATION_MAX);
            self.sent.drain(..=end);
            self.identified = true;
        }
        while let Some(length) = self.sent.first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            assert!(4 + length <= limits::PACKET_MAX && (4 + length).is_multiple_of(8) && length >= 12);
            let Some(packet) = self.sent.get(4..4 + length) else { return };
            let padding = usize::from(packet[0]);
            assert!(padding >= 4 && padding + 1 < length);
            let payload = &packet[1..length - padding];
            assert_eq!(msg::reencode(payload).as_deref(), Ok(payload));
            self.sent.drain(..4 + length);
        }
    }

    /// Lets everything arrive that can, then lets time pass: whatever the state, the connection must come to rest or to its end.
    fn finish(mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "there is no end to the output");
            let waiting = self.arriving.len();
            self.send(usize::MAX);
            self.settle();
            if self.connection.output().is_empty() && self.arriving.len() == waiting {
                break;
            }
        }
        if self.connection.error().is_none() && !self.connection.wants_input() {
            // Answers are owed that a key exchange holds back: its deadline is what ends this.
            assert!(self.connection.poll_timeout().is_some(), "neither reading, nor writing, nor waiting");
        }
        // Nobody answers any more: no open connection outlives a keepalive, no other one its handshake.
        for _ in 0..4 {
            self.pass(limits::HANDSHAKE_MS.max(limits::KEEPALIVE_MS + limits::KEEPALIVE_ANSWER_MS));
            self.settle();
        }
        assert!(self.connection.error().is_some(), "a silent server was never given up");
        self.send(usize::MAX);
        assert!(!self.connection.wants_input() && self.connection.poll_timeout().is_none());
        for id in core::mem::take(&mut self.channels) {
            assert_eq!(self.connection.channel_write(id, b"late"), Write::Closed);
            self.connection.channel_release(id);
        }
        assert!(self.connection.output().is_empty(), "nothing is said after the goodbye");
    }
}
