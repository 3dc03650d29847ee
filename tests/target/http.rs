//! `infisical-http-proxy`, to targets on loopback.

use std::io;
use std::time::Duration;

use edge_gateway::limits::{HTTP_HEAD, HTTP_IDLE_TIME, HTTP_TARGET_TIME};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::gateway::Gateway;
use crate::http_target::{Answer, Message, Target, read, read_body, read_head};
use crate::pki::Client;

const HTTP: &str = "infisical-http-proxy";

/// A client on an open channel.
pub(crate) struct Caller {
    stream: BufReader<TlsStream<DuplexStream>>,
    served: JoinHandle<()>,
}

impl Caller {
    pub(crate) async fn new(gateway: &Gateway, client: &Client) -> Self {
        Self::with_config(gateway, client, "CONFIG\n").await
    }

    pub(crate) async fn with_config(gateway: &Gateway, client: &Client, config: &str) -> Self {
        let (stream, served) = gateway.open(client, HTTP).await;
        let mut caller = Self { stream: BufReader::new(stream), served };
        caller.send(config).await;
        caller
    }

    pub(crate) fn stream(&mut self) -> &mut BufReader<TlsStream<DuplexStream>> {
        &mut self.stream
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    pub(crate) async fn response(&mut self) -> Message {
        read(&mut self.stream).await.expect("a response").expect("not the end")
    }

    pub(crate) async fn call(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.response().await
    }

    /// The connection ends cleanly and without another byte.
    pub(crate) async fn ends(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.expect("a clean end");
        assert_eq!(rest, b"", "{}", rest.escape_ascii());
        self.served.await.expect("served");
    }
}

/// The request as the target saw it: line, fields in order, body.
fn echo(request: &Message, _: usize) -> Answer {
    let fields: String = request.fields.iter().map(|(name, value)| format!("{name}={value};")).collect();
    let body = String::from_utf8_lossy(&request.body);
    let trailers: String = request.trailers.iter().map(|(name, value)| format!("{name}={value};")).collect();
    Answer::ok(&format!("{}|{fields}|{body}|{trailers}", request.line))
}

async fn echoing() -> (Gateway, Target, Client) {
    let gateway = Gateway::new();
    let target = Target::start(echo).await;
    let client = gateway.pki.client("127.0.0.1", target.port);
    (gateway, target, client)
}

#[tokio::test]
async fn requests_follow_each_other_on_both_connections() {
    let (gateway, target, client) = echoing().await;
    let mut caller = Caller::new(&gateway, &client).await;
    let host = format!("Host=127.0.0.1:{};", target.port);
    let response = caller.call("GET /a?b=c HTTP/1.1\r\nHost: localhost:1\r\nX: y\r\n\r\n").await;
    assert_eq!(response.text(), format!("GET /a?b=c HTTP/1.1|{host}X=y;||"));
    let response = caller.call("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(response.text(), format!("POST /p HTTP/1.1|{host}Content-Length=5;|hello|"));
    let response = caller
        .call(
            "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nAuthorization: sneaked\r\n\r\n",
        )
        .await;
    assert_eq!(
        response.text(),
        format!("PUT /c HTTP/1.1|{host}Trailer=X-Sum;Transfer-Encoding=chunked;|abcde|X-Sum=5;")
    );
    assert_eq!(response.field("connection"), None);
    assert_eq!(target.connections(), 1);
    let response = caller.call("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(response.field("connection"), Some("close"));
    caller.ends().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (gateway, _target, client) = echoing().await;
    let mut caller = Caller::new(&gateway, &client).await;
    let requests: String = (0..10).map(|at| format!("GET /{at} HTTP/1.1\r\n\r\n")).collect();
    caller.send(requests).await;
    for at in 0..10 {
        assert!(caller.response().await.text().starts_with(&format!("GET /{at} ")));
    }
    drop(caller);
}

#[tokio::test]
async fn every_framing_of_a_response_reaches_the_client() {
    let gateway = Gateway::new();
    let target = Target::start(|request, _| match request.line.split(' ').nth(1) {
        Some("/length") => Answer::ok("12345"),
        Some("/chunks") => Answer::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\n12\r\n3\r\n345\r\n0\r\nX-T: 1\r\n\r\n",
        ),
        Some("/close") => Answer::last("HTTP/1.1 200 OK\r\n\r\n12345"),
        Some("/old") => Answer::last("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n12345"),
        Some("/204") => Answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        Some("/304") => Answer::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        Some("/103") => {
            Answer::raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345")
        }
        Some("/empty") => Answer::ok(""),
        _ => Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    for path in ["/length", "/chunks", "/close", "/old", "/length"] {
        let response = caller.call(format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        assert_eq!((response.status(), response.text()), ("200", "12345"), "{path}");
        assert_eq!(response.trailers.len(), usize::from(path == "/chunks"));
    }
    caller.send("HEAD /head HTTP/1.1\r\n\r\n").await;
    let head = read_head(&mut caller.stream).await.expect("read").expect("a head");
    assert_eq!(head.field("content-length"), Some("9999"));
    for (path, status) in [("/204", "204"), ("/304", "304")] {
        caller.send(format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        let head = read_head(&mut caller.stream).await.expect("read").expect("a head");
        assert_eq!(head.status(), status);
    }
    let early = caller.call("GET /103 HTTP/1.1\r\n\r\n").await;
    assert_eq!((early.status(), early.field("link")), ("103", Some("x")));
    assert_eq!(caller.response().await.text(), "12345");
    assert_eq!(caller.call("GET /empty HTTP/1.1\r\n\r\n").await.text(), "");
    assert_eq!(caller.call("GET /length HTTP/1.1\r\n\r\n").await.text(), "12345");
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let gateway = Gateway::new();
    let target = Target::start(|request, _| {
        let size = request.body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        Answer::raw([head.as_bytes(), &request.body].concat())
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    let body: Vec<u8> = (0..3_000_000u32).map(|at| (at % 253) as u8).collect();
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    let response = caller.call([head.as_bytes(), &body].concat()).await;
    assert!(response.body == body);
}

#[tokio::test]
async fn a_client_may_wait_for_continue() {
    let gateway = Gateway::new();
    let target = Target::start_with(|stream| async move {
        let mut stream = BufReader::new(stream);
        let mut request = read_head(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(request.field("expect"), Some("100-continue"));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        read_body(&mut stream, &mut request).await?;
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await?;
        stream.flush().await
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(caller.call(head).await.status(), "100");
    assert_eq!(caller.call("body").await.status(), "201");
}

#[tokio::test]
async fn a_target_may_answer_before_it_has_the_body() {
    let gateway = Gateway::new();
    let target = Target::start_with(|stream| async move {
        let mut stream = BufReader::new(stream);
        read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await?;
        stream.flush().await
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    let response = caller.call("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nstart").await;
    assert_eq!((response.status(), response.text()), ("413", "no"));
    // The rest of the body may or may not come: nothing can follow on this connection.
    assert_eq!(response.field("connection"), Some("close"));
    caller.ends().await;
}

#[tokio::test]
async fn upgrades_become_a_tunnel() {
    let gateway = Gateway::new();
    let target = Target::start_with(|stream| async move {
        let mut stream = BufReader::new(stream);
        let request = read_head(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(request.field("upgrade"), Some("shout"));
        assert_eq!(request.field("connection"), Some("Upgrade"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nREADY ";
        stream.write_all(head.as_bytes()).await?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await?;
        stream.write_all(&said.to_ascii_uppercase()).await?;
        stream.shutdown().await
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    let response = caller.call("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n").await;
    assert_eq!((response.status(), response.field("upgrade")), ("101", Some("shout")));
    caller.send("hello, not HTTP\n").await;
    caller.stream.shutdown().await.expect("closed");
    let mut heard = Vec::new();
    caller.stream.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"READY HELLO, NOT HTTP\n");
    caller.served.await.expect("served");
}

#[tokio::test]
async fn an_unreachable_target_is_a_500_and_the_connection_stays() {
    let gateway = Gateway::new();
    let closed = {
        let target = Target::start(echo).await;
        target.port
    };
    tokio::task::yield_now().await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", closed)).await;
    for _ in 0..2 {
        let body = "POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".to_owned() + &"x".repeat(100_000);
        let response = caller.call(body).await;
        assert_eq!(response.status(), "500");
        assert_eq!(response.field("content-type"), Some("application/json"));
        let message = format!("{{\"message\":\"gateway: 127.0.0.1:{closed}: 127.0.0.1:{closed} can't be reached: ");
        assert!(response.text().starts_with(&message), "{}", response.text());
        let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(caller.call(chunks).await.status(), "500");
    }
    // Nobody knows whether the body comes now, or how much of it.
    let response = caller.call("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!((response.status(), response.field("connection")), ("500", Some("close")));
    caller.ends().await;
}

#[tokio::test]
async fn a_policy_refusal_is_a_403_that_says_so() {
    let target = Target::start(echo).await;
    let gateway = Gateway::policy(None, Some("127.0.0.1"));
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    let response = caller.call("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(response.status(), "403");
    assert_eq!(
        response.text(),
        format!("{{\"message\":\"gateway: 127.0.0.1:{}: refused by this gateway's policy\"}}", target.port)
    );
    assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.status(), "403");
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn routing_is_asked_for_when_it_is_needed() {
    let gateway = Gateway::new();
    let mut caller = Caller::new(&gateway, &gateway.pki.client_with(&[], 300)).await;
    let response = caller.call("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(response.status(), "400");
    assert!(response.text().contains("no routing extension (1.3.6.1.4.1.12345.100.1)"));
}

#[tokio::test]
async fn what_can_not_be_framed_is_refused_and_the_connection_ends() {
    let (gateway, target, client) = echoing().await;
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(HTTP_HEAD));
    for (bytes, status) in [
        ("CONFIG\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("CONFIG\nGET / HTTP/1.1\nHost: x\n\n", "400"),
        ("CONFIG\nGET / HTTP/1.1\r\nA : b\r\n\r\n", "400"),
        ("CONFIG\nCONNECT evil:80 HTTP/1.1\r\n\r\n", "400"),
        ("CONFIG\nGET / HTTP/1.0\r\n\r\n", "505"),
        ("CONFIG\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("CONFIG verify=maybe\n", "400"),
        (&*format!("CONFIG\n{long}"), "431"),
    ] {
        let mut caller = Caller::with_config(&gateway, &client, bytes).await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("connection")), (status, Some("close")), "{bytes}");
        assert!(response.text().starts_with("{\"message\":\"gateway: "));
        caller.ends().await;
    }
    // Only the malformed chunk went as far as the target.
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn what_the_target_says_is_held_to_the_same_rules() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "",
    ] {
        let gateway = Gateway::new();
        let target = Target::start(move |_, _| Answer::last(bytes)).await;
        let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
        for _ in 0..2 {
            let response = caller.call("GET / HTTP/1.1\r\n\r\n").await;
            assert_eq!(response.status(), "500", "{bytes}: {}", response.text());
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_can_not_be_mistaken_for_a_whole_one() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345zz",
    ] {
        let gateway = Gateway::new();
        let target = Target::start(move |_, _| Answer::last(bytes)).await;
        let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        let error = read(&mut caller.stream).await.expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{bytes}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_is_replaced() {
    let gateway = Gateway::new();
    // Promises to stay, and closes after one answer.
    let target = Target::start(|_, _| Answer { close: true, ..Answer::ok("x") }).await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    for round in 1..=5 {
        assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.status(), "200");
        assert_eq!(target.connections(), round);
    }
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is_sent_twice() {
    let gateway = Gateway::new();
    // The second request on a connection is read and never answered.
    let target = Target::start(|_, number| match number {
        0 => Answer::ok("x"),
        _ => Answer::last(""),
    })
    .await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.status(), "200");
    assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.status(), "200");
    assert_eq!(target.connections(), 2);
    assert_eq!(caller.call("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").await.status(), "500");
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_silent_target_is_given_up() {
    let gateway = Gateway::new();
    let target =
        Target::start_with(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await.map(drop) }).await;
    let mut caller = Caller::new(&gateway, &gateway.pki.client("127.0.0.1", target.port)).await;
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    while target.connections() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let response = caller.response().await;
    assert_eq!(response.status(), "500");
    assert!(response.text().contains("it gives no answer for 30 s"), "{}", response.text());
    assert!(start.elapsed().abs_diff(HTTP_TARGET_TIME) < Duration::from_secs(1));
}

#[tokio::test]
async fn an_idle_client_is_let_go() {
    let (gateway, _target, client) = echoing().await;
    let mut caller = Caller::new(&gateway, &client).await;
    assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.status(), "200");
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    caller.ends().await;
    assert!(start.elapsed() >= HTTP_IDLE_TIME);
}
