//! Writes the seeds of the fuzz targets: `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.
//!
//! Packets stand here byte for byte as RFC 4250-4254 lay them out; the inputs' formats are told at the head of each target.

use edge_gateway::ssh::key::SignatureAlgorithm;
use edge_gateway::ssh::private_key::PrivateKey;
use edge_gateway::ssh::wire::Sink;
use edge_gateway_fuzz::*;
use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, seeds) in [("stream", stream()), ("messages", messages()), ("channels", channels())] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        for (name, seed) in seeds {
            std::fs::write(folder.join(name), seed)?;
        }
    }
    Ok(())
}

type Seeds = Vec<(String, Vec<u8>)>;

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    encoded.string(bytes);
    encoded
}

/// A string of a script: its length takes two bytes.
fn scripted(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short seed");
    [&length.to_be_bytes(), bytes].concat()
}

/// Identification and KEXINIT of a captured server.
fn captured(kexinit: &str) -> (String, Vec<u8>) {
    let mut lines = kexinit.lines().filter(|line| !line.starts_with('#'));
    let identification = lines.next().expect("an identification").to_owned();
    let digits: String = lines.collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (identification, (0..digits.len()).step_by(2).map(byte).collect())
}

// Steps of the target `stream`.

fn raw(bytes: &[u8]) -> Vec<u8> {
    [&[step::RAW], &scripted(bytes)[..]].concat()
}

fn payload(bytes: &[u8]) -> Vec<u8> {
    [&[step::PACKET], &scripted(bytes)[..]].concat()
}

/// CHANNEL_DATA with 32 KiB on channel 0.
const LARGE_DATA: &[u8] = &[step::LONG_PACKET, 0, 9, 0x5e, 0, 0, 0, 0, 0, 0, 0x80, 0, 0x80, 0];
const IN_PIECES_OF_7: &[u8] = &[step::PIECES, 6];
const THIRTY_ONE_SECONDS: &[u8] = &[step::TIME, 0x01, 0xe5];
const TWO_HOURS: &[u8] = &[step::TIME, 0xff, 0xff, step::TIME, 0xff, 0xff];
const SEND: &[u8] = &[step::SEND, 0xff, 0xff];
const READ: &[u8] = &[step::READ, 0, 0xff, 0xff];
const WRITE: &[u8] = &[step::WRITE, 0, 0x0f, 0xff];
const SHUTDOWN: &[u8] = &[step::SHUTDOWN, 0];
const RELEASE: &[u8] = &[step::RELEASE, 0];
const REKEY: &[u8] = &[step::REKEY];
const DISCONNECT: &[u8] = &[step::DISCONNECT];
const PROBE_FOR_A_SECOND: &[u8] = &[step::PROBE, 16];

/// CHANNEL_OPEN of the peer's channel 7, as golang.org/x/crypto/ssh sends it: without type-specific fields.
const OPEN: &[u8] = b"\x5a\0\0\0\x0cdirect-tcpip\0\0\0\x07\0\x20\0\0\0\0\x80\0";
const DATA: &[u8] = b"\x5e\0\0\0\0\0\0\0\x05hello";
const ADJUST: &[u8] = b"\x5d\0\0\0\0\0\x01\0\0";
const EOF: &[u8] = b"\x60\0\0\0\0";
const CLOSE: &[u8] = b"\x61\0\0\0\0";

