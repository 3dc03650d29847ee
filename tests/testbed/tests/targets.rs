//! The targets as a plain client sees them.

mod common;

use std::io::ErrorKind;

use common::Connection;
use testbed::certs::WebCa;
use testbed::targets::{self, HttpTarget, Target, pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn connect(target: &Target) -> TcpStream {
    TcpStream::connect(target.addr()).await.unwrap()
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn echo_sends_back_until_the_end() {
    let target = targets::echo().await.unwrap();
    let mut stream = connect(&target).await;
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"there and back");
    assert_eq!(target.accepted(), 1);
}

#[tokio::test]
async fn sink_counts_and_source_sends_the_pattern() {
    let sink = targets::sink().await.unwrap();
    let mut stream = connect(&sink).await;
    stream.write_all(&pattern(0, 200_000)).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"200000");

    let source = targets::source(200_000).await.unwrap();
    let received = rest(&mut connect(&source).await).await;
    assert!(received == pattern(0, 200_000), "{} bytes, or other ones", received.len());
    assert_eq!(pattern(250, 3), [250, 0, 1]);
}

#[tokio::test]
async fn unhelpful_targets_are_unhelpful() {
    let early = targets::closes_early(b"bye").await.unwrap();
    let mut stream = connect(&early).await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"bye");

    let refusing = targets::refusing().await.unwrap();
    assert_eq!(TcpStream::connect(refusing).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let stalling = targets::stalling().await.unwrap();
    let mut stream = connect(&stalling).await;
    let flood = vec![0; 1 << 20];
    let flooding = async { while stream.write_all(&flood).await.is_ok() {} };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), flooding).await.is_err());
}

#[tokio::test]
async fn stopping_a_target_ends_its_connections() {
    let target = targets::stalling().await.unwrap();
    let (addr, mut stream) = (target.addr(), connect(&target).await);
    stream.write_all(b"x").await.unwrap();
    target.stop().await;
    assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1..)));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn http_answers_in_every_form_on_one_connection() {
    let target = HttpTarget::start().await.unwrap();
    let mut connection = Connection::plain(target.addr()).await.unwrap();
    for (path, length) in [("/bytes/3000", 3000), ("/chunked/3000", 3000), ("/drip/30", 30)] {
        assert_eq!(connection.get(path).await.unwrap().body, pattern(0, length), "{path}");
        let head = connection.request("HEAD", path, &[], "").await.unwrap();
        assert_eq!((head.status(), head.body.len()), (200, 0), "{path}");
    }
    assert_eq!(connection.request("PUT", "/echo", &[("Expect", "other")], "body").await.unwrap().body, b"body");
    for status in [204, 304, 404, 503] {
        assert_eq!(connection.get(&format!("/status/{status}")).await.unwrap().status(), status);
    }
    let seen = connection.get("/request").await.unwrap();
    assert_eq!(seen.body, b"GET /request HTTP/1.1\nHost: test\n");
    let continued = connection.request("POST", "/echo", &[("Expect", "100-continue")], "body").await.unwrap();
    assert_eq!(continued.status(), 100);
    assert_eq!((target.requests().len(), target.accepted()), (13, 1));
}

#[tokio::test]
async fn http_answers_wrongly_when_asked_to() {
    let target = HttpTarget::start().await.unwrap();
    for (path, error) in [("/short", ErrorKind::UnexpectedEof), ("/nothing", ErrorKind::UnexpectedEof)] {
        let mut connection = Connection::plain(target.addr()).await.unwrap();
        assert_eq!(connection.get(path).await.unwrap_err().kind(), error, "{path}");
    }
    let mut connection = Connection::plain(target.addr()).await.unwrap();
    let response = connection.get("/until-close/500").await.unwrap();
    assert_eq!(response.body, pattern(0, 500));

    let mut connection = Connection::plain(target.addr()).await.unwrap();
    assert_eq!(connection.get("/upgrade").await.unwrap().status(), 101);
    connection.stream().write_all(b"no longer http").await.unwrap();
    let mut back = [0; 14];
    connection.stream().read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"no longer http");
}

#[tokio::test]
async fn https_is_trusted_by_its_authority_only() {
    let ca = WebCa::new();
    let target = HttpTarget::start_tls(ca.server()).await.unwrap();
    let mut connection = Connection::tls(target.addr(), &ca.pem()).await.unwrap();
    assert_eq!(connection.get("/status/200").await.unwrap().status(), 200);
    assert!(Connection::tls(target.addr(), &WebCa::new().pem()).await.is_err());
}
