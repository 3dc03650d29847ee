//! However requests and answers are cut into pieces, each answer belongs to its request.

use std::io;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncWriteExt, BufReader};

use crate::gateway::Gateway;
use crate::http::Caller;
use crate::http_target::{Target, read};

#[derive(Clone, Debug)]
struct Exchange {
    method: &'static str,
    /// In chunks of these sizes, or whole.
    chunks: Option<Vec<usize>>,
    body: Vec<u8>,
    answer_chunked: bool,
}

impl Exchange {
    fn request(&self, number: usize) -> Vec<u8> {
        let style = if self.answer_chunked { "chunked" } else { "length" };
        let mut bytes = format!("{} /{number}/{style} HTTP/1.1\r\nHost: localhost\r\n", self.method).into_bytes();
        match &self.chunks {
            None if self.body.is_empty() => bytes.extend(b"\r\n"),
            None => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).into_bytes());
                bytes.extend(&self.body);
            }
            Some(sizes) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                bytes.extend(chunks(&self.body, sizes));
            }
        }
        bytes
    }
}

fn chunks(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), body);
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        if !chunk.is_empty() {
            bytes.extend(format!("{:x};x=1\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        rest = after;
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn exchange() -> impl Strategy<Value = Exchange> {
    (
        prop_oneof![Just("GET"), Just("POST"), Just("DELETE")],
        proptest::option::of(vec(1usize..40, 0..6)),
        // Bodies that look like messages are what a desync would feed on.
        prop_oneof![
            vec(any::<u8>(), 0..200),
            Just(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            Just(b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ],
        any::<bool>(),
    )
        .prop_map(|(method, chunks, body, answer_chunked)| Exchange { method, chunks, body, answer_chunked })
}

/// Writes `bytes` in pieces that end at these cuts.
async fn write_cut<W: tokio::io::AsyncWrite + Unpin>(to: &mut W, bytes: &[u8], cuts: &[usize]) -> io::Result<()> {
    let mut at = 0;
    for cut in cuts {
        let end = bytes.len().min(at + cut);
        to.write_all(&bytes[at..end]).await?;
        to.flush().await?;
        tokio::task::yield_now().await;
        at = end;
    }
    to.write_all(&bytes[at..]).await?;
    to.flush().await
}

/// Answers with the request's own path and body, in small pieces.
async fn echo_in_pieces(stream: tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let path = request.line.split(' ').nth(1).expect("a path");
        let body = [path.as_bytes(), b"|", &request.body].concat();
        let bytes = if path.ends_with("chunked") {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
            [head, &chunks(&body, &[1, 2, 30])].concat()
        } else {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        };
        write_cut(&mut stream, &bytes, &[1, 7, 20, 3, 40]).await?;
    }
    Ok(())
}

#[test]
fn answers_stay_with_their_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let gateway = Gateway::new();
    let (target, caller) = runtime.block_on(async {
        let target = Target::start_with(echo_in_pieces).await;
        let client = gateway.pki.client("127.0.0.1", target.port);
        (target, Caller::new(&gateway, &client).await)
    });
    let caller = std::cell::RefCell::new(caller);
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    // One connection for all cases: a desync in one would show in all that follow.
    TestRunner::new(config)
        .run(&(vec(exchange(), 1..6), vec(1usize..50, 0..30)), |(exchanges, cuts)| {
            let mut caller = caller.borrow_mut();
            runtime.block_on(async {
                let mut bytes = Vec::new();
                for (number, exchange) in exchanges.iter().enumerate() {
                    bytes.extend(exchange.request(number));
                }
                write_cut(caller.stream(), &bytes, &cuts).await.expect("written");
                for (number, exchange) in exchanges.iter().enumerate() {
                    let style = if exchange.answer_chunked { "chunked" } else { "length" };
                    let expected = [format!("/{number}/{style}|").as_bytes(), &exchange.body].concat();
                    let response = caller.response().await;
                    prop_assert_eq!(response.body, expected);
                }
                Ok(())
            })
        })
        .expect("no desync");
    assert_eq!(target.connections(), 1);
}
