//! Requests: what is refused, and what is passed on.

use httparse::{EMPTY_HEADER, Error, Status};

use super::body::Framing;
use super::fields::{HopByHop, content_length, is_chunked, put, single};
use super::kubernetes::Action;
use crate::limits::HTTP_FIELDS;

const ACTION: &str = "x-infisical-action";

/// A request that was understood and is ready to go on.
#[derive(Debug)]
pub(super) struct Request {
    /// Method and request target in origin form.
    pub(super) line: String,
    /// The field lines for the target, framing included, `Host` not.
    pub(super) fields: Vec<u8>,
    pub(super) framing: Framing,
    /// The answer has no body, whatever its fields say.
    pub(super) is_head: bool,
    /// It may be sent twice (RFC 9110 section 9.2.2).
    is_idempotent: bool,
    /// The client will send nothing after it.
    pub(super) close: bool,
    /// The client may hold the body back until it is told to go on.
    pub(super) expects_continue: bool,
    /// The client wants to speak something else.
    pub(super) upgrade: bool,
    /// What the platform wants done to it.
    pub(super) action: Option<Action>,
}

/// A request that is answered here: the status, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) why: &'static str,
}

fn bad(why: &'static str) -> Refusal {
    Refusal { status: 400, why }
}

impl Request {
    /// Reads a whole head. `platform` says whether the client may ask for actions; nobody's action
    /// field is passed on.
    ///
    /// # Errors
    /// Every shape that two HTTP implementations could frame differently is refused.
    pub(super) fn parse(head: &[u8], platform: bool) -> Result<Self, Refusal> {
        let mut fields = [EMPTY_HEADER; HTTP_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(bad("the request head is incomplete")),
            Err(Error::TooManyHeaders) => {
                return Err(Refusal { status: 431, why: "too many request fields" });
            }
            Err(Error::HeaderName | Error::HeaderValue) => {
                return Err(bad("a malformed request field"));
            }
            Err(Error::Version) => {
                return Err(Refusal { status: 505, why: "not HTTP/1.1" });
            }
            Err(_) => return Err(bad("a malformed request line")),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(bad("the request head is incomplete"));
        };
        if version != 1 {
            return Err(Refusal { status: 505, why: "not HTTP/1.1" });
        }
        let fields = &*parsed.headers;
        let hop = HopByHop::of(fields).map_err(bad)?;
        let framing = match (is_chunked(fields).map_err(bad)?, content_length(fields).map_err(bad)?) {
            (true, Some(_)) => return Err(bad("both Transfer-Encoding and Content-Length")),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Length(0),
        };
        single(fields, "host").map_err(|()| bad("more than one Host"))?;
        let action = single(fields, ACTION).map_err(|()| bad("more than one x-infisical-action"))?;
        let action = action.filter(|_| platform).and_then(Action::parse);
        let upgrade = hop.names("upgrade").then(|| single(fields, "upgrade")).transpose();
        let upgrade = upgrade.map_err(|()| bad("more than one Upgrade"))?.flatten();

        let mut passed = Vec::with_capacity(head.len());
        for field in fields {
            let ours = hop.holds(field.name)
                || field.name.eq_ignore_ascii_case("host")
                || field.name.eq_ignore_ascii_case(ACTION)
                || action.is_some() && field.name.eq_ignore_ascii_case("authorization");
            if !ours {
                put(&mut passed, field.name, field.value);
            }
        }
        match framing {
            Framing::Chunked => put(&mut passed, "Transfer-Encoding", b"chunked"),
            // A GET without a length means no body; a POST would have to say so.
            _ => {
                if let Some(length) = content_length(fields).map_err(bad)? {
                    put(&mut passed, "Content-Length", length.to_string().as_bytes());
                }
            }
        }
        if let Some(protocol) = upgrade {
            put(&mut passed, "Connection", b"Upgrade");
            put(&mut passed, "Upgrade", protocol);
        }
        let expects_continue = single(fields, "expect").map_err(|()| bad("more than one Expect"))?.is_some();
        Ok(Self {
            line: format!("{method} {}", origin_form(method, target)?),
            fields: passed,
            framing,
            is_head: method == "HEAD",
            is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            close: hop.names("close"),
            expects_continue,
            upgrade: upgrade.is_some(),
            action,
        })
    }

    /// Whether it can be sent again: nothing of it is gone, and twice is as good as once.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.is_idempotent && self.framing == Framing::Length(0)
    }

    /// The head for the target. `authorization` is a whole field line, or nothing.
    pub(super) fn head(&self, authority: &str, authorization: &[u8]) -> Vec<u8> {
        let start = format!("{} HTTP/1.1\r\nHost: {authority}\r\n", self.line);
        [start.as_bytes(), authorization, &self.fields, b"\r\n"].concat()
    }
}

