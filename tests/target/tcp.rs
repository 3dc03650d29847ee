//! `infisical-tcp-proxy`, to targets on loopback.

use std::time::Duration;

use edge_gateway::limits::TCP_HALF_CLOSED_TIME;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::gateway::Gateway;
use crate::pki::Client;

const TCP: &str = "infisical-tcp-proxy";

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// A clean end, with nothing before it.
async fn closes_cleanly(gateway: &Gateway, client: &Client) {
    let (mut stream, served) = gateway.open(client, TCP).await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("a clean end");
    assert_eq!(bytes, b"");
    served.await.expect("served");
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_closes_on_its_own() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let bytes: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    for host in ["127.0.0.1", "localhost"] {
        let (mut client, served) = gateway.open(&gateway.pki.client(host, port), TCP).await;
        let mut target = accept(&listener).await;
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let (mut reader, mut writer) = target.split();
        let (mut client_reader, mut client_writer) = tokio::io::split(&mut client);
        let (a, b, c) = tokio::join!(
            async {
                client_writer.write_all(&bytes).await?;
                client_writer.shutdown().await
            },
            async {
                // Only after all of the client's bytes and their end.
                reader.read_to_end(&mut sent).await?;
                writer.write_all(&bytes).await?;
                writer.shutdown().await
            },
            client_reader.read_to_end(&mut received),
        );
        a.and(b).and(c.map(drop)).expect("carried");
        assert!(sent == bytes && received == bytes);
        served.await.expect("served");
    }
}

#[tokio::test]
async fn a_target_that_closes_first_may_still_be_written_to() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let (mut client, served) = gateway.open(&gateway.pki.client("127.0.0.1", port), TCP).await;
    let mut target = accept(&listener).await;
    target.write_all(b"hello").await.expect("written");
    target.shutdown().await.expect("closed");
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("a clean end");
    assert_eq!(received, b"hello");
    client.write_all(b"late").await.expect("written");
    client.shutdown().await.expect("closed");
    let mut late = Vec::new();
    target.read_to_end(&mut late).await.expect("read");
    assert_eq!(late, b"late");
    served.await.expect("served");
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_target_connection_with_it() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let (client, served) = gateway.open(&gateway.pki.client("127.0.0.1", port), TCP).await;
    let mut target = accept(&listener).await;
    drop(client);
    assert_eq!(target.read(&mut [0]).await.expect("the end"), 0);
    served.await.expect("served");
}

#[tokio::test]
async fn a_target_that_breaks_off_is_not_mistaken_for_one_that_is_done() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let (mut client, served) = gateway.open(&gateway.pki.client("127.0.0.1", port), TCP).await;
    let target = accept(&listener).await;
    socket2::SockRef::from(&target).set_linger(Some(Duration::ZERO)).expect("set");
    drop(target);
    client.read_u8().await.expect_err("cut off");
    served.await.expect("served");
}

#[tokio::test]
async fn a_targets_last_words_arrive_although_it_reads_no_more() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let (mut client, served) = gateway.open(&gateway.pki.client("127.0.0.1", port), TCP).await;
    let mut target = accept(&listener).await;
    target.write_all(b"413, go away").await.expect("written");
    // What it has not read turns its close into a reset.
    client.write_all(&[1; 100_000]).await.expect("written");
    client.flush().await.expect("flushed");
    target.readable().await.expect("there is something to read");
    drop(target);
    let mut received = [0; 12];
    client.read_exact(&mut received).await.expect("read");
    assert_eq!(&received, b"413, go away");
    drop(client);
    served.await.expect("served");
}

#[tokio::test]
async fn targets_that_can_not_be_reached_close_cleanly() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    drop(listener);
    closes_cleanly(&gateway, &gateway.pki.client("127.0.0.1", port)).await;
    closes_cleanly(&gateway, &gateway.pki.client("no-such-host.invalid", 1)).await;
    closes_cleanly(&gateway, &gateway.pki.client("https://127.0.0.1", port)).await;
    closes_cleanly(&gateway, &gateway.pki.client_with(&[], 300)).await;
    closes_cleanly(&gateway, &gateway.pki.client_with(&[(1, "{}")], 300)).await;
}

#[tokio::test]
async fn the_policy_is_applied_to_names_and_to_addresses() {
    let (listener, port) = listen().await;
    for (allow, deny) in [
        (None, Some("127.0.0.0/8,[::1]")),
        (None, Some("localhost")),
        (Some("10.0.0.0/8"), None),
        (Some("other.lan"), None),
    ] {
        let gateway = Gateway::policy(allow, deny);
        closes_cleanly(&gateway, &gateway.pki.client("localhost", port)).await;
    }
    let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(nobody.is_err(), "a refused target was connected to");

    let gateway = Gateway::policy(Some("127.0.0.0/8"), None);
    let (_client, _served) = gateway.open(&gateway.pki.client("localhost", port), TCP).await;
    accept(&listener).await;
}

#[tokio::test]
async fn a_half_closed_tunnel_does_not_live_for_ever() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let (mut client, served) = gateway.open(&gateway.pki.client("127.0.0.1", port), TCP).await;
    let mut target = accept(&listener).await;
    client.shutdown().await.expect("closed");
    assert_eq!(target.read(&mut [0]).await.expect("the end"), 0);
    tokio::time::pause();
    tokio::time::sleep(TCP_HALF_CLOSED_TIME * 2 / 3).await;
    assert!(!served.is_finished());
    target.write_all(b"still here").await.expect("written");
    let mut bytes = [0; 10];
    client.read_exact(&mut bytes).await.expect("read");
    tokio::time::sleep(TCP_HALF_CLOSED_TIME * 2 / 3).await;
    assert!(!served.is_finished(), "the time starts again with every byte");
    tokio::time::sleep(TCP_HALF_CLOSED_TIME).await;
    assert_eq!(client.read(&mut bytes).await.expect("a clean end"), 0);
    served.await.expect("served");
}

#[tokio::test]
async fn a_stalled_target_stops_its_client_and_nobody_else() {
    let gateway = Gateway::new();
    let (listener, port) = listen().await;
    let to = gateway.pki.client("127.0.0.1", port);
    let (mut stalled, _served) = gateway.open(&to, TCP).await;
    let _unread = accept(&listener).await;
    let flood = async {
        loop {
            stalled.write_all(&[0; 65_536]).await.expect("written");
        }
    };
    let flood = tokio::time::timeout(Duration::from_millis(300), flood).await;
    assert!(flood.is_err(), "it was never stopped");

    let (mut client, served) = gateway.open(&to, TCP).await;
    let mut target = accept(&listener).await;
    client.write_all(b"ping").await.expect("written");
    client.flush().await.expect("flushed");
    let mut bytes = [0; 4];
    target.read_exact(&mut bytes).await.expect("read");
    target.write_all(&bytes).await.expect("written");
    client.read_exact(&mut bytes).await.expect("read");
    drop((client, target));
    served.await.expect("served");
}
