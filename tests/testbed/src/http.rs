//! HTTP/1.1 messages, for both ends.
//!
//! Written for the test bed and strict on purpose: it shares no parser with the agent, and it takes nothing that a
//! careful peer would not send.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Longest line of a head, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Most header lines in a head.
const MAX_HEADERS: usize = 200;
/// Longest body kept, in bytes.
const MAX_BODY: u64 = 256 * 1024 * 1024;

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line, without its end.
    pub start_line: String,
    /// Header names as they were sent, and values without the space around them.
    pub headers: Vec<(String, String)>,
    /// The body, with the transfer coding taken off.
    pub body: Vec<u8>,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks, then an empty one.
    Chunked,
    /// All that comes.
    UntilClose,
}

impl Message {
    /// The value of the first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The word at this place of the start line.
    fn word(&self, index: usize) -> &str {
        self.start_line.split(' ').nth(index).unwrap_or_default()
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// A request's target.
    pub fn path(&self) -> &str {
        self.word(1)
    }

    /// A response's status code; 0 when there is none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// Whether the sender closes the connection after this message.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// How the body ends by the headers; `None` without any header about it (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// When the headers contradict each other, which is how requests are smuggled.
    pub fn framing(&self) -> io::Result<Option<Framing>> {
        let lengths: Vec<&str> = self.all("content-length").collect();
        let codings: Vec<&str> = self.all("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => match length.parse() {
                Ok(length) => Ok(Some(Framing::Length(length))),
                Err(_) => Err(invalid(format!("content-length {length:?}"))),
            },
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            _ => Err(invalid(format!("content-length {lengths:?} with transfer-encoding {codings:?}"))),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads a request's head; `None` when the peer closed instead.
///
/// # Errors
/// When the connection fails or the head is malformed.
pub async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let Some(start_line) = read_line(reader).await? else {
        return Ok(None);
    };
    let mut message = Message { start_line, ..Message::default() };
    loop {
        let line = read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some(message));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("header {line:?}")))?;
        if name.is_empty() || name.contains([' ', '\t']) || message.headers.len() == MAX_HEADERS {
            return Err(invalid(format!("header {line:?}")));
        }
        message.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads a body to its end.
///
/// # Errors
/// When the connection fails or ends early, or the body is malformed or too large to keep.
pub async fn read_body(reader: &mut (impl AsyncBufRead + Unpin), framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => read_exactly(reader, length, &mut body).await?,
        Framing::UntilClose => {
            reader.take(MAX_BODY).read_to_end(&mut body).await?;
        }
        Framing::Chunked => loop {
            let line = read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid(format!("chunk size {line:?}")))?;
            read_exactly(reader, size, &mut body).await?;
            if size == 0 {
                skip_trailers(reader).await?;
                break;
            }
            let end = read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
            if !end.is_empty() {
                return Err(invalid(format!("{end:?} after a chunk")));
            }
        },
    }
    Ok(body)
}

/// Reads a whole request; `None` when the peer closed instead. A request without framing has no body.
///
/// # Errors
/// As [`read_head`] and [`read_body`].
pub async fn read_request(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let Some(mut request) = read_head(reader).await? else {
        return Ok(None);
    };
    if let Some(framing) = request.framing()? {
        request.body = read_body(reader, framing).await?;
    }
    Ok(Some(request))
}

/// Reads a whole response to a request of this method. Without framing its body lasts until the connection closes.
///
/// # Errors
/// As [`read_head`] and [`read_body`]; `UnexpectedEof` when the peer closed instead.
pub async fn read_response(reader: &mut (impl AsyncBufRead + Unpin), method: &str) -> io::Result<Message> {
    let mut response = read_head(reader).await?.ok_or(ErrorKind::UnexpectedEof)?;
    let bodiless = method == "HEAD" || matches!(response.status(), 100..=199 | 204 | 304);
    if !bodiless {
        let framing = response.framing()?.unwrap_or(Framing::UntilClose);
        response.body = read_body(reader, framing).await?;
    }
    Ok(response)
}

async fn read_exactly(reader: &mut (impl AsyncBufRead + Unpin), length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if body.len() as u64 + length > MAX_BODY {
        return Err(invalid(format!("a body of more than {MAX_BODY} bytes")));
    }
    let read = reader.take(length).read_to_end(body).await?;
    if (read as u64) < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn skip_trailers(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    while !read_line(reader).await?.ok_or(ErrorKind::UnexpectedEof)?.is_empty() {}
    Ok(())
}

/// A line without its CR LF; `None` at the end of the stream.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| invalid(format!("{} bytes without CR LF", line.len())))?;
    match String::from_utf8(text.to_vec()) {
        Ok(line) => Ok(Some(line)),
        Err(_) => Err(invalid("a head that is not UTF-8".to_owned())),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("HTTP: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_messages_one_after_the_other() {
        let mut bytes: &[u8] = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\
            POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: v\r\n\r\n\
            GET /c HTTP/1.1\r\n\r\n";
        for (path, body) in [("/a", "hi"), ("/b", "abc"), ("/c", "")] {
            let request = read_request(&mut bytes).await.unwrap().unwrap();
            assert_eq!((request.path(), request.body.as_slice()), (path, body.as_bytes()));
        }
        assert_eq!(read_request(&mut bytes).await.unwrap(), None);
    }

    #[tokio::test]
    async fn knows_which_responses_have_no_body() {
        for (method, head) in [("HEAD", "200 OK\r\nContent-Length: 5"), ("GET", "204 No Content")] {
            let text = format!("HTTP/1.1 {head}\r\n\r\nrest");
            let mut bytes = text.as_bytes();
            assert_eq!(read_response(&mut bytes, method).await.unwrap().body, b"");
            assert_eq!(bytes, b"rest");
        }
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
        assert_eq!(read_response(&mut bytes, "GET").await.unwrap().body, b"until the end");
    }

    #[tokio::test]
    async fn refuses_what_is_malformed() {
        for bad in [
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nspace : before\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort",
            "GET / HTTP/1.1\r\n",
        ] {
            assert!(read_request(&mut bad.as_bytes()).await.is_err(), "{bad:?} was taken");
        }
    }
}
