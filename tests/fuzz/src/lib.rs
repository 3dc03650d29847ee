//! What the fuzz targets and the program that writes their seeds have in common: how an input is read as steps, and keys.

use base64::{Engine, engine::general_purpose::STANDARD};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, UserCertificate};
use edge_gateway::ssh::connection::Config;
use edge_gateway::ssh::negotiate::Trust;
use edge_gateway::ssh::private_key::PrivateKey;
use std::sync::{Arc, LazyLock};

macro_rules! vector {
    ($path:literal) => {
        include_str!(concat!("../../vectors/", $path))
    };
}

/// The private key of the user, and of the host.
pub const KEY: &str = vector!("keys/ed25519");
/// The host's public key.
pub const HOST_KEY: &str = vector!("keys/ed25519.pub");
/// The user's certificate.
pub const USER_CERTIFICATE: &str = vector!("certificates/ed25519.user-by-rsa.pub");
/// The host's certificate.
pub const HOST_CERTIFICATE: &str = vector!("certificates/ed25519.host.pub");
/// A host certificate that is valid in January 2026 only.
pub const DATED_CERTIFICATE: &str = vector!("certificates/host-of-january-2026.pub");
/// Another type of key in a certificate.
pub const RSA_CERTIFICATE: &str = vector!("certificates/rsa-2048.host.pub");
/// Another type of key.
pub const ECDSA_KEY: &str = vector!("keys/ecdsa-256.pub");
/// Another type of private key.
pub const RSA_PRIVATE_KEY: &str = vector!("keys/rsa-2048");
/// Another type of private key.
pub const ECDSA_PRIVATE_KEY: &str = vector!("keys/ecdsa-384");
/// The authority that signed the certificates.
pub const AUTHORITY: &str = vector!("keys/ca-rsa.pub");
/// KEXINITs of three servers.
pub const KEXINITS: [(&str, &str); 3] = [
    ("go", vector!("kexinit/go")),
    ("openssh", vector!("kexinit/openssh-9.2")),
    ("russh", vector!("kexinit/russh-0.65")),
];

/// The binary part of a line `type base64 comment`.
pub fn blob(line: &str) -> Vec<u8> {
    STANDARD.decode(line.split(' ').nth(1).expect("three fields")).expect("base64")
}

/// Whom the fuzzed connections believe.
pub fn trust(pinned: bool) -> Trust {
    let authority = |line| Authority::from_line(line).expect("a fixture");
    Trust {
        authorities: vec![authority(AUTHORITY)],
        names: vec!["relay.example:2222".into()],
        pinned: pinned.then(|| authority(HOST_KEY)),
    }
}

/// The configuration of a fuzzed connection.
pub fn config(pinned: bool) -> Config {
    static CREDENTIALS: LazyLock<Arc<Credentials>> = LazyLock::new(|| {
        let key = PrivateKey::from_pem(KEY).expect("a fixture");
        let certificate = UserCertificate::from_line(USER_CERTIFICATE).expect("a fixture");
        Arc::new(Credentials::new("gateway".into(), key, certificate).expect("fixtures that belong together"))
    });
    Config::new(trust(pinned), CREDENTIALS.clone())
}