fn stream() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, kexinit) in KEXINITS {
        let (identification, kexinit) = captured(kexinit);
        let line = format!("{identification}\r\n");
        let reply = [
            &[31],
            &string(&blob(HOST_CERTIFICATE))[..],
            &string(&[9; 32]),
            &string(&[string(b"ssh-ed25519"), string(&[1; 64])].concat()),
        ]
        .concat();
        let handshake = [
            vec![4],
            raw(line.as_bytes()),
            SEND.into(),
            payload(&kexinit),
            SEND.into(),
            payload(&reply),
            payload(&[21]),
        ];
        seeds.push((format!("handshake-{name}"), handshake.concat()));
    }
    let identifications: [(&str, &[u8]); 4] = [
        ("lines-first", b"Welcome!\r\nTo the jungle.\r\nSSH-2.0-server comment\r\n"),
        ("no-ssh", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("version-1", b"SSH-1.5-old\n"),
        ("unprintable", b"SSH-2.0-\x00\n"),
    ];
    for (name, lines) in identifications {
        seeds.push((format!("identification-{name}"), [&[0], IN_PIECES_OF_7, &raw(lines), SEND].concat()));
    }
    let generic =
        [b"\x02\0\0\0\0".to_vec(), b"\x04\0\0\0\0\0\0\0\0\0".to_vec(), b"\x01\0\0\0\x0b\0\0\0\x03bye\0\0\0\0".to_vec()];
    let steps = generic.iter().map(|bytes| payload(bytes)).collect::<Vec<_>>().concat();
    seeds.push(("generic-before-kexinit".into(), [&[0], &raw(b"SSH-2.0-server\r\n")[..], &steps].concat()));

    // From here on the connection is open.
    let mut open = |name: &str, flags: u8, steps: &[&[u8]]| {
        let mut seed = vec![flag::OPEN | flags];
        for step in steps {
            // A step of its own begins with its small number; everything else is a message.
            match step[0] {
                0..step::COUNT => seed.extend_from_slice(step),
                _ => seed.extend(payload(step)),
            }
        }
        seeds.push((name.into(), seed));
    };
    open("channel", 0, &[OPEN, SEND, DATA, READ, WRITE, ADJUST, SHUTDOWN, SEND, EOF, READ, CLOSE, RELEASE, SEND]);
    open("channel-in-pieces", 0, &[IN_PIECES_OF_7, OPEN, SEND, DATA, DATA, READ, SEND, CLOSE, READ, RELEASE, SEND]);
    open("channel-released-first", 0, &[OPEN, SEND, DATA, RELEASE, DATA, SEND, CLOSE, OPEN, SEND]);
    open("too-many-channels", flag::FEW_CHANNELS, &[OPEN, OPEN, OPEN, OPEN, SEND, DATA, SEND]);
    open("window-overrun", 0, &[OPEN, SEND, LARGE_DATA, LARGE_DATA]);
    open("window-returned", 0, &[OPEN, SEND, LARGE_DATA, READ, SEND, LARGE_DATA, READ, SEND]);
    open("data-after-eof", 0, &[OPEN, EOF, DATA]);
    open("data-on-no-channel", 0, &[DATA]);
    open("extended-data", 0, &[OPEN, b"\x5f\0\0\0\0\0\0\0\x01\0\0\0\x03err", SEND]);
    let pty = b"\x62\0\0\0\0\0\0\0\x07pty-req\x01";
    let signal = b"\x62\0\0\0\0\0\0\0\x06signal\0";
    open("channel-requests", 0, &[OPEN, pty, signal, pty, SEND]);
    open("other-channel-types", 0, &[b"\x5a\0\0\0\x07session\0\0\0\x01\0\0\x80\0\0\0\x80\0", SEND]);
    let forwarded = b"\x5a\0\0\0\x0fforwarded-tcpip\0\0\0\x01\0\0\x80\0\0\0\x80\0\0\0\0\x091.2.3.4.5\0\0\0\x16\0\0\0\x01a\0\0\0\x17";
    open("forward", flag::FORWARD, &[forwarded, SEND, b"\x51\0\0\x1f\x90", forwarded, SEND, DATA, READ]);
    open("forward-refused", flag::FORWARD, &[SEND, b"\x52"]);
    open("keepalive-answered", 0, &[THIRTY_ONE_SECONDS, SEND, b"\x52", THIRTY_ONE_SECONDS, SEND, b"\x51"]);
    open("probe-unanswered", 0, &[OPEN, SEND, PROBE_FOR_A_SECOND, SEND, THIRTY_ONE_SECONDS, SEND]);
    open("keepalive-of-the-peer", 0, &[b"\x50\0\0\0\x15keepalive@openssh.com\x01", SEND]);
    open("answers-to-nothing", 0, &[b"\x52"]);
    open("unknown-message", 0, &[&[192, 1, 2, 3], &[63], SEND]);
    open("disconnected", 0, &[OPEN, DATA, b"\x01\0\0\0\x0b\0\0\0\x03bye\0\0\0\0"]);
    open("disconnect", 0, &[OPEN, DATA, DISCONNECT, SEND]);
    open("silence", 0, &[OPEN, SEND, TWO_HOURS]);
    let (_, kexinit) = captured(KEXINITS[0].1);
    open("rekey-of-ours", 0, &[OPEN, SEND, REKEY, SEND, DATA, READ, &kexinit, SEND]);
    open("rekey-of-the-peer", flag::PINNED, &[OPEN, SEND, &kexinit, WRITE, SEND, &[31, 0, 0, 0, 0]]);
    open(
        "rekey-by-count",
        flag::REKEY_EARLY,
        &[OPEN, SEND, DATA, WRITE, DATA, DATA, READ, SEND, WRITE, &kexinit, SEND],
    );
    open("padding-wrong", 0, &[&raw(b"\0\0\0\x0c\x03\x02789012345\0")]);
    open("length-wrong", 0, &[&raw(b"\0\0\0\x0d")]);
    open("too-long", 0, &[&raw(b"\0\0\x88\xb8")]);
    seeds
}

