//! New keys in mid traffic, from either side or both, and what may not happen meanwhile.

use crate::pair::{Pair, config};
use crate::server::Behaviour;
use edge_gateway::limits::ssh as limits;
use edge_gateway::ssh::connection::{Config, Write};
use edge_gateway::ssh::error::Error;
use edge_gateway::ssh::msg::{self, *};
use edge_gateway::ssh::mux::Read;
use proptest::prelude::*;

#[test]
fn either_side_or_both_can_start() {
    for (client, server) in [(true, false), (false, true), (true, true)] {
        for kex in ["curve25519-sha256,kex-strict-s-v00@openssh.com", "ecdh-sha2-nistp384"] {
            let mut pair = Pair::new(config(), Behaviour { kex: kex.into(), ..Behaviour::default() });
            pair.run().unwrap();
            let id = pair.open_channel(0, 1_000_000, 1000);
            for round in 1..4 {
                if client {
                    pair.client.rekey(pair.now).unwrap();
                }
                if server {
                    pair.server.rekey();
                }
                pair.server.send(ChannelData { recipient: 0, data: b"in" });
                pair.write(id, b"out");
                assert_eq!(pair.read(id), b"in");
                assert_eq!(pair.data_received(0), b"out");
                assert_eq!(pair.server.exchanges, 1 + round);
            }
        }
    }
}

#[test]
fn bytes_and_time_make_new_keys_due() {
    let mut pair = Pair::new(Config { rekey_bytes: 50_000, ..config() }, Behaviour::default());
    pair.run().unwrap();
    let id = pair.open_channel(0, u32::MAX, 10_000);
    pair.write(id, &[1; 100_000]);
    pair.server.send(ChannelWindowAdjust { recipient: 0, bytes: 0 });
    pair.run().unwrap();
    assert!(pair.server.exchanges >= 2, "by what was sent");
    let before = pair.server.exchanges;
    for _ in 0..60_000 / limits::WINDOW_START + 1 {
        pair.server.send(ChannelData { recipient: 0, data: &[2; limits::WINDOW_START] });
        pair.run().unwrap();
        pair.read(id);
        pair.run().unwrap();
    }
    assert!(pair.server.exchanges > before, "by what was received");
    let before = pair.server.exchanges;
    for _ in 0..limits::REKEY_MS / limits::KEEPALIVE_MS + 1 {
        pair.advance(limits::KEEPALIVE_MS).unwrap();
        pair.run().unwrap();
        if !pair.received(msg::GLOBAL_REQUEST).is_empty() {
            pair.server.send(RequestFailure {});
            pair.run().unwrap();
        }
    }
    assert_eq!(pair.server.exchanges, before + 1, "by the clock");
}

/// What the client owes while keys are exchanged is sent behind NEWKEYS, and nothing before.
#[test]
fn answers_wait_for_the_end_of_the_exchange() {
    let mut pair = Pair::open();
    let id = pair.open_channel(0, 1000, 1000);
    pair.client.rekey(pair.now).unwrap();
    // The server has not seen our KEXINIT: its messages are legal.
    pair.server.put(b"\x5a\0\0\0\x0cdirect-tcpip\0\0\0\x09\0\0\x10\0\0\0\x10\0");
    pair.server.put(b"\x50\0\0\0\x01x\x01");
    pair.server.put(&[200]);
    let data = vec![3; limits::WINDOW_START / 2];
    let mut payload = Vec::new();
    ChannelData { recipient: 0, data: &data }.encode(&mut payload);
    pair.server.put(&payload);
    let pending = pair.server.output.pending().to_vec();
    pair.server.output.consume(pending.len());
    pair.client.input_space()[..pending.len()].copy_from_slice(&pending);
    pair.client.handle_input(pending.len(), pair.now).unwrap();
    assert_eq!(pair.read(id), data);
    assert_eq!(pair.client.channel_write(id, b"later"), Write::Blocked);
    assert!(pair.server.received.is_empty());
    pair.run().unwrap();
    assert_eq!(pair.server.exchanges, 2);
    assert_eq!(pair.received(msg::CHANNEL_OPEN_CONFIRMATION).len(), 1);
    assert_eq!(pair.received(msg::REQUEST_FAILURE).len(), 1);
    assert_eq!(pair.received(msg::UNIMPLEMENTED).len(), 1);
    assert_eq!(pair.received(msg::CHANNEL_WINDOW_ADJUST).len(), 1);
    assert_eq!(pair.client.poll_starved(), Some(id), "the blocked writer is told");
    pair.write(id, b"later");
    assert_eq!(pair.data_received(0), b"later");
}

#[test]
fn data_behind_the_servers_kexinit_breaks_the_rules() {
    let mut pair = Pair::open();
    pair.open_channel(0, 1000, 1000);
    pair.server.rekey();
    pair.server.put(b"\x5e\0\0\0\0\0\0\0\x01x");
    assert_eq!(pair.run(), Err(Error::OutOfPhase(msg::CHANNEL_DATA, "during a key exchange")));
}

#[test]
fn an_exchange_that_stands_still_ends_in_time() {
    let mut pair = Pair::open();
    pair.client.rekey(pair.now).unwrap();
    assert_eq!(pair.advance(limits::HANDSHAKE_MS), Err(Error::HandshakeTimeout));
}

