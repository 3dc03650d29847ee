//! Message bodies: where their bytes are, and where they end (RFC 9112 sections 6 and 7).

use httparse::EMPTY_HEADER;

use super::fields::put;
use crate::limits::{HTTP_CHUNK_LINE, HTTP_FIELDS, HTTP_TRAILERS};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; none at all for most requests.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Everything up to the end of the connection.
    Close,
}

/// What is wrong with a chunked body.
pub(super) type BadChunk = &'static str;

/// Finds a body's bytes among its framing.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Of the chunk-size line that is being read, or all trailer lines.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    Close,
    ChunkSize,
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailers,
    Done,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Close => State::Close,
        };
        Self { state, line: Vec::new() }
    }

    /// Whether the whole body was seen.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body ends with the connection.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::Close
    }

    /// Counts the end of the connection as seen.
    pub(super) fn connection_ended(&mut self) {
        self.state = State::Done;
    }

    /// How many bytes of the body may come before the next framing.
    pub(super) fn available(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            State::Close => u64::MAX,
            State::ChunkSize | State::ChunkEnd | State::Trailers | State::Done => 0,
        }
    }

    /// Counts bytes of the body as seen.
    pub(super) fn took(&mut self, count: usize) {
        let count = count as u64;
        self.state = match self.state {
            State::Length(left) if left > count => State::Length(left - count),
            State::Length(_) => State::Done,
            State::Chunk(left) if left > count => State::Chunk(left - count),
            State::Chunk(_) => State::ChunkEnd,
            other => other,
        };
    }

    /// Reads framing at the start of `input`, up to the next bytes of the body or the end; returns
    /// how many bytes that were.
    pub(super) fn framing(&mut self, input: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while matches!(self.state, State::ChunkSize | State::ChunkEnd | State::Trailers) {
            let rest = &input[at..];
            let line_feed = rest.iter().position(|&byte| byte == b'\n');
            let count = line_feed.map_or(rest.len(), |at| at + 1);
            let limit = match self.state {
                State::Trailers => HTTP_TRAILERS,
                _ => HTTP_CHUNK_LINE,
            };
            if self.line.len() + count > limit {
                return Err("a chunk line or a trailer section that is too long");
            }
            self.line.extend_from_slice(&rest[..count]);
            at += count;
            if line_feed.is_none() {
                break;
            }
            if !self.line.ends_with(b"\r\n") {
                return Err("a line of chunk framing that ends in a bare line feed");
            }
            self.line_done()?;
        }
        Ok(at)
    }

    /// A whole line of framing is in `line`.
    fn line_done(&mut self) -> Result<(), BadChunk> {
        match self.state {
            State::ChunkSize => {
                self.state = match chunk_size(&self.line)? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
                self.line.clear();
            }
            State::ChunkEnd => {
                if self.line != b"\r\n" {
                    return Err("a chunk that is longer than its size");
                }
                self.state = State::ChunkSize;
                self.line.clear();
            }
            State::Trailers => {
                if self.line == b"\r\n" || self.line.ends_with(b"\r\n\r\n") {
                    self.line = trailers(&self.line)?;
                    self.state = State::Done;
                }
            }
            State::Length(_) | State::Close | State::Chunk(_) | State::Done => {}
        }
        Ok(())
    }

    /// The trailer field lines that may go on, once the body is [done](Self::is_done).
    pub(super) fn trailers(&self) -> &[u8] {
        &self.line
    }
}

/// The size in a chunk-size line (RFC 9112 section 7.1): hexadecimal digits, and extensions, which
/// are dropped. Nothing else is tolerated, not even space around the size.
fn chunk_size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let after = &line[digits..];
    let extension = after.starts_with(b";")
        && after[..after.len() - 2].iter().all(|&byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    if after != b"\r\n" && !extension {
        return Err("a malformed chunk size");
    }
    let digits = str::from_utf8(&line[..digits]).map_err(|_| "a malformed chunk size")?;
    u64::from_str_radix(digits, 16).map_err(|_| "a malformed chunk size")
}

/// Trailer fields without those that would frame, route or authorise a message (RFC 9110 section
/// 6.5.1).
fn trailers(section: &[u8]) -> Result<Vec<u8>, BadChunk> {
    const NEVER: [&str; 10] = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-infisical-action",
    ];
    let mut fields = [EMPTY_HEADER; HTTP_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err("malformed trailers");
    };
    let mut passed = Vec::new();
    for field in fields.iter().filter(|field| !NEVER.iter().any(|name| name.eq_ignore_ascii_case(field.name))) {
        put(&mut passed, field.name, field.value);
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body, its trailers, and what came after.
    type Decoded = (Vec<u8>, Vec<u8>, Vec<u8>);

    fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Decoded, BadChunk> {
        let mut decoder = Decoder::new(framing);
        let (mut body, mut left) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !decoder.is_done() {
                let framing = decoder.framing(rest)?;
                rest = &rest[framing..];
                let count = rest.len().min(usize::try_from(decoder.available()).unwrap_or(usize::MAX));
                body.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
                decoder.took(count);
            }
            left.extend_from_slice(rest);
        }
        if decoder.is_done() { Ok((body, decoder.trailers().to_vec(), left)) } else { Err("incomplete") }
    }

    const CHUNKS: &[u8] = b"5\r\nhello\r\n1;a=\"b\"\r\n \r\n006\r\nworld!\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET /";

    #[test]
    fn chunks_are_joined_and_their_trailers_filtered() {
        let (body, trailers, left) = decode(Framing::Chunked, &[CHUNKS]).expect("good chunks");
        assert_eq!(body, b"hello world!");
        assert_eq!(trailers, b"X-Sum: 1\r\n");
        assert_eq!(left, b"GET /");
    }

    #[test]
    fn a_length_is_exact() {
        let (body, _, left) = decode(Framing::Length(5), &[b"hel", b"loGET"]).expect("complete");
        assert_eq!((body.as_slice(), left.as_slice()), (&b"hello"[..], &b"GET"[..]));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\na",
            b"1;a\nb\r\n",
            b"1;a\0\r\n",
            b"1;\r\r\n",
            b"10000000000000000\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\naX\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n a: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
        ] {
            let error = decode(Framing::Chunked, &[bytes]).expect_err("malformed");
            assert_ne!(error, "incomplete", "{}", bytes.escape_ascii());
        }
        let long = [b"1;".as_slice(), &[b'a'; HTTP_CHUNK_LINE]].concat();
        assert!(decode(Framing::Chunked, &[&long]).expect_err("long").contains("too long"));
        let long = [b"0\r\nA: ".as_slice(), &[b'a'; HTTP_TRAILERS]].concat();
        assert!(decode(Framing::Chunked, &[&long]).expect_err("long").contains("too long"));
    }

    proptest! {
        #[test]
        fn any_split_decodes_the_same(cuts in proptest::collection::vec(0..CHUNKS.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&CHUNKS[start..cut]);
                start = cut;
            }
            pieces.push(&CHUNKS[start..]);
            prop_assert_eq!(decode(Framing::Chunked, &pieces), decode(Framing::Chunked, &[CHUNKS]));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Framing::Chunked, &[&bytes]);
        }
    }
}