/// A payload as an unencrypted packet (RFC 4253 section 6).
pub fn packet(payload: &[u8]) -> Vec<u8> {
    let mut padding = 8 - (5 + payload.len()) % 8;
    if padding < 4 || 5 + payload.len() + padding < 16 {
        padding += 8;
    }
    let length = u32::try_from(1 + payload.len() + padding).expect("a fuzzer's input is short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(padding as u8);
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Reads an input as a script of steps: numbers, and strings behind their length. Each is `None` at the end.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Two bytes, big-endian.
    pub fn number(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    /// As many bytes as the number before them says, or what is left of them.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?).min(self.0.len());
        let (string, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(string)
    }
}

/// The flags that an input of the target `stream` begins with.
pub mod flag {
    /// The connection starts authenticated and without encryption.
    pub const OPEN: u8 = 1;
    /// It asks the server to listen.
    pub const FORWARD: u8 = 2;
    /// A raw host key is pinned.
    pub const PINNED: u8 = 4;
    /// New keys are due after 512 bytes.
    pub const REKEY_EARLY: u8 = 8;
    /// There may be three channels.
    pub const FEW_CHANNELS: u8 = 16;
}

/// The steps of the target `stream`, taken modulo [`step::COUNT`], and what follows each in the script.
pub mod step {
    /// The server sends a string as it stands.
    pub const RAW: u8 = 0;
    /// The server sends a string as the payload of a packet.
    pub const PACKET: u8 = 1;
    /// The same with a number of bytes behind the string, so that short inputs make long packets.
    pub const LONG_PACKET: u8 = 2;
    /// From now on at most a byte's value and one more arrive at once.
    pub const PIECES: u8 = 3;
    /// A number of times 64 ms pass.
    pub const TIME: u8 = 4;
    /// The server takes a number of bytes.
    pub const SEND: u8 = 5;
    /// From a channel, a byte, at most a number of bytes are read.
    pub const READ: u8 = 6;
    /// To a channel, a byte, a number of bytes are written.
    pub const WRITE: u8 = 7;
    /// A channel, a byte, is shut down.
    pub const SHUTDOWN: u8 = 8;
    /// A channel, a byte, is released.
    pub const RELEASE: u8 = 9;
    /// New keys are asked for.
    pub const REKEY: u8 = 10;
    /// A sign of life is asked for, within a byte of times 64 ms.
    pub const PROBE: u8 = 11;
    /// The client says goodbye.
    pub const DISCONNECT: u8 = 12;
    /// The server closes the connection.
    pub const END: u8 = 13;
    /// How many there are.
    pub const COUNT: u8 = 14;
}

/// What an input of the target `messages` is parsed as, by its first byte modulo [`parser::COUNT`].
pub mod parser {
    /// A message of the RFCs.
    pub const MESSAGE: u8 = 0;
    /// A certificate, behind a number: the hours that the clock shows after 1,700,000,000 s.
    pub const CERTIFICATE: u8 = 1;
    /// A public key and a signature, both strings, then the message signed.
    pub const SIGNATURE: u8 = 2;
    /// A private key as people have it.
    pub const PEM: u8 = 3;
    /// A private key without the armour, which mutations rarely leave whole.
    pub const PRIVATE_KEY: u8 = 4;
    /// A public key or certificate as people have it.
    pub const LINE: u8 = 5;
    /// The same without the armour: a string, the type, and the blob.
    pub const LINE_PARTS: u8 = 6;
    /// KEXINIT, and what is agreed on.
    pub const KEXINIT: u8 = 7;
    /// Text for a log line, and the pairs of EXT_INFO.
    pub const TEXT: u8 = 8;
    /// How many there are.
    pub const COUNT: u8 = 9;
}

/// The operations of the target `channels`, taken modulo [`operation::COUNT`]. Each is followed by a byte, which chooses the channel,
/// and a number.
pub mod operation {
    /// CHANNEL_OPEN: the byte chooses its type, the number its window and largest packet.
    pub const OPEN: u8 = 0;
    /// CHANNEL_DATA of so many bytes, or as many as the window allows.
    pub const DATA: u8 = 1;
    /// CHANNEL_DATA of so many bytes, allowed or not.
    pub const ANY_DATA: u8 = 2;
    /// CHANNEL_EXTENDED_DATA of so many bytes, or as many as the window allows.
    pub const EXTENDED_DATA: u8 = 3;
    /// CHANNEL_WINDOW_ADJUST.
    pub const ADJUST: u8 = 4;
    /// CHANNEL_EOF.
    pub const EOF: u8 = 5;
    /// CHANNEL_CLOSE.
    pub const CLOSE: u8 = 6;
    /// CHANNEL_REQUEST: the number tells how many, and whether they want a reply.
    pub const REQUEST: u8 = 7;
    /// The user reads so many bytes.
    pub const READ: u8 = 8;
    /// The user writes so many bytes.
    pub const WRITE: u8 = 9;
    /// The user finds the output buffer full.
    pub const STARVE: u8 = 10;
    /// The user sends EOF.
    pub const SHUTDOWN: u8 = 11;
    /// The user is gone.
    pub const RELEASE: u8 = 12;
    /// So many control messages are sent.
    pub const CONTROL: u8 = 13;
    /// The users learn the news.
    pub const DISPATCH: u8 = 14;
    /// Time passes: empty rings are given back.
    pub const SWEEP: u8 = 15;
    /// How many there are.
    pub const COUNT: u8 = 16;
}
