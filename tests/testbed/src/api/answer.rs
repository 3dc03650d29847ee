//! How an answer goes over the wire, right or wrong.

use std::io;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::fault::{Fault, Response, reason};

/// Bytes of white space in front of a [`Fault::Huge`] answer.
const HUGE: usize = 100_000_000;
/// Time between two bytes of a [`Fault::Drip`] answer.
const DRIP: Duration = Duration::from_millis(100);

/// A connection from a client, with or without TLS.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Connection for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Connection for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Sends an answer, and says whether the connection can carry another.
pub(super) async fn send(stream: &mut impl Connection, response: &Response, fault: Option<&Fault>) -> io::Result<bool> {
    let body = response.body.as_bytes();
    match fault {
        None | Some(Fault::Answer(_) | Fault::Edited(_) | Fault::Held(_)) => {
            if let Some(Fault::Held(gate)) = fault {
                gate.passed().await;
            }
            stream.write_all(&[head(response, body.len()).as_slice(), body].concat()).await?;
            stream.flush().await?;
            return Ok(true);
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Reset) => stream.tcp().set_zero_linger()?,
        Some(Fault::Truncated) => {
            stream.write_all(&head(response, body.len())).await?;
            stream.write_all(&body[..body.len() / 2]).await?;
            stream.shutdown().await?;
        }
        Some(Fault::Huge) => {
            stream.write_all(&head(response, HUGE + body.len())).await?;
            let space = vec![b' '; 64 * 1024];
            for start in (0..HUGE).step_by(space.len()) {
                stream.write_all(&space[..space.len().min(HUGE - start)]).await?;
            }
            stream.write_all(body).await?;
            stream.shutdown().await?;
        }
        Some(Fault::Drip) => {
            stream.write_all(&head(response, body.len())).await?;
            for byte in body {
                stream.write_all(std::slice::from_ref(byte)).await?;
                stream.flush().await?;
                tokio::time::sleep(DRIP).await;
            }
        }
    }
    Ok(false)
}

fn head(response: &Response, length: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Date: {}\r\nContent-Length: {length}\r\n\r\n", http_date(OffsetDateTime::now_utc()));
    head.into_bytes()
}

/// A time in UTC as RFC 9110 section 5.6.7 has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(time: OffsetDateTime) -> String {
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    let (hour, minute, second) = time.to_hms();
    let (day, year) = (time.day(), time.year());
    format!("{}, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", &weekday[..3], &month[..3])
}
