//! What can go wrong with TLS: before a stream exists ([`HandshakeError`]) and in it ([`StreamError`]).

use core::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::record::RecordError;
use crate::limits::{RECORD_BUF, TLS_HANDSHAKE_TIME};

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// It took longer than [`TLS_HANDSHAKE_TIME`].
    Timeout,
    /// The byte stream failed or ended.
    Io(io::Error),
    /// The first bytes are not a TLS record.
    NotTls,
    /// One flight of the peer does not fit in a buffer.
    FlightTooLong,
    /// The client offered no ALPN protocol.
    NoAlpn,
    /// Everything that the protocol or the certificates forbid.
    Tls(Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(f, "no TLS handshake within {} s", TLS_HANDSHAKE_TIME.as_secs()),
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the peer closed the connection during the TLS handshake")
            }
            Self::Io(error) => write!(f, "the connection failed during the TLS handshake: {error}"),
            Self::NotTls => f.write_str("the peer does not speak TLS"),
            Self::FlightTooLong => write!(f, "a TLS handshake flight of over {RECORD_BUF} bytes"),
            Self::NoAlpn => f.write_str("the client names no protocol (ALPN)"),
            Self::Tls(error) => explain(error, f),
        }
    }
}

/// rustls's own words, except where they don't say what happened to whom.
fn explain(error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        Error::NoApplicationProtocol => {
            f.write_str("the client asks for a protocol that this gateway does not serve (ALPN)")
        }
        Error::NoCertificatesPresented => f.write_str("the client sent no certificate"),
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            f.write_str("the peer's certificate is not signed by a trusted CA")
        }
        Error::AlertReceived(alert) => write!(f, "the peer refused: {}", AlertName(*alert)),
        other => write!(f, "{other}"),
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        Self::Tls(error)
    }
}

/// Why an established stream failed. It travels inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The byte stream ended without a close_notify: what came may not be all that was sent.
    Truncated,
    /// The peer reported an error and closed.
    Alert(AlertDescription),
    /// A record was not authentic, or not a TLS record.
    BadRecord,
    /// A message that has no place after the handshake; renegotiation is one.
    Unexpected,
    /// The cipher's limit was reached and TLS 1.2 knows no new keys.
    Exhausted,
    /// Written to after it was shut down.
    Closed,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the peer closed the connection without a TLS close_notify"),
            Self::Alert(alert) => write!(f, "the peer ended TLS: {}", AlertName(*alert)),
            Self::BadRecord => f.write_str("a TLS record is damaged"),
            Self::Unexpected => f.write_str("a TLS handshake message after the handshake"),
            Self::Exhausted => f.write_str("the TLS 1.2 key has sealed all the records it may"),
            Self::Closed => f.write_str("the TLS stream is shut down"),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Truncated => io::ErrorKind::UnexpectedEof,
            StreamError::Alert(_) => io::ErrorKind::ConnectionAborted,
            StreamError::BadRecord | StreamError::Unexpected => io::ErrorKind::InvalidData,
            StreamError::Exhausted => io::ErrorKind::Other,
            StreamError::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

impl From<RecordError> for StreamError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Exhausted => Self::Exhausted,
            RecordError::Header
            | RecordError::Overflow
            | RecordError::Authentication
            | RecordError::Padding
            | RecordError::Secrets => Self::BadRecord,
        }
    }
}

/// An alert in the words of RFC 8446 section 6, where it has any.
struct AlertName(AlertDescription);

impl fmt::Display for AlertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", u8::from(self.0)),
        }
    }
}
