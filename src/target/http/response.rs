//! Responses: how their bodies are framed (RFC 9112 section 6.3), and what the client gets.

use httparse::{EMPTY_HEADER, Status};

use super::body::Framing;
use super::fields::{HopByHop, content_length, is_chunked, put, single};
use crate::limits::HTTP_FIELDS;

/// A response head that was understood and is ready to go to the client.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Status line and fields, without framing and without the empty line.
    head: Vec<u8>,
    pub(super) framing: Framing,
    /// No body follows, whatever the fields say.
    bodiless: bool,
    /// What the fields announce all the same.
    announced: Option<Framing>,
    /// The target will answer another request on this connection.
    pub(super) keep_alive: bool,
}

impl Response {
    /// Reads a whole head, the answer to a HEAD request or another, with an upgrade asked for or not.
    ///
    /// # Errors
    /// What is wrong with it. A response is held to the same framing rules as a request.
    pub(super) fn parse(head: &[u8], to_head: bool, upgrade_asked: bool) -> Result<Self, &'static str> {
        let mut fields = [EMPTY_HEADER; HTTP_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        match parsed.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err("an incomplete head"),
            Err(httparse::Error::TooManyHeaders) => return Err("too many fields"),
            Err(_) => return Err("a malformed head"),
        }
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err("an incomplete head");
        };
        if !(100..=599).contains(&status) {
            return Err("an impossible status");
        }
        let upgraded = status == 101;
        if upgraded && !upgrade_asked {
            return Err("an upgrade that nobody asked for");
        }
        let fields = &*parsed.headers;
        let hop = HopByHop::of(fields)?;
        let declared = match (is_chunked(fields)?, content_length(fields)?) {
            (true, Some(_)) => return Err("both Transfer-Encoding and Content-Length"),
            (true, None) if version == 0 => return Err("chunks in HTTP/1.0"),
            (true, None) => Some(Framing::Chunked),
            (false, length) => length.map(Framing::Length),
        };
        let interim = status < 200 || status == 204;
        let bodiless = interim || to_head || status == 304;
        let mut passed = Vec::with_capacity(head.len());
        let reason = parsed.reason.unwrap_or_default();
        passed.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
        for field in fields.iter().filter(|field| !hop.holds(field.name)) {
            put(&mut passed, field.name, field.value);
        }
        if upgraded {
            let protocol = single(fields, "upgrade").ok().flatten().ok_or("101 without one Upgrade")?;
            put(&mut passed, "Connection", b"Upgrade");
            put(&mut passed, "Upgrade", protocol);
        }
        Ok(Self {
            status,
            head: passed,
            framing: if bodiless { Framing::Length(0) } else { declared.unwrap_or(Framing::Close) },
            bodiless,
            announced: declared.filter(|_| bodiless && !interim),
            keep_alive: version == 1 && !hop.names("close"),
        })
    }

    /// The head for the client, which is told when the connection ends after this response. A body
    /// without an end of its own gets one: chunks.
    pub(super) fn head(&self, close: bool) -> Vec<u8> {
        let mut head = self.head.clone();
        match (self.announced, self.framing) {
            (Some(Framing::Length(length)), _) => {
                put(&mut head, "Content-Length", length.to_string().as_bytes());
            }
            (Some(_), _) | (None, Framing::Chunked | Framing::Close) => {
                put(&mut head, "Transfer-Encoding", b"chunked");
            }
            (None, Framing::Length(length)) if !self.bodiless => {
                put(&mut head, "Content-Length", length.to_string().as_bytes());
            }
            (None, Framing::Length(_)) => {}
        }
        if close {
            put(&mut head, "Connection", b"close");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Whether another response to the same request follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(head: &str, to_head: bool) -> Result<Response, &'static str> {
        Response::parse(head.as_bytes(), to_head, false)
    }

    fn passed(head: &str, to_head: bool) -> (Framing, String) {
        let response = parse(head, to_head).expect("a good response");
        (response.framing, String::from_utf8(response.head(false)).expect("text"))
    }

    #[test]
    fn bodies_are_framed_as_rfc_9112_says() {
        use Framing::{Chunked, Close, Length};
        for (head, to_head, framing, fields) in [
            ("200 OK\r\nContent-Length: 5\r\n", false, Length(5), "Content-Length: 5\r\n"),
            ("200 OK\r\nContent-Length: 5\r\n", true, Length(0), "Content-Length: 5\r\n"),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n", false, Chunked, "Transfer-Encoding: chunked\r\n"),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n", true, Length(0), "Transfer-Encoding: chunked\r\n"),
            ("200 OK\r\n", false, Close, "Transfer-Encoding: chunked\r\n"),
            ("204 No Content\r\nContent-Length: 5\r\n", false, Length(0), ""),
            ("304 Not Modified\r\nContent-Length: 5\r\n", false, Length(0), "Content-Length: 5\r\n"),
            ("304 Not Modified\r\n", false, Length(0), ""),
            ("100 Continue\r\n", false, Length(0), ""),
        ] {
            let (found, text) = passed(&format!("HTTP/1.1 {head}\r\n"), to_head);
            let (line, rest) = text.split_once("\r\n").expect("a line");
            assert!(head.starts_with(&line["HTTP/1.1 ".len()..]), "{line}");
            assert_eq!((found, rest), (framing, &*format!("{fields}\r\n")), "{head}");
        }
        // A HEAD answer that announces nothing does not announce "no body" either.
        let (_, text) = passed("HTTP/1.1 200 OK\r\n\r\n", true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\n\r\n");
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: close, X\r\nX: 1\r\n\
                    Keep-Alive: 5\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
        let response = parse(head, false).expect("good");
        assert!(!response.keep_alive);
        let text = String::from_utf8(response.head(true)).expect("text");
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn http_1_0_ends_with_its_connection() {
        let response = parse("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false).expect("good");
        assert!(!response.keep_alive);
        assert_eq!(response.framing, Framing::Close);
    }

    #[test]
    fn an_upgrade_needs_a_request_for_it() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spdy\r\n\r\n";
        let response = Response::parse(head, false, true).expect("asked for");
        assert_eq!(response.head(false), head);
        assert!(!response.is_interim());
        assert!(Response::parse(head, false, false).is_err());
    }

    #[test]
    fn responses_that_split_are_refused() {
        for head in [
            "200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "200 OK\r\nTransfer-Encoding: gzip\r\n",
            "200 OK\r\nA: b\r\n c\r\n",
            "200 OK\r\nA : b\r\n",
            "99 No\r\n",
            "999 No\r\n",
        ] {
            assert!(parse(&format!("HTTP/1.1 {head}\r\n"), false).is_err(), "{head}");
        }
        assert!(parse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).is_err());
        assert!(parse("SSH-2.0-x\r\n\r\n", false).is_err());
    }

    proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..300), to_head: bool) {
            let _ = Response::parse(&head, to_head, true);
            let head = [b"HTTP/1.1 200 OK\r\n".as_slice(), &head, b"\r\n\r\n"].concat();
            let _ = Response::parse(&head, to_head, true);
        }
    }
}
