//! An HTTP/1.1 service whose paths show every way a response can look.
//!
//! | path | what happens |
//! |---|---|
//! | `/echo` | 200 with the request's body |
//! | `/request` | 200 with the request line and headers as they arrived |
//! | `/bytes/N` | 200 with N bytes of [`pattern`](super::tcp::pattern) and their length |
//! | `/chunked/N` | the same in chunks of at most 1000 bytes, with an extension and a trailer |
//! | `/until-close/N` | the same without framing, until the connection closes |
//! | `/drip/N` | N bytes, each sent alone |
//! | `/status/CODE` | that status; 204 and 304 have no body |
//! | `/close` | 200 and `Connection: close` |
//! | `/short` | announces 100 bytes, sends 10 and closes |
//! | `/nothing` | closes without an answer |
//! | `/hang` | never answers |
//! | `/upgrade` | 101, then echoes bytes |
//! | other | 404 |

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_rustls::TlsAcceptor;

use super::Target;
use super::tcp::pattern;
use crate::http::{self, Message};

/// Longest chunk of a chunked response.
const CHUNK: usize = 1000;

/// The service, and the requests that reached it.
pub struct HttpTarget {
    target: Target,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl HttpTarget {
    /// Serves plain HTTP.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<HttpTarget> {
        let requests = Arc::<Mutex<Vec<Message>>>::default();
        let seen = requests.clone();
        let target = Target::serve(move |stream| {
            let seen = seen.clone();
            // A client that goes away in mid request is none of the service's business.
            async move { drop(serve(BufReader::new(stream), &seen).await) }
        })
        .await?;
        Ok(HttpTarget { target, requests })
    }

    /// Serves HTTPS.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_tls(config: Arc<ServerConfig>) -> io::Result<HttpTarget> {
        let requests = Arc::<Mutex<Vec<Message>>>::default();
        let seen = requests.clone();
        let acceptor = TlsAcceptor::from(config);
        let target = Target::serve(move |stream| {
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    drop(serve(BufReader::new(stream), &seen).await);
                }
            }
        })
        .await?;
        Ok(HttpTarget { target, requests })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.target.addr()
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.target.accepted()
    }

    /// The requests that arrived whole.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

async fn serve<S>(mut stream: BufReader<S>, seen: &Mutex<Vec<Message>>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(request) = receive(&mut stream).await? {
        seen.lock().expect("no holder panics").push(request.clone());
        let goes_on = answer(&mut stream, &request).await?;
        stream.flush().await?;
        if !goes_on || request.closes() {
            break;
        }
    }
    stream.shutdown().await
}

/// Reads a request, and tells a client that waits for it to send the body.
async fn receive<S>(stream: &mut S) -> io::Result<Option<Message>>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let Some(mut request) = http::read_head(stream).await? else {
        return Ok(None);
    };
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        stream.flush().await?;
    }
    if let Some(framing) = request.framing()? {
        request.body = http::read_body(stream, framing).await?;
    }
    Ok(Some(request))
}

/// Answers, and says whether the connection goes on.
async fn answer<S>(stream: &mut S, request: &Message) -> io::Result<bool>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let path = request.path().trim_start_matches('/');
    let (name, argument) = path.split_once('/').unwrap_or((path, ""));
    let count = argument.parse::<usize>().unwrap_or_default();
    match name {
        "echo" => whole(stream, request, "200 OK", &request.body).await?,
        "request" => whole(stream, request, "200 OK", describe(request).as_bytes()).await?,
        "bytes" => whole(stream, request, "200 OK", &pattern(0, count)).await?,
        "chunked" => chunked(stream, request, &pattern(0, count)).await?,
        "until-close" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            stream.write_all(&pattern(0, count)).await?;
            return Ok(false);
        }
        "drip" => drip(stream, request, &pattern(0, count)).await?,
        "status" => whole(stream, request, &format!("{argument} Status"), b"as you wished\n").await?,
        "close" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbye\n").await?;
            return Ok(false);
        }
        "short" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").await?;
            return Ok(false);
        }
        "nothing" => return Ok(false),
        "hang" => std::future::pending().await,
        "upgrade" => {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                .await?;
            stream.flush().await?;
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await?;
            return Ok(false);
        }
        _ => whole(stream, request, "404 Not Found", b"no such path\n").await?,
    }
    Ok(true)
}

fn describe(request: &Message) -> String {
    let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    format!("{}\n{}", request.start_line, headers.collect::<String>())
}

/// A response framed by its length.
async fn whole<S>(stream: &mut S, request: &Message, status: &str, body: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let bodiless = status.starts_with("204") || status.starts_with("304");
    let length = if bodiless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    stream.write_all(format!("HTTP/1.1 {status}\r\n{length}\r\n").as_bytes()).await?;
    if !bodiless && request.method() != "HEAD" {
        stream.write_all(body).await?;
    }
    Ok(())
}

async fn chunked<S>(stream: &mut S, request: &Message, body: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n").await?;
    if request.method() == "HEAD" {
        return Ok(());
    }
    for chunk in body.chunks(CHUNK) {
        stream.write_all(format!("{:x};part=yes\r\n", chunk.len()).as_bytes()).await?;
        stream.write_all(chunk).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\nX-End: yes\r\n\r\n").await
}

async fn drip<S>(stream: &mut S, request: &Message, body: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
    if request.method() == "HEAD" {
        return Ok(());
    }
    for byte in body {
        stream.write_all(std::slice::from_ref(byte)).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
