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
