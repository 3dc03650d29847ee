//! What request and response heads have in common: lines, field names, hop-by-hop fields.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use httparse::Header;
use tokio::io::AsyncBufRead;

use crate::limits::HTTP_HEAD;

/// Why there is no head to parse.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The connection ended before the first byte.
    Closed,
    /// Longer than [`HTTP_HEAD`].
    TooLong,
    /// A line that ends in a bare line feed (RFC 9112 section 2.2).
    BareLineFeed,
    Io(io::Error),
}

/// Gathers one head: everything up to the first empty line.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    bytes: Vec<u8>,
}

impl HeadReader {
    /// The bytes read so far; all of the head once [`poll`](Self::poll) is ready.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads to the end of the head and not further.
    pub(super) fn poll<R: AsyncBufRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<Result<(), HeadError>> {
        loop {
            let input = ready!(Pin::new(&mut *from).poll_fill_buf(cx)).map_err(HeadError::Io)?;
            if input.is_empty() {
                return Poll::Ready(Err(if self.bytes.is_empty() {
                    HeadError::Closed
                } else {
                    HeadError::Io(io::ErrorKind::UnexpectedEof.into())
                }));
            }
            let line_feed = input.iter().position(|&byte| byte == b'\n');
            let count = line_feed.map_or(input.len(), |at| at + 1);
            if self.bytes.len() + count > HTTP_HEAD {
                return Poll::Ready(Err(HeadError::TooLong));
            }
            self.bytes.extend_from_slice(&input[..count]);
            Pin::new(&mut *from).consume(count);
            if line_feed.is_some() && !self.bytes.ends_with(b"\r\n") {
                return Poll::Ready(Err(HeadError::BareLineFeed));
            }
            // Empty lines in front of a request are noise of old clients (RFC 9112 section 2.2).
            if self.bytes == b"\r\n" {
                self.bytes.clear();
            }
            if self.bytes.ends_with(b"\r\n\r\n") {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Which fields end at this hop: those of RFC 9110 section 7.6.1, and those that `Connection` names.
pub(super) struct HopByHop<'a> {
    named: Vec<&'a str>,
}

impl<'a> HopByHop<'a> {
    pub(super) fn of(fields: &[Header<'a>]) -> Result<Self, &'static str> {
        let mut named = Vec::new();
        for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
            let value = str::from_utf8(field.value).map_err(|_| "Connection is not text")?;
            named.extend(value.split(',').map(str::trim).filter(|option| !option.is_empty()));
        }
        Ok(Self { named })
    }

    /// Whether `Connection` has this option.
    pub(super) fn names(&self, option: &str) -> bool {
        self.named.iter().any(|named| named.eq_ignore_ascii_case(option))
    }

    /// Whether this field goes no further. `Content-Length` is among them because the framing of
    /// the next hop is written anew.
    pub(super) fn holds(&self, name: &str) -> bool {
        const ALWAYS: [&str; 8] = [
            "connection",
            "content-length",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        ALWAYS.iter().any(|known| known.eq_ignore_ascii_case(name)) || self.names(name)
    }
}

/// The values of a field that may be there more than once.
pub(super) fn values<'a>(fields: &'a [Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// The one value of a field that may be there once.
pub(super) fn single<'a>(fields: &'a [Header<'a>], name: &str) -> Result<Option<&'a [u8]>, ()> {
    let mut values = values(fields, name);
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// `Content-Length`, digits only (RFC 9110 section 8.6). A list of equal lengths is refused too.
pub(super) fn content_length(fields: &[Header<'_>]) -> Result<Option<u64>, &'static str> {
    let Some(value) = single(fields, "content-length").map_err(|()| "more than one Content-Length")? else {
        return Ok(None);
    };
    let number = str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).map(Some).ok_or("Content-Length is not a number")
}

/// Whether the body is chunked. No other transfer coding is understood, nor may any be hidden
/// beside it.
pub(super) fn is_chunked(fields: &[Header<'_>]) -> Result<bool, &'static str> {
    match single(fields, "transfer-encoding") {
        Ok(None) => Ok(false),
        Ok(Some(value)) if value.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err("a Transfer-Encoding other than chunked"),
    }
}

/// Appends one field line.
pub(super) fn put(into: &mut Vec<u8>, name: &str, value: &[u8]) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use core::future::poll_fn;

    use super::*;

    async fn head(mut input: &[u8]) -> (Result<Vec<u8>, HeadError>, &[u8]) {
        let mut reader = HeadReader::default();
        let result = poll_fn(|cx| reader.poll(cx, &mut input)).await;
        (result.map(|()| reader.bytes), input)
    }

    #[tokio::test]
    async fn a_head_ends_at_the_empty_line() {
        let (read, rest) = head(b"\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nbody").await;
        assert_eq!(read.expect("a head"), b"GET / HTTP/1.1\r\nA: b\r\n\r\n");
        assert_eq!(rest, b"body");
    }

    #[tokio::test]
    async fn heads_that_do_not_end_well() {
        assert!(matches!(head(b"").await.0, Err(HeadError::Closed)));
        assert!(matches!(head(b"GET /").await.0, Err(HeadError::Io(_))));
        assert!(matches!(head(b"GET / HTTP/1.1\nA: b\r\n\r\n").await.0, Err(HeadError::BareLineFeed)));
        assert!(matches!(head(b"GET / HTTP/1.1\r\nA: b\n\n").await.0, Err(HeadError::BareLineFeed)));
        assert!(matches!(head(&[b'a'; HTTP_HEAD + 1]).await.0, Err(HeadError::TooLong)));
    }

    #[test]
    fn framing_fields_are_strict() {
        let field = |name, value: &'static str| Header { name, value: value.as_bytes() };
        for value in ["", " 5", "+5", "-1", "0x5", "5,5", "5 5", "99999999999999999999"] {
            assert!(content_length(&[field("Content-Length", value)]).is_err(), "{value}");
        }
        assert_eq!(content_length(&[field("content-LENGTH", "05")]), Ok(Some(5)));
        let twice = [field("Content-Length", "5"), field("Content-Length", "5")];
        assert_eq!(content_length(&twice), Err("more than one Content-Length"));
        for value in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "\x0bchunked", ""] {
            assert!(is_chunked(&[field("Transfer-Encoding", value)]).is_err(), "{value}");
        }
        assert_eq!(is_chunked(&[field("transfer-encoding", "Chunked")]), Ok(true));
        let twice = [field("Transfer-Encoding", "chunked"), field("Transfer-Encoding", "chunked")];
        assert!(is_chunked(&twice).is_err());
    }

    #[test]
    fn connection_names_what_ends_here() {
        let fields = [
            Header { name: "Connection", value: b"close, X-Secret" },
            Header { name: "connection", value: b" upgrade ,," },
        ];
        let hop = HopByHop::of(&fields).expect("text");
        assert!(hop.names("close") && hop.names("Upgrade") && !hop.names(""));
        for name in ["x-secret", "Keep-Alive", "TE", "Transfer-Encoding", "Content-Length"] {
            assert!(hop.holds(name), "{name}");
        }
        assert!(!hop.holds("Content-Type") && !hop.holds("Trailer"));
    }
}
