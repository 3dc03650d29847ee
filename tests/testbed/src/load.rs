//! Measured work for a tunnel: bytes up, bytes down, and short exchanges, every byte checked at its end.
//!
//! On one connection any number of commands follow each other: an operation (one byte), a length (eight bytes, big
//! endian), and then the data in its direction. An upload is answered with one byte: 1 when all was as sent.

use std::io::{self, ErrorKind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::targets::{Target, pattern};

/// A byte stream in both directions.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

const UPLOAD: u8 = b'U';
const DOWNLOAD: u8 = b'D';
const ECHO: u8 = b'E';
const COMMAND: usize = 9;

/// Bytes handed over at once.
const PIECE: usize = 64 * 1024;
/// Bytes of a short exchange, each way.
const SHORT: usize = 64;
/// After this many bytes the pattern repeats; no block of a usual size divides it.
const PERIOD: u64 = 251;

/// The pattern from any offset: what starts `offset % PERIOD` into this.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(0, PIECE + PERIOD as usize));

fn piece(offset: u64, length: u64) -> &'static [u8] {
    let start = (offset % PERIOD) as usize;
    &PATTERN[start..start + length.min(PIECE as u64) as usize]
}

/// The other end of the tunnels: does what each command says.
///
/// # Errors
/// When no port can be bound.
pub async fn target() -> io::Result<Target> {
    // A client that goes away in the middle is the client's affair.
    Target::serve(|mut stream| async move { drop(serve(&mut stream).await) }).await
}

async fn serve(stream: &mut (impl Wire + ?Sized)) -> io::Result<()> {
    let mut command = [0; COMMAND];
    loop {
        stream.read_exact(&mut command).await?;
        let [operation, length @ ..] = command;
        let length = u64::from_be_bytes(length);
        match operation {
            UPLOAD => {
                let exact = receive(stream, length).await?;
                stream.write_all(&[u8::from(exact)]).await?;
            }
            DOWNLOAD => send(stream, length).await?,
            ECHO => {
                let mut short = [0; SHORT];
                stream.read_exact(&mut short).await?;
                stream.write_all(&short).await?;
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        stream.flush().await?;
    }
}

async fn send(stream: &mut (impl Wire + ?Sized), length: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let bytes = piece(sent, length - sent);
        stream.write_all(bytes).await?;
        sent += bytes.len() as u64;
    }
    stream.flush().await
}

/// Whether the pattern came.
async fn receive(stream: &mut (impl Wire + ?Sized), length: u64) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    let (mut received, mut exact) = (0, true);
    while received < length {
        let most = (length - received).min(PIECE as u64) as usize;
        let count = stream.read(&mut buffer[..most]).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        exact &= &buffer[..count] == piece(received, count as u64);
        received += count as u64;
    }
    Ok(exact)
}

async fn command(stream: &mut (impl Wire + ?Sized), operation: u8, length: u64) -> io::Result<()> {
    let mut command = [operation; COMMAND];
    command[1..].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&command).await
}

fn exact(exact: bool) -> io::Result<()> {
    if exact { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, "other bytes arrived than were sent")) }
}

/// Sends this many bytes to the target.
///
/// # Errors
/// When the tunnel breaks, or a byte arrived that was not sent.
pub async fn upload(stream: &mut (impl Wire + ?Sized), length: u64) -> io::Result<()> {
    command(stream, UPLOAD, length).await?;
    send(stream, length).await?;
    exact(stream.read_u8().await? == 1)
}

/// Has the target send this many bytes.
///
/// # Errors
/// As [`upload`].
pub async fn download(stream: &mut (impl Wire + ?Sized), length: u64) -> io::Result<()> {
    command(stream, DOWNLOAD, length).await?;
    stream.flush().await?;
    exact(receive(stream, length).await?)
}

/// Asks the target to send this many bytes, and reads none of them.
///
/// # Errors
/// When the tunnel breaks.
pub async fn ask_and_stall(stream: &mut (impl Wire + ?Sized), length: u64) -> io::Result<()> {
    command(stream, DOWNLOAD, length).await?;
    stream.flush().await
}

/// Sends a few bytes there and waits until they are back: how long that took.
///
/// # Errors
/// As [`upload`].
pub async fn exchange(stream: &mut (impl Wire + ?Sized)) -> io::Result<Duration> {
    let started = Instant::now();
    let mut message = [0; COMMAND + SHORT];
    message[0] = ECHO;
    message[COMMAND..].copy_from_slice(piece(0, SHORT as u64));
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut back = [0; SHORT];
    stream.read_exact(&mut back).await?;
    exact(back == piece(0, SHORT as u64)).map(|()| started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn commands_follow_each_other_on_one_connection() {
        let target = target().await.expect("a port");
        let mut stream = TcpStream::connect(target.addr()).await.expect("connected");
        for length in [0, 1, PERIOD, PIECE as u64 * 3 + 17] {
            upload(&mut stream, length).await.expect("as sent");
            download(&mut stream, length).await.expect("as sent");
            exchange(&mut stream).await.expect("as sent");
        }
    }

    #[tokio::test]
    async fn a_wrong_byte_is_found_at_either_end() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let client = async {
            command(&mut near, UPLOAD, 3).await?;
            near.write_all(&[0, 1, 3]).await?;
            let answer = near.read_u8().await?;
            near.write_all(&[9; 3]).await?;
            io::Result::Ok(answer)
        };
        let server = async {
            tokio::select! {
                ended = serve(&mut far) => ended.map(|()| true),
                () = std::future::pending() => Ok(true),
            }
        };
        let answer = tokio::select! { answer = client => answer.expect("an answer"), _ = server => panic!("it ended") };
        assert_eq!(answer, 0, "the target saw it");
        assert!(!receive(&mut far, 3).await.expect("three bytes"), "and so would a client");
    }
}
