//! A target that speaks HTTP, and the client's side of it: plain readings of RFC 9112 that share no
//! code with the agent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        first
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn status(&self) -> &str {
        self.line.split(' ').nth(1).expect("a status")
    }
}

async fn line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(line.to_owned()))
}

async fn fields<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(": ").ok_or(io::ErrorKind::InvalidData)?;
        fields.push((name.to_owned(), value.to_owned()));
    }
}

/// Reads a head; `None` at a clean end.
pub(crate) async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Message>> {
    let Some(line) = line(reader).await? else {
        return Ok(None);
    };
    Ok(Some(Message { line, fields: fields(reader).await?, ..Message::default() }))
}

/// Reads the body that a head announces, chunks joined.
pub(crate) async fn read_body<R: AsyncBufRead + Unpin>(reader: &mut R, message: &mut Message) -> io::Result<()> {
    if message.field("transfer-encoding").is_some() {
        loop {
            let size = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                message.trailers = fields(reader).await?;
                return Ok(());
            }
            let start = message.body.len();
            message.body.resize(start + size, 0);
            reader.read_exact(&mut message.body[start..]).await?;
            assert_eq!(line(reader).await?.as_deref(), Some(""), "a chunk's end");
        }
    }
    let length = message.field("content-length").map_or(0, |length| length.parse().expect("a length"));
    message.body = vec![0; length];
    reader.read_exact(&mut message.body).await?;
    Ok(())
}

/// Reads a whole message; `None` at a clean end.
pub(crate) async fn read<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Message>> {
    let Some(mut message) = read_head(reader).await? else {
        return Ok(None);
    };
    read_body(reader, &mut message).await?;
    Ok(Some(message))
}

/// What a target answers: bytes as they are, and whether it closes after them.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) close: bool,
}

impl Answer {
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: false }
    }

    pub(crate) fn last(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: true }
    }

    /// 200 with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// Serves one connection with a function of the request and its number on this connection.
pub(crate) async fn serve<S, F>(stream: S, answer: &F) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(&Message, usize) -> Answer,
{
    let mut stream = BufReader::new(stream);
    let mut number = 0;
    while let Some(request) = read(&mut stream).await? {
        let Answer { bytes, close } = answer(&request, number);
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        if close {
            return stream.shutdown().await;
        }
        number += 1;
    }
    Ok(())
}

/// A target on loopback, stopped when it is dropped.
pub(crate) struct Target {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    /// Answers requests with a function of the request and its number on its connection.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Message, usize) -> Answer + Clone + Send + Sync + 'static,
    {
        Self::start_with(move |stream| {
            let answer = answer.clone();
            async move { serve(stream, &answer).await }
        })
        .await
    }

    /// Serves connections with a function of the stream.
    pub(crate) async fn start_with<F, T>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> T + Send + 'static,
        T: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // A gateway that is done with a connection drops it.
                tokio::spawn(serve(stream));
            }
        });
        Self { port, connections, task }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}