fn messages() -> Seeds {
    let mut seeds = Seeds::new();
    let mut seed =
        |name: &str, parser: u8, parts: &[&[u8]]| seeds.push((name.into(), [&[parser], &parts.concat()[..]].concat()));
    let kexinits = KEXINITS.map(|(name, kexinit)| (name, captured(kexinit).1));
    let literal: [(&str, &[u8]); 16] = [
        ("disconnect", b"\x01\0\0\0\x0b\0\0\0\x03bye\0\0\0\0"),
        ("unimplemented", b"\x03\0\0\0\x09"),
        ("service-accept", b"\x06\0\0\0\x0cssh-userauth"),
        ("ext-info", b"\x07\0\0\0\x01\0\0\0\x0fserver-sig-algs\0\0\0\x0crsa-sha2-512"),
        ("newkeys", b"\x15"),
        ("userauth-failure", b"\x33\0\0\0\x09publickey\0"),
        ("userauth-success", b"\x34"),
        ("banner", b"\x35\0\0\0\x06Hello!\0\0\0\0"),
        ("global-request", b"\x50\0\0\0\x15keepalive@openssh.com\x01"),
        ("open", OPEN),
        ("open-confirmation", b"\x5b\0\0\0\x07\0\0\0\0\0\0\xf0\0\0\0\x80\0"),
        ("open-failure", b"\x5c\0\0\0\x07\0\0\0\x04\0\0\0\0\0\0\0\0"),
        ("adjust", ADJUST),
        ("data", DATA),
        ("extended-data", b"\x5f\0\0\0\0\0\0\0\x01\0\0\0\x03err"),
        ("channel-request", b"\x62\0\0\0\0\0\0\0\x04exec\x01\0\0\0\x02ls"),
    ];
    for (name, message) in literal {
        seed(&format!("message-{name}"), parser::MESSAGE, &[message]);
    }
    for (name, payload) in &kexinits {
        seed(&format!("message-kexinit-{name}"), parser::MESSAGE, &[payload]);
        seed(&format!("kexinit-{name}"), parser::KEXINIT, &[payload]);
    }
    for (name, line) in [
        ("host", HOST_CERTIFICATE),
        ("dated", DATED_CERTIFICATE),
        ("user", USER_CERTIFICATE),
        ("rsa", RSA_CERTIFICATE),
        ("raw", HOST_KEY),
    ] {
        // 1,768,435,200 is 2026-01-15: so many hours after 1,700,000,000.
        seed(&format!("certificate-{name}"), parser::CERTIFICATE, &[&19_009u16.to_be_bytes(), &blob(line)]);
        seed(&format!("line-{name}"), parser::LINE, &[line.as_bytes()]);
    }
    seed("line-in-binary", parser::LINE_PARTS, &[&scripted(b"ssh-ed25519"), &blob(HOST_KEY)]);
    seed(
        "line-in-binary-certificate",
        parser::LINE_PARTS,
        &[&scripted(b"ssh-ed25519-cert-v01@openssh.com"), &blob(USER_CERTIFICATE)],
    );
    for (name, pem) in [("ed25519", KEY), ("ecdsa", ECDSA_PRIVATE_KEY), ("rsa", RSA_PRIVATE_KEY)] {
        let private = PrivateKey::from_pem(pem).expect("a fixture");
        for algorithm in SignatureAlgorithm::ALL {
            if let Some(signature) = private.sign(algorithm, b"message") {
                let parts = [&scripted(private.public_blob())[..], &scripted(&signature), b"message"];
                seed(&format!("signature-{}", algorithm.name()), parser::SIGNATURE, &parts);
            }
        }
        let armoured: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        seed(&format!("private-{name}"), parser::PEM, &[pem.as_bytes()]);
        seed(&format!("private-{name}-in-binary"), parser::PRIVATE_KEY, &[&blob(&format!("- {armoured} -"))]);
    }
    seed("line-ecdsa", parser::LINE, &[ECDSA_KEY.as_bytes()]);
    seed("text", parser::TEXT, &["two\r\nlines \u{202e}\u{1b}[31m".as_bytes(), b"\xff"]);
    seed("server-sig-algs", parser::TEXT, &[b"\0\0\0\x0fserver-sig-algs\0\0\0\x18ssh-ed25519,rsa-sha2-512"]);
    seeds
}

