//! TCP services, each with one habit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Target;

/// Sends back what it receives, and its end of file too.
///
/// # Errors
/// When no port can be bound.
pub async fn echo() -> io::Result<Target> {
    Target::serve(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        // A peer that resets gets no echo.
        if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
            let _ = writer.shutdown().await;
        }
    })
    .await
}

/// Reads to the end, then answers with the number of bytes as decimal digits.
///
/// # Errors
/// When no port can be bound.
pub async fn sink() -> io::Result<Target> {
    Target::serve(|mut stream| async move {
        if let Ok(count) = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await {
            let _ = stream.write_all(count.to_string().as_bytes()).await;
        }
    })
    .await
}

/// Sends this many bytes of [`pattern`] and closes. Reads nothing.
///
/// # Errors
/// When no port can be bound.
pub async fn source(length: u64) -> io::Result<Target> {
    Target::serve(move |mut stream| async move {
        let mut sent = 0;
        while sent < length {
            let piece = pattern(sent, (length - sent).min(64 * 1024) as usize);
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            sent += piece.len() as u64;
        }
        let _ = stream.shutdown().await;
        // Closing with unread bytes would reset the connection and take the last bytes with it.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await
}

/// Bytes `offset..offset + length` of an endless stream that repeats after 251 bytes, so that a lost or doubled block
/// of any usual size shows.
pub fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (offset..).take(length).map(|i| (i % 251) as u8).collect()
}

/// Accepts and never reads.
///
/// # Errors
/// When no port can be bound.
pub async fn stalling() -> io::Result<Target> {
    Target::serve(|stream| async move {
        let _held: TcpStream = stream;
        std::future::pending().await
    })
    .await
}

/// Sends these bytes as soon as the first byte arrives, and closes without reading on.
///
/// # Errors
/// When no port can be bound.
pub async fn closes_early(parting: &'static [u8]) -> io::Result<Target> {
    Target::serve(move |mut stream| async move {
        if stream.read(&mut [0; 1]).await.is_ok() {
            let _ = stream.write_all(parting).await;
        }
    })
    .await
}

/// A port that nothing listens on.
///
/// # Errors
/// When no port can be bound to find one.
pub async fn refusing() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}
