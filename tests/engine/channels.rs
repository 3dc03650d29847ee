//! Channels: opening, windows, ends, and what breaks the rules.

use crate::keys::TODAY;
use crate::pair::{Pair, config};
use crate::server::Behaviour;
use edge_gateway::limits::ssh as limits;
use edge_gateway::ssh::connection::{Config, Event, Write};
use edge_gateway::ssh::error::Error;
use edge_gateway::ssh::msg::{self, *};
use edge_gateway::ssh::mux::Read;
use edge_gateway::ssh::wire::Sink;

fn channel_open(kind: &'static [u8], sender: u32, specific: &'static [u8]) -> ChannelOpen<'static> {
    ChannelOpen { kind, sender, window: 100_000, packet_max: 32_768, specific: Rest(specific) }
}

/// Opens that are refused, with the reason codes of RFC 4254 section 5.1.
fn refusal(pair: &mut Pair, open: ChannelOpen<'_>) -> u32 {
    pair.server.send(open);
    pair.run().unwrap();
    let payload = pair.received(msg::CHANNEL_OPEN_FAILURE).pop().expect("a refusal");
    let failure = ChannelOpenFailure::parse(&payload).unwrap();
    assert_eq!(failure.recipient, open.sender);
    failure.reason
}

#[test]
fn direct_tcpip_is_accepted_with_any_payload() {
    let mut pair = Pair::open();
    for specific in [&b""[..], b"\0\0\0\x09localhost\0\0\0\x50\0\0\0\x01x\0\0\0\x01", b"anything"] {
        pair.server.send(ChannelOpen { specific: Rest(specific), ..channel_open(b"direct-tcpip", 5, b"") });
        pair.run().unwrap();
        let payload = pair.received(msg::CHANNEL_OPEN_CONFIRMATION).pop().unwrap();
        let confirmation = ChannelOpenConfirmation::parse(&payload).unwrap();
        assert_eq!(confirmation.window as usize, limits::WINDOW_START);
        assert_eq!(confirmation.packet_max as usize, limits::RECEIVE_DATA_MAX);
    }
    assert_eq!(pair.client.channels(), 3);
}

#[test]
fn other_opens_are_refused_with_the_reason() {
    let mut pair = Pair::open();
    for kind in [&b"session"[..], b"x11", b"", b"direct-streamlocal@openssh.com"] {
        assert_eq!(refusal(&mut pair, ChannelOpen { kind, ..channel_open(b"", 3, b"") }), 3);
    }
    assert_eq!(refusal(&mut pair, channel_open(b"forwarded-tcpip", 4, b"")), 1, "nothing was asked to be forwarded");
    assert_eq!(refusal(&mut pair, ChannelOpen { packet_max: 0, ..channel_open(b"direct-tcpip", 5, b"") }), 2);
    assert_eq!(pair.client.channels(), 0);
}

#[test]
fn above_the_maximum_channels_are_refused_and_closing_one_makes_room() {
    let mut pair = Pair::new(Config { channels_max: 3, ..config() }, Behaviour::default());
    pair.run().unwrap();
    let ids: Vec<_> = (0..3).map(|sender| pair.open_channel(sender, 1000, 1000)).collect();
    assert_eq!(refusal(&mut pair, channel_open(b"direct-tcpip", 9, b"")), 4);
    pair.client.channel_release(ids[1]);
    pair.run().unwrap();
    assert_eq!(refusal(&mut pair, channel_open(b"direct-tcpip", 9, b"")), 4, "until the server has closed it too");
    pair.server.send(ChannelClose { recipient: u32::from(1u8) });
    pair.run().unwrap();
    assert_eq!(pair.open_channel(9, 1000, 1000), ids[1]);
}

