//! What can end a relay link, who is at fault, and what SSH_MSG_DISCONNECT tells the peer.

use super::cert::CertificateError;
use super::key::KeyError;
use super::msg;
use super::packet::PacketError;
use super::wire::Malformed;
use crate::limits::ssh::{CERTIFICATE_MAX, PACKET_MAX, PEER_TEXT_MAX, RECEIVE_DATA_MAX};
use core::fmt;

/// A text that the peer sent, cut to [`PEER_TEXT_MAX`] bytes and without control characters: fit for a log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerText(Box<str>);

impl PeerText {
    /// Cleans `bytes`; what is not UTF-8 or not printable becomes `?`, runs of line breaks become a space.
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = String::new();
        for piece in bytes.utf8_chunks() {
            let replaced = if piece.invalid().is_empty() { None } else { Some('?') };
            for character in piece.valid().chars().chain(replaced) {
                let clean = match character {
                    '\r' | '\n' | '\t' if text.ends_with(' ') => continue,
                    '\r' | '\n' | '\t' => ' ',
                    other if other.is_control() || is_direction_mark(other) => '?',
                    other => other,
                };
                if text.len() + clean.len_utf8() > PEER_TEXT_MAX {
                    return PeerText(text.into());
                }
                text.push(clean);
            }
        }
        PeerText(text.into())
    }

    /// The clean text.
    pub fn as_str(&self) -> &str {
        self.0.trim_end()
    }
}

/// Characters that reorder what stands around them on a terminal.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who must do something about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The relay is not the one that the platform vouched for. Trying again does not help.
    NotTrusted,
    /// The relay does not accept this user's certificate. Get a new one.
    Refused,
    /// The peer broke the protocol, or has nothing in common with this client.
    Peer,
    /// The link is gone or silent: try again.
    Link,
    /// Neither: a limit of this side, or its random source, failed.
    Local,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server has not identified itself.
    Identification,
    /// The first key exchange.
    KeyExchange,
    /// The user is not accepted yet.
    Authentication,
    /// The connection protocol.
    Open,
}

