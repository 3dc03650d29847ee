//! Carries a message body from a reader to a writer.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::AsyncBufRead;

use super::body::{BadChunk, Decoder, Framing};
use crate::limits::COPY_BURST;
use crate::room::Room;

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
                self.decoder.connection_ended();
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
    use core::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;
    use crate::target::gathered::Gathered;

    /// What a writer gets for these bytes of a reader.
    async fn pumped(mut pump: Pump, mut from: &[u8]) -> (Result<(), PumpError>, Vec<u8>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, mut far) = duplex(1 << 20);
        let mut to = Gathered::new(near);
        let result = poll_fn(|cx| pump.poll(cx, &mut from, &mut to)).await;
        to.shutdown().await.expect("flushed");
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.expect("read");
        (result, sent)
    }

    #[tokio::test]
    async fn each_framing_is_carried_in_the_announced_one() {
        for (pump, from, expected) in [
            (Pump::new(Framing::Length(0)), "GET", ""),
            (Pump::new(Framing::Length(3)), "abcGET", "abc"),
            (Pump::new(Framing::Close), "abc", "abc"),
            (Pump::to_client(Framing::Close), "abc", "3\r\nabc\r\n0\r\n\r\n"),
            (Pump::new(Framing::Chunked), "3;x\r\nabc\r\n0\r\n\r\nGET", "3\r\nabc\r\n0\r\n\r\n"),
            (Pump::new(Framing::Chunked), "0\r\nA: b\r\nHost: x\r\n\r\n", "0\r\nA: b\r\n\r\n"),
        ] {
            let (result, sent) = pumped(pump, from.as_bytes()).await;
            result.expect("carried");
            assert_eq!(sent, expected.as_bytes(), "{from}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_cut_short_or_malformed_is_an_error() {
        let (result, _) = pumped(Pump::new(Framing::Length(5)), b"abc").await;
        assert!(matches!(result, Err(PumpError::Source(_))));
        let (result, _) = pumped(Pump::new(Framing::Chunked), b"5\r\nabc").await;
        assert!(matches!(result, Err(PumpError::Source(_))));
        let (result, _) = pumped(Pump::new(Framing::Chunked), b"x\r\n").await;
        assert!(matches!(result, Err(PumpError::Framing(_))));
    }

    proptest! {
        /// What is put into a room as chunks is read back as it was.
        #[test]
        fn chunks_survive_their_own_decoder(
            body in proptest::collection::vec(any::<u8>(), 1..500),
            room in CHUNK_LEAST..200,
        ) {
            let mut sent = Vec::new();
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                let mut room = vec![0; room];
                let (count, written) = put_some(rest, &mut room, true);
                rest = &rest[count..];
                sent.extend_from_slice(&room[..written]);
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            let (mut decoder, mut read, mut rest) = (Decoder::new(Framing::Chunked), Vec::new(), &*sent);
            while !decoder.is_done() {
                let framing = decoder.framing(rest).expect("good chunks");
                rest = &rest[framing..];
                let count = decoder.available() as usize;
                read.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
                decoder.took(count);
            }
            prop_assert_eq!(read, body);
        }
    }
}
