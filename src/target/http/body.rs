//! Message bodies: where they end (RFC 9112 sections 6 and 7), and how they are carried over.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use httparse::EMPTY_HEADER;
use tokio::io::AsyncBufRead;

use super::fields::put;
use crate::limits::{COPY_BURST, HTTP_CHUNK_LINE, HTTP_FIELDS, HTTP_TRAILERS};
use crate::room::Room;

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
    fn ends_with_connection(&self) -> bool {
        self.state == State::Close
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
    fn trailers(&self) -> &[u8] {
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

/// What ends a copy before its time.
#[derive(Debug)]
pub(super) enum PumpError {
    Source(io::Error),
    Sink(io::Error),
    Framing(BadChunk),
}

/// Copies one body from a reader to a writer, in the framing that the writer's head announced.
#[derive(Debug)]
pub(super) struct Pump {
    decoder: Decoder,
    chunked: bool,
    stage: Stage,
    moved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Copy,
    Flush,
    Done,
}

/// Room for a chunk's size, its line ends, and enough bytes to be worth a chunk.
const CHUNK_LEAST: usize = 64;
/// Four digits at most (the room is under 64 KiB), and two line ends.
const CHUNK_FRAMING: usize = 8;

impl Pump {
    pub(super) fn new(framing: Framing) -> Self {
        let chunked = framing == Framing::Chunked;
        Self { decoder: Decoder::new(framing), chunked, stage: Stage::Copy, moved: 0 }
    }

    /// For a client: a body that ends with the target's connection is chunked.
    pub(super) fn to_client(framing: Framing) -> Self {
        let chunked = !matches!(framing, Framing::Length(_));
        Self { chunked, ..Self::new(framing) }
    }

    /// Whether everything was copied and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Bytes copied so far, to see progress.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// The state of the reader's framing, to go on without a writer.
    pub(super) fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// Copies what there is. Whenever the reader has nothing, the writer is flushed.
    pub(super) fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), PumpError>>
    where
        R: AsyncBufRead + Unpin,
        W: Room + Unpin,
    {
        for _ in 0..COPY_BURST * 4 {
            match self.stage {
                Stage::Copy if self.decoder.is_done() => {
                    if self.chunked {
                        ready!(self.poll_last_chunk(cx, to))?;
                    }
                    self.stage = Stage::Flush;
                }
                Stage::Copy => ready!(self.poll_some(cx, from, to))?,
                Stage::Flush => {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(PumpError::Sink)?;
                    self.stage = Stage::Done;
                }
                Stage::Done => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_some<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), PumpError>>
    where
        R: AsyncBufRead + Unpin,
        W: Room + Unpin,
    {
        let input = match Pin::new(&mut *from).poll_fill_buf(cx) {
            Poll::Ready(input) => input.map_err(PumpError::Source)?,
            Poll::Pending => {
                if let Poll::Ready(flushed) = Pin::new(to).poll_flush(cx) {
                    flushed.map_err(PumpError::Sink)?;
                }
                return Poll::Pending;
            }
        };
        if input.is_empty() {
            if self.decoder.ends_with_connection() {
                self.decoder.state = State::Done;
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(Err(PumpError::Source(io::ErrorKind::UnexpectedEof.into())));
        }
        let framing = self.decoder.framing(input).map_err(PumpError::Framing)?;
        let payload = &input[framing..];
        let length = payload.len().min(usize::try_from(self.decoder.available()).unwrap_or(usize::MAX));
        let mut copied = 0;
        let mut blocked = Poll::Ready(Ok(()));
        if length > 0 {
            match to.poll_room(cx, if self.chunked { CHUNK_LEAST } else { 1 }) {
                Poll::Ready(Ok(room)) => {
                    let written;
                    (copied, written) = put_some(&payload[..length], room, self.chunked);
                    to.gathered(written);
                }
                Poll::Ready(Err(error)) => blocked = Poll::Ready(Err(PumpError::Sink(error))),
                Poll::Pending => blocked = Poll::Pending,
            }
        }
        // The framing was read either way.
        Pin::new(from).consume(framing + copied);
        self.decoder.took(copied);
        self.moved += (framing + copied) as u64;
        blocked
    }

    fn poll_last_chunk<W: Room + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), PumpError>> {
        let last = [b"0\r\n", self.decoder.trailers(), b"\r\n"].concat();
        let room = ready!(to.poll_room(cx, last.len())).map_err(PumpError::Sink)?;
        room[..last.len()].copy_from_slice(&last);
        to.gathered(last.len());
        Poll::Ready(Ok(()))
    }
}

/// Puts the start of `payload` into `room`, as it is or as one chunk; returns how much of it, and how
/// much that came to.
fn put_some(payload: &[u8], room: &mut [u8], chunked: bool) -> (usize, usize) {
    if !chunked {
        let count = payload.len().min(room.len());
        room[..count].copy_from_slice(&payload[..count]);
        return (count, count);
    }
    let count = payload.len().min(room.len() - CHUNK_FRAMING).min(0xffff);
    let size = format!("{count:x}\r\n");
    let (start, end) = (size.len(), size.len() + count);
    room[..start].copy_from_slice(size.as_bytes());
    room[start..end].copy_from_slice(&payload[..count]);
    room[end..end + 2].copy_from_slice(b"\r\n");
    (count, end + 2)
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

        /// What is put into a room as chunks is read back as it was.
        #[test]
        fn chunks_survive_their_own_decoder(body in proptest::collection::vec(any::<u8>(), 1..500), room in CHUNK_LEAST..200) {
            let mut sent = Vec::new();
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                let mut room = vec![0; room];
                let (count, written) = put_some(rest, &mut room, true);
                rest = &rest[count..];
                sent.extend_from_slice(&room[..written]);
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            let (read, ..) = decode(Framing::Chunked, &[&sent]).expect("good chunks");
            prop_assert_eq!(read, body);
        }
    }
}