#[test]
fn forwarded_tcpip_comes_after_tcpip_forward() {
    let config = Config { forward: Some(("127.0.0.1".into(), 0)), ..config() };
    let mut pair = Pair::new(config.clone(), Behaviour::default());
    pair.run().unwrap();
    let request = pair.received(msg::GLOBAL_REQUEST).pop().unwrap();
    let request = GlobalRequest::parse(&request).unwrap();
    assert_eq!((request.name, request.want_reply), (&b"tcpip-forward"[..], true));
    assert_eq!(request.specific.0, b"\0\0\0\x09127.0.0.1\0\0\0\0");
    pair.server.send(RequestSuccess { specific: Rest(&4711u32.to_be_bytes()) });
    pair.run().unwrap();
    assert_eq!(pair.events.pop(), Some(Event::Forwarding(4711)));
    let specific = b"\0\0\0\x09127.0.0.1\0\0\x12\x67\0\0\0\x09127.0.0.1\0\0\0\x01";
    pair.server.send(channel_open(b"forwarded-tcpip", 0, specific));
    pair.run().unwrap();
    assert_eq!(pair.client.channels(), 1);
    pair.server.send(channel_open(b"forwarded-tcpip", 1, b"\0\0\0\x09127"));
    assert_eq!(pair.run(), Err(Error::Malformed(msg::CHANNEL_OPEN)));

    let mut refused = Pair::new(config, Behaviour::default());
    refused.run().unwrap();
    refused.server.send(RequestFailure {});
    assert_eq!(refused.run(), Err(Error::ForwardRefused));
}

#[test]
fn data_goes_both_ways_and_both_ends_close_in_either_order() {
    for client_first in [true, false] {
        let mut pair = Pair::open();
        let id = pair.open_channel(7, 1_000_000, 32_768);
        pair.server.send(ChannelData { recipient: u32::from(0u8), data: b"question" });
        pair.run().unwrap();
        assert_eq!(pair.read(id), b"question");
        pair.write(id, b"answer");
        assert_eq!(pair.data_received(7), b"answer");

        // Half close by the server: the client may go on sending.
        pair.server.send(ChannelEof { recipient: 0 });
        pair.run().unwrap();
        assert_eq!(pair.client.channel_read(id), Read::End);
        pair.write(id, b"late");
        assert_eq!(pair.data_received(7), b"late");
        pair.client.channel_shutdown(id);
        assert_eq!(pair.client.channel_write(id, b"x"), Write::Closed);
        if client_first {
            pair.client.channel_release(id);
            pair.run().unwrap();
            pair.server.send(ChannelClose { recipient: 0 });
        } else {
            pair.server.send(ChannelClose { recipient: 0 });
            pair.run().unwrap();
            assert_eq!(pair.client.channels(), 1, "its user still holds it");
            pair.client.channel_release(id);
        }
        pair.run().unwrap();
        assert_eq!(pair.client.channels(), 0);
        assert_eq!(pair.received(msg::CHANNEL_EOF).len(), 1);
        assert_eq!(pair.received(msg::CHANNEL_CLOSE).len(), 1);
    }
}

#[test]
fn what_arrived_before_a_close_can_still_be_read() {
    let mut pair = Pair::open();
    let id = pair.open_channel(0, 1000, 1000);
    pair.server.send(ChannelData { recipient: 0, data: b"last words" });
    pair.server.send(ChannelClose { recipient: 0 });
    pair.run().unwrap();
    assert_eq!(pair.received(msg::CHANNEL_CLOSE).len(), 1, "answered at once");
    assert_eq!(pair.client.channel_write(id, b"x"), Write::Closed);
    assert_eq!(pair.read(id), b"last words");
    assert_eq!(pair.client.channel_read(id), Read::End);
}

#[test]
fn data_within_the_window_for_a_channel_that_nobody_reads_is_dropped() {
    let mut pair = Pair::open();
    let id = pair.open_channel(0, 1000, 1000);
    pair.client.channel_release(id);
    pair.server.send(ChannelData { recipient: 0, data: &[0; 1000] });
    pair.run().unwrap();
    pair.server.send(ChannelEof { recipient: 0 });
    pair.server.send(ChannelClose { recipient: 0 });
    pair.run().unwrap();
    assert_eq!(pair.client.channels(), 0);
}

#[test]
fn credit_comes_back_when_data_was_read_and_not_before() {
    let mut pair = Pair::open();
    let id = pair.open_channel(7, 1000, 1000);
    let half = vec![1; limits::WINDOW_START / 2];
    pair.server.send(ChannelData { recipient: 0, data: &half });
    pair.run().unwrap();
    assert_eq!(pair.received(msg::CHANNEL_WINDOW_ADJUST).len(), 0, "not on arrival");
    assert_eq!(pair.read(id).len(), half.len());
    pair.run().unwrap();
    let adjust = pair.received(msg::CHANNEL_WINDOW_ADJUST);
    assert_eq!(adjust.len(), 1);
    assert_eq!(
        ChannelWindowAdjust::parse(&adjust[0]).unwrap(),
        ChannelWindowAdjust { recipient: 7, bytes: half.len() as u32 }
    );
    // Data for stderr has no reader: it counts, and comes back in the same way.
    pair.server.send(ChannelExtendedData { recipient: 0, data_type: 1, data: &half });
    pair.run().unwrap();
    assert_eq!(pair.received(msg::CHANNEL_WINDOW_ADJUST).len(), 1);
    assert_eq!(pair.client.channel_read(id), Read::Blocked);
}