/// An operation of the target `channels`.
fn on_channel(what: u8, channel: u8, number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [what, channel, high, low]
}

fn channels() -> Seeds {
    // A window of 2 MiB and packets of 32 KiB, as x/crypto/ssh has them; a window of 1 byte.
    let open = on_channel(operation::OPEN, 0, 0o34);
    let open_narrow = on_channel(operation::OPEN, 0, 0o31);
    let data = |length| on_channel(operation::DATA, 0, length);
    let too_much = on_channel(operation::ANY_DATA, 0, 0xffff);
    let extended = on_channel(operation::EXTENDED_DATA, 0, 0x8000);
    let adjust = on_channel(operation::ADJUST, 0, 1001);
    let (eof, close, requests) = (
        on_channel(operation::EOF, 0, 0),
        on_channel(operation::CLOSE, 0, 0),
        on_channel(operation::REQUEST, 0, 0x201),
    );
    let read = |most| on_channel(operation::READ, 0, most);
    let write = |length| on_channel(operation::WRITE, 0, length);
    let (starve, shut_down, release) = (
        on_channel(operation::STARVE, 0, 0),
        on_channel(operation::SHUTDOWN, 0, 0),
        on_channel(operation::RELEASE, 0, 0),
    );
    let (control, dispatch, sweep) = (
        on_channel(operation::CONTROL, 0, 0xffff),
        on_channel(operation::DISPATCH, 0, 0),
        on_channel(operation::SWEEP, 0, 0),
    );
    let seeds: [(&str, &[[u8; 4]]); 12] = [
        (
            "life",
            &[
                open,
                control,
                dispatch,
                data(100),
                read(100),
                write(100),
                eof,
                read(1),
                shut_down,
                control,
                close,
                control,
                release,
            ],
        ),
        ("close-of-the-peer-first", &[open, control, dispatch, data(9), close, control, read(100), release]),
        ("close-of-the-user-first", &[open, control, dispatch, release, control, data(9), close, control, open]),
        (
            "credit",
            &[
                open,
                control,
                dispatch,
                data(0x8000),
                data(0x8000),
                read(0x9000),
                control,
                data(0x8000),
                read(0xffff),
                control,
            ],
        ),
        ("overrun", &[open, too_much]),
        ("extended-data", &[open, control, extended, control]),
        ("requests", &[open, control, requests, control, requests]),
        (
            "waiting-to-read",
            &[open, dispatch, read(1), data(0), dispatch, data(1), dispatch, read(1), read(1), close, dispatch],
        ),
        (
            "waiting-to-write",
            &[
                open_narrow,
                control,
                dispatch,
                write(9),
                write(9),
                adjust,
                dispatch,
                write(9),
                close,
                dispatch,
                write(1),
            ],
        ),
        ("starving", &[open, control, dispatch, starve, dispatch, starve, release, dispatch]),
        ("sweeping", &[open, sweep, data(5), dispatch, sweep, read(5), sweep, sweep, sweep]),
        (
            "refusals",
            &[
                on_channel(operation::OPEN, 7, 0),
                on_channel(operation::OPEN, 5, 0o34),
                open,
                open,
                control,
                on_channel(operation::OPEN, 4, 0o34),
                on_channel(operation::OPEN, 6, 0o34),
            ],
        ),
    ];
    seeds.map(|(name, operations)| (name.into(), [&[0], operations.concat().as_slice()].concat())).to_vec()
}
