//! Clients of a tunnel: byte streams that can be checked without being kept.

use super::DEADLINE;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that a client writes or reads at a time: about two SSH packets, and no power of two, so that no boundary of
/// one layer is a boundary of another.
const CHUNK: usize = 65_521;

/// The first byte of a channel that `relay_echo` shall not read.
const STALL: u8 = b'S';

/// An endless stream of bytes that its seed determines: xorshift64* (Vigna, 2016).
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        // Any state but zero will do; neighbouring seeds shall not look alike.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // A channel that begins with S is one that is not read.
        while Self(state).next()[0] == STALL {
            state = state.wrapping_add(2);
        }
        Self(state)
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next()[..word.len()]);
        }
    }
}

/// Connects a client whose reads and writes end by the deadline.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, DEADLINE).expect("the relay's client port");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a write timeout");
    stream
}

/// Sends `total` bytes while it checks that the same bytes come back, in order. `seed` tells streams apart, so that none
/// can pass for another.
pub(crate) fn transfer(stream: &TcpStream, seed: u64, total: u64) {
    thread::scope(|scope| {
        scope.spawn(|| send(stream, seed, total));
        receive(stream, seed, total);
    });
}

/// Ends this side of a stream, whereupon the other side has to end too.
pub(crate) fn finish(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("a half close");
    expect_end(stream);
}

/// A transfer from beginning to end.
pub(crate) fn echo(stream: &TcpStream, seed: u64, total: u64) {
    transfer(stream, seed, total);
    finish(stream);
}

/// The time from sending a few bytes to having them back.
pub(crate) fn round_trip(mut stream: &TcpStream, seed: u64) -> Duration {
    let mut sent = [0; 64];
    let mut got = [0; 64];
    Noise::new(seed).fill(&mut sent);
    let start = Instant::now();
    stream.write_all(&sent).expect("room for a ping");
    stream.read_exact(&mut got).expect("the ping's echo");
    let took = start.elapsed();
    assert_eq!(sent, got, "the ping came back changed");
    took
}

/// Makes the echo stop reading this stream, and writes until the stream takes nothing more for `patience`, or it has taken
/// `limit` bytes. Returns how many it took.
pub(crate) fn push(mut stream: &TcpStream, limit: u64, patience: Duration) -> u64 {
    stream.set_write_timeout(Some(patience)).expect("a write timeout");
    let chunk = [STALL; CHUNK];
    let mut pushed = 0;
    while pushed < limit {
        let part = &chunk[..(limit - pushed).min(CHUNK as u64) as usize];
        match stream.write(part) {
            Ok(count) => pushed += count as u64,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("the connection broke after {pushed} bytes: {error}"),
        }
    }
    pushed
}

/// Resets the connection, as a client does that crashes.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(stream);
}

/// The other side has sent all that it will.
fn expect_end(mut stream: &TcpStream) {
    let mut rest = [0; 64];
    let count = stream.read(&mut rest).expect("an orderly end");
    assert_eq!(count, 0, "more bytes than were sent: {:02x?}", &rest[..count]);
}

fn send(mut stream: &TcpStream, seed: u64, total: u64) {
    let mut noise = Noise::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK as u64) as usize];
        noise.fill(part);
        stream.write_all(part).unwrap_or_else(|error| panic!("stream {seed}: {left} bytes unsent: {error}"));
        left -= part.len() as u64;
    }
}

fn receive(mut stream: &TcpStream, seed: u64, total: u64) {
    let mut noise = Noise::new(seed);
    let mut wanted = vec![0; CHUNK];
    let mut got = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let size = left.min(CHUNK as u64) as usize;
        noise.fill(&mut wanted[..size]);
        stream
            .read_exact(&mut got[..size])
            .unwrap_or_else(|error| panic!("stream {seed}: {left} bytes missing: {error}"));
        if got[..size] != wanted[..size] {
            let offset = got.iter().zip(&wanted).take_while(|(got, wanted)| got == wanted).count() as u64;
            panic!("stream {seed}: byte {} of {total} is wrong", total - left + offset);
        }
        left -= size as u64;
    }
}
