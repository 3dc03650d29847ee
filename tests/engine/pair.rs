//! Client and server joined in memory, under a clock that only the test moves.

use crate::keys::{HOST_CA, TODAY, authority, credentials};
use crate::server::{Behaviour, Server};
use edge_gateway::ssh::connection::{Config, Connection, Event, Now, Write};
use edge_gateway::ssh::error::Error;
use edge_gateway::ssh::msg::{self, ChannelOpen, ChannelOpenConfirmation, Message, Rest};
use edge_gateway::ssh::mux::{ChannelId, Read};
use edge_gateway::ssh::negotiate::Trust;

pub fn trust() -> Trust {
    Trust { authorities: vec![authority(HOST_CA)], names: vec!["relay:2222".into(), "relay".into()], pinned: None }
}

pub fn config() -> Config {
    Config::new(trust(), credentials())
}

pub struct Pair {
    pub client: Connection,
    pub server: Server,
    pub now: Now,
    /// Most bytes that are moved at a time, each way.
    pub chunk: usize,
    pub events: Vec<Event>,
}

impl Pair {
    /// Both ends, before the first byte.
    pub fn new(config: Config, behaviour: Behaviour) -> Self {
        let now = Now { ms: 1_000, unix: TODAY };
        let client = Connection::new(config, now).unwrap();
        Pair { client, server: Server::new(behaviour), now, chunk: usize::MAX, events: Vec::new() }
    }

    /// Both ends, authenticated.
    pub fn open() -> Self {
        let mut pair = Pair::new(config(), Behaviour::default());
        pair.run().unwrap();
        assert!(pair.client.is_authenticated() && pair.server.authenticated);
        pair
    }

    /// The error that the handshake with this server ends in.
    pub fn handshake_error(behaviour: Behaviour) -> Error {
        Pair::new(config(), behaviour).run().expect_err("the handshake must fail")
    }

    /// Moves bytes until both ends are quiet, or the client fails. What the client still says then reaches the server.
    pub fn run(&mut self) -> Result<(), Error> {
        loop {
            let (moved, result) = self.step();
            if result.is_err() {
                self.client_to_server(usize::MAX);
                return result;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Moves at most `chunk` bytes each way.
    pub fn step(&mut self) -> (bool, Result<(), Error>) {
        let mut moved = self.client_to_server(self.chunk) > 0;
        self.server.flush();
        let mut result = Ok(());
        if self.client.wants_input() {
            let space = self.client.input_space();
            let pending = self.server.output.pending();
            let n = pending.len().min(self.chunk).min(space.len());
            space[..n].copy_from_slice(&pending[..n]);
            self.server.output.consume(n);
            moved |= n > 0;
            result = self.client.handle_input(n, self.now);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
        (moved, result)
    }

    pub fn client_to_server(&mut self, most: usize) -> usize {
        let output = self.client.output();
        let n = output.len().min(most);
        let bytes = output[..n].to_vec();
        self.client.consume_output(n);
        self.server.receive(&bytes);
        n
    }

    /// Moves the clock, and tells the client when it wanted to be told.
    pub fn advance(&mut self, ms: u64) -> Result<(), Error> {
        let end = self.now.ms + ms;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = Now { ms: at.max(self.now.ms), unix: self.now.unix };
            self.client.handle_timeout(self.now)?;
        }
        self.now.ms = end;
        Ok(())
    }

    /// The server opens a `direct-tcpip` channel without payload; the client's number for it. The server's is `sender`.
    pub fn open_channel(&mut self, sender: u32, window: u32, packet_max: u32) -> ChannelId {
        self.server.send(ChannelOpen { kind: b"direct-tcpip", sender, window, packet_max, specific: Rest(b"") });
        self.run().unwrap();
        let confirmation = self.received(msg::CHANNEL_OPEN_CONFIRMATION).pop().expect("a confirmation");
        let confirmation = ChannelOpenConfirmation::parse(&confirmation).unwrap();
        assert_eq!(confirmation.recipient, sender);
        self.events
            .drain(..)
            .find_map(|event| match event {
                Event::Channel(id, ready) if ready.opened => Some(id),
                _ => None,
            })
            .expect("an event for the channel")
    }

    /// Takes the messages with this number out of what the server received.
    pub fn received(&mut self, number: u8) -> Vec<Vec<u8>> {
        self.server.received.extract_if(.., |payload| payload[0] == number).collect()
    }

    /// Writes all of `data` on a channel, moving bytes as needed.
    pub fn write(&mut self, id: ChannelId, mut data: &[u8]) {
        while !data.is_empty() {
            match self.client.channel_write(id, data) {
                Write::Taken(n) => data = &data[n..],
                Write::Blocked => self.run().unwrap(),
                Write::Closed => panic!("channel closed"),
            }
        }
        self.run().unwrap();
    }

    /// Reads what a channel has.
    pub fn read(&mut self, id: ChannelId) -> Vec<u8> {
        let mut all = Vec::new();
        while let Read::Data(data) = self.client.channel_read(id) {
            let n = data.len();
            all.extend_from_slice(data);
            self.client.channel_consume(id, n);
        }
        all
    }

    /// The data that the server received on its channel `recipient`.
    pub fn data_received(&mut self, recipient: u32) -> Vec<u8> {
        let mut all = Vec::new();
        for payload in self.received(msg::CHANNEL_DATA) {
            let message = msg::ChannelData::parse(&payload).unwrap();
            assert_eq!(message.recipient, recipient);
            all.extend_from_slice(message.data);
        }
        all
    }
}