/// The request target as an origin server gets it (RFC 9112 section 3.2). An absolute form loses its
/// authority: the target is the one of the certificate, whatever the request calls it.
fn origin_form(method: &str, target: &str) -> Result<String, Refusal> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("a malformed request target"));
    }
    if method == "CONNECT" {
        return Err(bad("CONNECT is not served; this is not a forward proxy"));
    }
    if target.starts_with('/') || target == "*" && method == "OPTIONS" {
        return Ok(target.to_owned());
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or_else(|| bad("a malformed request target"))?;
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => Ok(rest[at..].to_owned()),
        Some(at) => Ok(format!("/{}", &rest[at..])),
        None => Ok("/".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(head: &str) -> Result<Request, Refusal> {
        Request::parse(head.as_bytes(), true)
    }

    fn passed(head: &str) -> String {
        let request = parse(head).expect("a good request");
        String::from_utf8(request.head("db.lan:80", b"")).expect("text")
    }

    #[test]
    fn the_target_gets_its_own_host_and_no_hop_by_hop_field() {
        assert_eq!(
            passed(
                "GET /a?b HTTP/1.1\r\nHost: localhost:4711\r\nAccept: */*\r\nConnection: keep-alive, X-Hop\r\n\
                 X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\n\
                 Authorization: Bearer mine\r\n\r\n"
            ),
            "GET /a?b HTTP/1.1\r\nHost: db.lan:80\r\nAccept: */*\r\nAuthorization: Bearer mine\r\n\r\n"
        );
        assert_eq!(
            passed("POST / HTTP/1.1\r\nContent-Length: 007\r\n\r\n"),
            "POST / HTTP/1.1\r\nHost: db.lan:80\r\nContent-Length: 7\r\n\r\n"
        );
        assert_eq!(
            passed("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n"),
            "POST / HTTP/1.1\r\nHost: db.lan:80\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            passed("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: db.lan:80\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }

    #[test]
    fn only_the_platform_has_actions_and_nobody_passes_them_on() {
        let head = "GET / HTTP/1.1\r\nX-Infisical-Action: use-k8s-sa\r\nAuthorization: mine\r\n\r\n";
        let platform = Request::parse(head.as_bytes(), true).expect("good");
        assert_eq!(platform.action, Some(Action::UseServiceAccount));
        assert!(platform.fields.is_empty());
        let user = Request::parse(head.as_bytes(), false).expect("good");
        assert_eq!(user.action, None);
        assert_eq!(user.fields, b"Authorization: mine\r\n");
        let unknown = parse("GET / HTTP/1.1\r\nx-infisical-action: dance\r\n\r\n").expect("good");
        assert!(unknown.action.is_none() && unknown.fields.is_empty());
    }

    #[test]
    fn request_targets() {
        for (method, target, expected) in [
            ("GET", "/", Some("/")),
            ("OPTIONS", "*", Some("*")),
            ("GET", "*", None),
            ("GET", "http://evil.example/a?b", Some("/a?b")),
            ("GET", "HTTPS://evil.example", Some("/")),
            ("GET", "http://evil.example?q", Some("/?q")),
            ("GET", "evil.example:80", None),
            ("CONNECT", "evil.example:80", None),
            ("GET", "ftp://evil.example/", None),
            ("GET", "/\u{e9}", None),
        ] {
            let form = origin_form(method, target);
            assert_eq!(form.ok().as_deref(), expected, "{method} {target}");
        }
    }

    #[test]
    fn shapes_that_smuggle_are_refused() {
        for (fields, why) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "both"),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", "more than one Content-Length"),
            ("Content-Length: 1, 1\r\n", "not a number"),
            ("Content-Length: +1\r\n", "not a number"),
            ("Content-Length : 1\r\n", "malformed request field"),
            (" Content-Length: 1\r\n", "malformed request field"),
            ("A: b\r\n Content-Length: 1\r\n", "malformed request field"),
            ("A: b\r\n\tc\r\n", "malformed request field"),
            ("A: b\rContent-Length: 1\r\n", "malformed request field"),
            ("A: b\0\r\n", "malformed request field"),
            ("A\r\n", "malformed request field"),
            (": b\r\n", "malformed request field"),
            ("Transfer-Encoding: gzip, chunked\r\n", "other than chunked"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "other than chunked"),
            ("Host: a\r\nHost: b\r\n", "more than one Host"),
            ("x-infisical-action: a\r\nX-Infisical-Action: b\r\n", "more than one x-inf"),
        ] {
            let refusal = parse(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).expect_err(fields);
            assert_eq!(refusal.status, 400);
            assert!(refusal.why.contains(why), "{fields:?}: {}", refusal.why);
        }
    }

    #[test]
    fn other_heads_are_refused_with_their_status() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HTTP_FIELDS + 1));
        for (head, status) in [
            ("GET / HTTP/1.0\r\n\r\n", 505),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\n\r\n", 400),
            ("G(T / HTTP/1.1\r\n\r\n", 400),
            (&many, 431),
        ] {
            assert_eq!(parse(head).expect_err(head).status, status, "{head}");
        }
    }

    proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&head, true);
            let _ = Request::parse(&[b"GET / HTTP/1.1\r\n".as_slice(), &head, b"\r\n\r\n"].concat(), true);
        }

        /// Whatever is accepted is framed the same way when it is read again.
        #[test]
        fn what_is_passed_on_means_the_same(
            fields in proptest::collection::vec(("(Content-Length|Transfer-Encoding|Connection|Host|A) ?", ":[ -~]{0,9}"), 0..5)
        ) {
            let fields: String = fields.iter().map(|(name, value)| format!("{name}{value}\r\n")).collect();
            if let Ok(request) = parse(&format!("POST / HTTP/1.1\r\n{fields}\r\n")) {
                let again = Request::parse(&request.head("h:1", b""), false).expect("still good");
                prop_assert_eq!(again.framing, request.framing);
            }
        }
    }
}