#[test]
fn the_servers_window_and_packet_maximum_are_kept() {
    let mut pair = Pair::open();
    let id = pair.open_channel(7, 10, 4);
    assert_eq!(pair.client.channel_write(id, &[1; 100]), Write::Taken(4));
    assert_eq!(pair.client.channel_write(id, &[1; 100]), Write::Taken(4));
    assert_eq!(pair.client.channel_write(id, &[1; 100]), Write::Taken(2));
    assert_eq!(pair.client.channel_write(id, &[1; 100]), Write::Blocked);
    pair.run().unwrap();
    assert_eq!(pair.data_received(7).len(), 10);
    assert!(pair.events.is_empty());
    pair.server.send(ChannelWindowAdjust { recipient: 0, bytes: 3 });
    pair.run().unwrap();
    assert!(matches!(pair.events[..], [Event::Channel(ready, state)] if ready == id && state.writable));
    assert_eq!(pair.client.channel_write(id, &[1; 100]), Write::Taken(3));
    let large = pair.open_channel(8, u32::MAX, u32::MAX);
    assert_eq!(pair.client.channel_write(large, &[1; 100_000]), Write::Taken(limits::SEND_DATA_MAX));
}

#[test]
fn a_stalled_channel_costs_its_window_and_the_others_go_on() {
    let mut pair = Pair::open();
    let _stalled = pair.open_channel(1, 1000, 1000);
    let live = pair.open_channel(2, u32::MAX, 32_768);
    pair.server.send(ChannelData { recipient: 0, data: &[7; limits::WINDOW_START] });
    pair.run().unwrap();
    for round in 0..200u32 {
        let data = round.to_be_bytes().repeat(1_000);
        pair.server.send(ChannelData { recipient: 1, data: &data });
        pair.run().unwrap();
        let echo = pair.read(live);
        assert_eq!(echo, data);
        pair.write(live, &echo);
        assert_eq!(pair.data_received(2), data);
        pair.received(msg::CHANNEL_WINDOW_ADJUST);
    }
}

/// Each of these ends the connection, with the error that names it and a DISCONNECT for the server.
#[test]
fn behind_a_socket_that_takes_nothing_one_large_packet_waits_and_a_small_one_fits() {
    let mut pair = Pair::open();
    let (bulk, keys) = (pair.open_channel(0, 1 << 20, 1 << 15), pair.open_channel(1, 1 << 20, 1 << 15));
    let large = vec![1; limits::SEND_DATA_MAX];
    assert_eq!(pair.client.channel_write(bulk, &large), Write::Taken(limits::SEND_DATA_MAX));
    pair.client.output_stuck();
    assert_eq!(pair.client.channel_write(bulk, &large), Write::Blocked);
    assert_eq!(pair.client.channel_write(keys, b"ls"), Write::Taken(2));
    assert_eq!(pair.client.poll_starved(), None);
    pair.client_to_server(usize::MAX);
    assert_eq!(pair.client.poll_starved(), Some(bulk));
    assert_eq!(pair.client.channel_write(bulk, &large), Write::Taken(limits::SEND_DATA_MAX));
    assert_eq!(
        pair.client.channel_write(bulk, &large),
        Write::Taken(limits::SEND_DATA_MAX),
        "two, when they leave at once"
    );
}