/// A byte of the pseudo-random stream of a channel.
fn pattern(channel: u32, position: usize) -> u8 {
    (position as u32).wrapping_mul(0x9e37_79b1).wrapping_add(channel.wrapping_mul(0x85eb_ca6b)).to_be_bytes()[0]
}

#[derive(Clone, Debug)]
enum Step {
    Move(usize),
    ServerSends(usize, usize),
    ServerCredits(usize, usize),
    ClientWrites(usize, usize),
    ClientReads(usize, usize),
    ClientRekeys,
    ServerRekeys,
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0usize..3;
    prop_oneof![
        6 => (1usize..40_000).prop_map(Step::Move),
        1 => (1usize..40).prop_map(Step::Move),
        3 => (channel.clone(), 1usize..limits::RECEIVE_DATA_MAX).prop_map(|(c, n)| Step::ServerSends(c, n)),
        2 => (channel.clone(), 1usize..50_000).prop_map(|(c, n)| Step::ServerCredits(c, n)),
        3 => (channel.clone(), 1usize..50_000).prop_map(|(c, n)| Step::ClientWrites(c, n)),
        3 => (channel, 1usize..70_000).prop_map(|(c, n)| Step::ClientReads(c, n)),
        1 => Just(Step::ClientRekeys),
        1 => Just(Step::ServerRekeys),
    ]
}

/// What a test knows about a channel.
#[derive(Default)]
struct Known {
    /// What the server may still send, by the client's grants.
    granted: usize,
    sent_by_server: usize,
    read_by_client: usize,
    /// What the client may still send, by the server's grants.
    window: usize,
    sent_by_client: usize,
    got_by_server: usize,
}

/// Takes in what the server received, checking each byte and the window.
fn collect(pair: &mut Pair, known: &mut [Known]) {
    for payload in pair.received(msg::CHANNEL_DATA) {
        let message = ChannelData::parse(&payload).unwrap();
        let channel = &mut known[message.recipient as usize];
        for byte in message.data {
            assert_eq!(*byte, pattern(message.recipient, channel.got_by_server));
            channel.got_by_server += 1;
        }
        assert!(message.data.len() <= 5_000, "the server's packet maximum");
        channel.window = channel.window.checked_sub(message.data.len()).expect("within the server's window");
    }
    for payload in pair.received(msg::CHANNEL_WINDOW_ADJUST) {
        let message = ChannelWindowAdjust::parse(&payload).unwrap();
        let channel = &mut known[message.recipient as usize];
        channel.granted += message.bytes as usize;
        assert!(channel.granted <= limits::WINDOW_MAX, "never more than a window may be");
    }
}

fn read(pair: &mut Pair, id: edge_gateway::ssh::mux::ChannelId, number: u32, known: &mut Known, most: usize) {
    let mut left = most;
    while left > 0 {
        let Read::Data(data) = pair.client.channel_read(id) else { return };
        let n = data.len().min(left);
        for byte in &data[..n] {
            assert_eq!(*byte, pattern(number + 100, known.read_by_client));
            known.read_by_client += 1;
        }
        pair.client.channel_consume(id, n);
        left -= n;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever happens in whatever order: no byte is lost, doubled or moved, and no window is exceeded either way.
    #[test]
    fn every_byte_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::open();
        let ids: Vec<_> = (0..3).map(|sender| pair.open_channel(sender, 10_000, 5_000)).collect();
        let mut known: Vec<Known> = Vec::new();
        for _ in 0..3 {
            known.push(Known { granted: limits::WINDOW_START, window: 10_000, ..Known::default() });
        }
        for step in steps {
            match step {
                Step::Move(chunk) => {
                    pair.chunk = chunk;
                    pair.step().1.unwrap();
                }
                Step::ServerSends(c, n) => {
                    let n = n.min(known[c].granted);
                    let data: Vec<u8> =
                        (0..n).map(|i| pattern(c as u32 + 100, known[c].sent_by_server + i)).collect();
                    known[c].granted -= n;
                    known[c].sent_by_server += n;
                    pair.server.send(ChannelData { recipient: c as u32, data: &data });
                }
                Step::ServerCredits(c, n) => {
                    known[c].window += n;
                    pair.server.send(ChannelWindowAdjust { recipient: c as u32, bytes: n as u32 });
                }
                Step::ClientWrites(c, n) => {
                    let data: Vec<u8> = (0..n).map(|i| pattern(c as u32, known[c].sent_by_client + i)).collect();
                    match pair.client.channel_write(ids[c], &data) {
                        Write::Taken(n) => known[c].sent_by_client += n,
                        Write::Blocked => {}
                        Write::Closed => panic!("nobody closed it"),
                    }
                }
                Step::ClientReads(c, n) => read(&mut pair, ids[c], c as u32, &mut known[c], n),
                Step::ClientRekeys => pair.client.rekey(pair.now).unwrap(),
                Step::ServerRekeys => pair.server.rekey(),
            }
            collect(&mut pair, &mut known);
        }
        pair.chunk = usize::MAX;
        for _ in 0..100 {
            pair.run().unwrap();
            collect(&mut pair, &mut known);
            for c in 0..3 {
                read(&mut pair, ids[c], c as u32, &mut known[c], usize::MAX);
            }
        }
        for channel in &known {
            prop_assert_eq!(channel.got_by_server, channel.sent_by_client);
            prop_assert_eq!(channel.read_by_client, channel.sent_by_server);
        }
        prop_assert!(pair.server.is_flushed());
    }
}