impl Stage {
    /// The stage in a sentence about what the peer did.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Identification => "before identifying itself",
            Stage::KeyExchange => "during the key exchange",
            Stage::Authentication => "during authentication",
            Stage::Open => "after authentication",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer's first bytes are no SSH identification; holds what is wrong.
    Identification(&'static str),
    /// A packet that breaks RFC 4253 section 6.
    Packet(PacketError),
    /// A message whose fields do not fit its length; holds its number.
    Malformed(u8),
    /// A message that may not arrive now; holds its number and the phase.
    OutOfPhase(u8, &'static str),
    /// No algorithm in common; holds the kind and the start of the peer's list.
    NoCommon(&'static str, PeerText),
    /// The server has no host certificate, and no host key was pinned; holds the start of its list.
    RawHostKey(PeerText),
    /// The server's raw host key is not the pinned one.
    WrongHostKey,
    /// The host certificate does not hold.
    HostCertificate(CertificateError),
    /// The server's signature of the key exchange does not hold.
    HostSignature(KeyError),
    /// The server's ephemeral key or ciphertext is invalid.
    KeyExchange,
    /// Strict key exchange: something came between; holds the message number.
    StrictKex(u8),
    /// The server takes no RSA signature with SHA-2; holds `server-sig-algs`.
    NoSha2(PeerText),
    /// The server refused the user's certificate; holds the methods that it would take.
    UserRefused(PeerText),
    /// The key of this side could not sign.
    Signing,
    /// A channel number that is not open; holds the message number and the channel.
    UnknownChannel(u8, u32),
    /// More data than the window allows; holds the channel.
    WindowOverrun(u32),
    /// One packet of data above the advertised maximum; holds the channel and the length.
    DataTooLong(u32, usize),
    /// Data or EOF after EOF or close; holds the channel.
    DataAfterEof(u32),
    /// Window adjustments that add up to more than 2^32 - 1; holds the channel.
    WindowOverflow(u32),
    /// An answer to a global request that was not made.
    UnexpectedReply,
    /// The server refused to listen for this side (`tcpip-forward`).
    ForwardRefused,
    /// More requests than can be kept for an answer: the peer sends and does not read.
    TooManyRequests,
    /// The handshake or a key exchange did not end in time.
    HandshakeTimeout,
    /// No sign of life within the keepalive's deadline.
    KeepaliveTimeout,
    /// The peer closed the TCP connection.
    LinkClosed(Stage),
    /// The peer said goodbye; holds the reason code of RFC 4253 section 11.1 and its text.
    Disconnected(u32, PeerText),
    /// This side said goodbye.
    Closed,
    /// The operating system's random source failed.
    Random,
    /// Should not happen; holds where.
    Internal(&'static str),
}

impl Error {
    /// Who must do something.
    pub fn fault(&self) -> Fault {
        match self {
            Error::RawHostKey(_) | Error::WrongHostKey | Error::HostCertificate(_) | Error::HostSignature(_) => {
                Fault::NotTrusted
            }
            Error::UserRefused(_) | Error::ForwardRefused => Fault::Refused,
            Error::Disconnected(..)
            | Error::LinkClosed(_)
            | Error::KeepaliveTimeout
            | Error::HandshakeTimeout
            | Error::Closed => Fault::Link,
            Error::Signing | Error::Random | Error::Internal(_) => Fault::Local,
            _ => Fault::Peer,
        }
    }

    /// The reason code of RFC 4253 section 11.1 to send, `None` when there is nobody to tell.
    pub fn disconnect_reason(&self) -> Option<u32> {
        match self {
            Error::Disconnected(..) | Error::LinkClosed(_) | Error::Identification(_) => None,
            Error::Packet(PacketError::BadMac) => Some(reason::MAC_ERROR),
            Error::RawHostKey(_) | Error::NoCommon(..) | Error::KeyExchange | Error::StrictKex(_) => {
                Some(reason::KEY_EXCHANGE_FAILED)
            }
            Error::WrongHostKey | Error::HostCertificate(_) | Error::HostSignature(_) => {
                Some(reason::HOST_KEY_NOT_VERIFIABLE)
            }
            Error::NoSha2(_) | Error::UserRefused(_) => Some(reason::NO_MORE_AUTH_METHODS_AVAILABLE),
            Error::KeepaliveTimeout | Error::HandshakeTimeout => Some(reason::CONNECTION_LOST),
            Error::Closed | Error::ForwardRefused | Error::Signing | Error::Random | Error::Internal(_) => {
                Some(reason::BY_APPLICATION)
            }
            _ => Some(reason::PROTOCOL_ERROR),
        }
    }
}

/// Reason codes of SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
#[allow(missing_docs, reason = "the names of the RFC")]
pub mod reason {
    pub const PROTOCOL_ERROR: u32 = 2;
    pub const KEY_EXCHANGE_FAILED: u32 = 3;
    pub const MAC_ERROR: u32 = 5;
    pub const HOST_KEY_NOT_VERIFIABLE: u32 = 9;
    pub const CONNECTION_LOST: u32 = 10;
    pub const BY_APPLICATION: u32 = 11;
    pub const NO_MORE_AUTH_METHODS_AVAILABLE: u32 = 14;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Identification(what) => write!(f, "not an SSH 2 server: {what}"),
            Error::Packet(PacketError::TooLong(n)) => {
                write!(f, "the peer announced a packet of {n} bytes, the limit is {PACKET_MAX}")
            }
            Error::Packet(PacketError::BadLength(n)) => write!(f, "the peer announced a packet of invalid length {n}"),
            Error::Packet(PacketError::BadPadding(n)) => {
                write!(f, "the peer sent a packet with bad padding length {n}")
            }
            Error::Packet(PacketError::BadMac) => {
                f.write_str("bad MAC: a packet was altered on the way, or the peer's keys differ")
            }
            Error::Malformed(n) => write!(f, "the peer sent a malformed {}", msg::name(*n)),
            Error::OutOfPhase(n, phase) => write!(f, "the peer sent {} (message {n}) {phase}", msg::name(*n)),
            Error::NoCommon(kind, list) => write!(f, "no common {kind}, the peer offers {list}"),
            Error::RawHostKey(list) => write!(
                f,
                "the peer offers only a raw host key ({list}); a host certificate signed by the configured CA is required"
            ),
            Error::WrongHostKey => f.write_str("the peer's host key is not the pinned one"),
            Error::HostCertificate(error) => write!(f, "the host certificate is not acceptable: {error}"),
            Error::HostSignature(error) => write!(f, "the host's signature is not acceptable: {error}"),
            Error::KeyExchange => f.write_str("the key exchange failed: the peer's public value is invalid"),
            Error::StrictKex(n) => write!(f, "strict key exchange violated: {} came in between", msg::name(*n)),
            Error::NoSha2(list) => write!(f, "the peer takes no RSA signature with SHA-2, it accepts {list}"),
            Error::UserRefused(methods) => {
                write!(f, "the peer refused the user certificate (it would take: {methods})")
            }
            Error::Signing => f.write_str("the user key could not sign"),
            Error::UnknownChannel(n, channel) => {
                write!(f, "the peer sent {} on channel {channel}, which is not open", msg::name(*n))
            }
            Error::WindowOverrun(channel) => write!(f, "window overrun: more data than allowed on channel {channel}"),
            Error::DataTooLong(channel, n) => {
                write!(f, "{n} bytes of data in one packet on channel {channel}, the limit is {RECEIVE_DATA_MAX}")
            }
            Error::DataAfterEof(channel) => write!(f, "data after the end on channel {channel}"),
            Error::WindowOverflow(channel) => write!(f, "the peer's window on channel {channel} overflows"),
            Error::UnexpectedReply => f.write_str("the peer answered a global request that was not made"),
            Error::ForwardRefused => f.write_str("the peer refused to listen for this gateway (tcpip-forward)"),
            Error::TooManyRequests => f.write_str("the peer sends requests but does not take the answers"),
            Error::HandshakeTimeout => f.write_str("the handshake did not end in time"),
            Error::KeepaliveTimeout => f.write_str("no answer to the keepalive"),
            Error::LinkClosed(stage) => write!(f, "the peer closed the connection {}", stage.name()),
            Error::Disconnected(code, text) => write!(f, "the peer disconnected: reason {code}, \"{text}\""),
            Error::Closed => f.write_str("closed by this gateway"),
            Error::Random => f.write_str("the operating system's random source failed"),
            Error::Internal(place) => write!(f, "internal error in {place}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<PacketError> for Error {
    fn from(error: PacketError) -> Self {
        Error::Packet(error)
    }
}

/// Adds which message it was to a codec error.
pub(super) fn malformed(number: u8) -> impl FnOnce(Malformed) -> Error {
    move |Malformed| Error::Malformed(number)
}

/// A key or certificate file that can't be used: always a matter for the person who configured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// Not a line `type base64 [comment]`.
    NotALine,
    /// Not between the BEGIN and END lines of an OpenSSH private key.
    NotAPem,
    /// The base64 does not decode, or the fields inside do not fit.
    Damaged,
    /// The private key is encrypted.
    Encrypted,
    /// A type or curve that is not supported.
    Unsupported,
    /// An RSA key outside 2048 to 4096 bits.
    RsaSize,
    /// The key's parts do not belong together.
    Inconsistent,
    /// The certificate is not for the private key.
    KeyMismatch,
    /// A host certificate where the user's belongs.
    NotAUserCertificate,
    /// Larger than [`CERTIFICATE_MAX`].
    TooLong,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotALine => f.write_str("expected one line: type, base64, comment"),
            FileError::NotAPem => f.write_str("expected an OpenSSH private key (BEGIN OPENSSH PRIVATE KEY)"),
            FileError::Damaged => f.write_str("the contents are damaged"),
            FileError::Encrypted => {
                f.write_str("the private key is encrypted; remove the passphrase with ssh-keygen -p")
            }
            FileError::Unsupported => f.write_str("unsupported key type; use RSA, ECDSA P-256 or P-384, or Ed25519"),
            FileError::RsaSize => f.write_str("unsupported RSA key size; use 2048 to 4096 bits"),
            FileError::Inconsistent => f.write_str("the parts of the private key do not belong together"),
            FileError::KeyMismatch => f.write_str("the certificate is not for this private key"),
            FileError::NotAUserCertificate => f.write_str("expected a user certificate, found a host certificate"),
            FileError::TooLong => write!(f, "larger than {CERTIFICATE_MAX} bytes"),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_peer_are_fit_for_a_log_line() {
        assert_eq!(PeerText::new(b"bye\r\nfor now\n").as_str(), "bye for now");
        assert_eq!(PeerText::new(b"\x1b[31mred\xff \xe2\x80\xaeevil").as_str(), "?[31mred? ?evil");
        assert_eq!(PeerText::new(&[b'a'; 1000]).as_str().len(), PEER_TEXT_MAX);
        let euro = "€".repeat(100);
        assert!(PeerText::new(euro.as_bytes()).as_str().len() <= PEER_TEXT_MAX);
    }
}