#[test]
fn rules_broken_on_channels() {
    let data = |length: usize| {
        let mut payload = Vec::new();
        ChannelData { recipient: 0, data: &vec![0; length] }.encode(&mut payload);
        payload
    };
    let full = vec![data(limits::WINDOW_START), data(1)];
    let cases: Vec<(Vec<Vec<u8>>, Error)> = vec![
        (full, Error::WindowOverrun(0)),
        (vec![data(limits::RECEIVE_DATA_MAX + 1)], Error::DataTooLong(0, limits::RECEIVE_DATA_MAX + 1)),
        (vec![b"\x5e\0\0\0\x01\0\0\0\x01x".to_vec()], Error::UnknownChannel(msg::CHANNEL_DATA, 1)),
        (vec![b"\x5e\xff\xff\xff\xff\0\0\0\x01x".to_vec()], Error::UnknownChannel(msg::CHANNEL_DATA, u32::MAX)),
        (vec![b"\x60\0\0\0\0".to_vec(), data(1)], Error::DataAfterEof(0)),
        (vec![b"\x60\0\0\0\0".to_vec(), b"\x60\0\0\0\0".to_vec()], Error::DataAfterEof(0)),
        (vec![b"\x61\0\0\0\0".to_vec(), data(1)], Error::UnknownChannel(msg::CHANNEL_DATA, 0)),
        (vec![b"\x61\0\0\0\0".to_vec(), b"\x61\0\0\0\0".to_vec()], Error::UnknownChannel(msg::CHANNEL_CLOSE, 0)),
        (vec![b"\x5d\0\0\0\0\xff\xff\xff\xff".to_vec()], Error::WindowOverflow(0)),
        (vec![b"\x5d\0\0\0\0".to_vec()], Error::Malformed(msg::CHANNEL_WINDOW_ADJUST)),
        (vec![b"\x5e\0\0\0\0\0\0\0\x05x".to_vec()], Error::Malformed(msg::CHANNEL_DATA)),
        (vec![b"\x5b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()], Error::OutOfPhase(91, "as an answer to nothing")),
        (vec![b"\x63\0\0\0\0".to_vec()], Error::OutOfPhase(msg::CHANNEL_SUCCESS, "as an answer to nothing")),
        (vec![vec![msg::REQUEST_FAILURE]], Error::UnexpectedReply),
        (vec![vec![msg::USERAUTH_SUCCESS]], Error::OutOfPhase(msg::USERAUTH_SUCCESS, "after authentication")),
        (vec![vec![msg::EXT_INFO, 0, 0, 0, 0]], Error::OutOfPhase(msg::EXT_INFO, "after authentication")),
        (vec![vec![msg::NEWKEYS]], Error::OutOfPhase(msg::NEWKEYS, "without a key exchange")),
    ];
    for (payloads, expected) in cases {
        let mut pair = Pair::open();
        pair.open_channel(0, 1000, 1000);
        let (last, before) = payloads.split_last().unwrap();
        for payload in before {
            pair.server.put(payload);
            pair.run().unwrap();
        }
        pair.server.put(last);
        let error = pair.run().unwrap_err();
        assert_eq!(error, expected);
        let farewell = pair.received(msg::DISCONNECT).pop().expect("the server is told");
        assert_eq!(Disconnect::parse(&farewell).unwrap().reason, 2, "SSH_DISCONNECT_PROTOCOL_ERROR");
    }
}

#[test]
fn requests_are_answered_with_failure_when_an_answer_is_wanted() {
    let mut pair = Pair::open();
    pair.open_channel(7, 1000, 1000);
    for want_reply in [true, false] {
        let request = GlobalRequest { name: b"hostkeys-00@openssh.com", want_reply, specific: Rest(b"keys") };
        pair.server.send(request);
        let request = ChannelRequest { recipient: 0, request: b"exec", want_reply, specific: Rest(b"\0\0\0\x01x") };
        pair.server.send(request);
        pair.run().unwrap();
    }
    assert_eq!(pair.received(msg::REQUEST_FAILURE), [[msg::REQUEST_FAILURE]]);
    assert_eq!(pair.received(msg::CHANNEL_FAILURE), [b"\x64\0\0\0\x07"]);
}

#[test]
fn unknown_messages_are_unimplemented_and_harmless_ones_ignored() {
    let mut pair = Pair::open();
    pair.server.put(&[msg::IGNORE, 0, 0, 0, 1, b'x']);
    pair.server.put(&[msg::DEBUG, 1, 0, 0, 0, 1, b'x', 0, 0, 0, 0]);
    pair.server.put(&[msg::UNIMPLEMENTED, 0, 0, 0, 1]);
    pair.server.put(&[192, 1, 2, 3]);
    pair.run().unwrap();
    let answers = pair.received(msg::UNIMPLEMENTED);
    assert_eq!(answers.len(), 1);
    // In strict key exchange counting began at 0 behind NEWKEYS: EXT_INFO, SERVICE_ACCEPT, USERAUTH_SUCCESS, then these.
    assert_eq!(Unimplemented::parse(&answers[0]).unwrap().sequence_number, 6);
}

#[test]
fn a_disconnect_of_the_server_is_told_with_its_text() {
    let mut pair = Pair::open();
    let mut strings = Vec::new();
    strings.string(b"relay\x1b is going down");
    strings.string(b"en");
    pair.server.send(Disconnect { reason: 11, description_and_language: Rest(&strings) });
    let error = pair.run().unwrap_err();
    assert_eq!(error.to_string(), "the peer disconnected: reason 11, \"relay? is going down\"");
    assert!(pair.received(msg::DISCONNECT).is_empty(), "there is nobody to tell");
}

#[test]
fn our_disconnect_frees_the_slot_and_ends_everything() {
    let mut pair = Pair::open();
    let id = pair.open_channel(0, 1000, 1000);
    pair.client.disconnect();
    pair.run().unwrap();
    assert_eq!(pair.client.error(), Some(&Error::Closed));
    assert!(!pair.client.wants_input());
    let farewell = pair.received(msg::DISCONNECT).pop().unwrap();
    assert_eq!(Disconnect::parse(&farewell).unwrap().reason, 11, "SSH_DISCONNECT_BY_APPLICATION");
    assert_eq!(pair.client.channel_write(id, b"x"), Write::Closed);
    assert_eq!(pair.client.poll_timeout(), None);
}

/// A server that floods with requests and reads nothing is not read either, and neither memory nor time run away.
#[test]
fn a_server_that_takes_no_answers_is_not_read() {
    let mut pair = Pair::open();
    let mut sent = 0u32;
    while pair.client.wants_input() {
        assert!(sent < 100_000, "the flood must stop");
        pair.server.put(b"\x5a\0\0\0\x01x\0\0\0\0\0\0\0\x01\0\0\0\x01");
        sent += 1;
        let pending = pair.server.output.pending().to_vec();
        let space = pair.client.input_space();
        space[..pending.len()].copy_from_slice(&pending);
        pair.server.output.consume(pending.len());
        pair.client.handle_input(pending.len(), pair.now).unwrap();
    }
    pair.run().unwrap();
    assert!(pair.client.wants_input());
    assert_eq!(pair.received(msg::CHANNEL_OPEN_FAILURE).len(), sent as usize, "each got its answer in the end");
}

#[test]
fn a_silent_server_is_asked_for_a_sign_of_life_and_any_packet_is_one() {
    let mut pair = Pair::open();
    for answer in [&b"\x52"[..], b"\x02\0\0\0\0"] {
        pair.advance(limits::KEEPALIVE_MS - 1).unwrap();
        pair.run().unwrap();
        assert_eq!(pair.received(msg::GLOBAL_REQUEST).len(), 0);
        pair.advance(1).unwrap();
        pair.run().unwrap();
        let request = pair.received(msg::GLOBAL_REQUEST).pop().expect("a keepalive");
        assert_eq!(GlobalRequest::parse(&request).unwrap().name, b"keepalive@openssh.com");
        pair.advance(limits::KEEPALIVE_ANSWER_MS - 1).unwrap();
        pair.server.put(answer);
        pair.run().unwrap();
    }
    pair.advance(limits::KEEPALIVE_MS).unwrap();
    assert_eq!(pair.advance(limits::KEEPALIVE_ANSWER_MS), Err(Error::KeepaliveTimeout));
    assert!(pair.now.unix == TODAY);
}

#[test]
fn a_probe_asks_at_once_and_ends_a_dead_link_soon() {
    let mut pair = Pair::open();
    pair.client.probe(5_000, pair.now);
    pair.run().unwrap();
    assert_eq!(pair.received(msg::GLOBAL_REQUEST).len(), 1);
    pair.server.send(RequestFailure {});
    pair.run().unwrap();
    pair.advance(5_000).unwrap();
    pair.client.probe(5_000, pair.now);
    assert_eq!(pair.advance(5_000), Err(Error::KeepaliveTimeout));
}

#[test]
fn traffic_makes_keepalives_unnecessary() {
    let mut pair = Pair::open();
    let id = pair.open_channel(0, 1000, 1000);
    for _ in 0..10 {
        pair.advance(limits::KEEPALIVE_MS - 1).unwrap();
        pair.server.send(ChannelData { recipient: 0, data: b"tick" });
        pair.run().unwrap();
        assert_eq!(pair.read(id), b"tick");
    }
    assert_eq!(pair.received(msg::GLOBAL_REQUEST).len(), 0);
}
