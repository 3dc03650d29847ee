//! The agent at a relay on golang.org/x/crypto/ssh, the library of the platform's own.

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::bed::Bed;
use testbed::client::{TlsClient, alpn};
use testbed::targets;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::fixture::{Gateway, enrolling, is_native};
use crate::support::go_relay;
use crate::support::process::{Process, Stream};
use crate::targets::echoed;

/// Starts the relay with the bed's keys on these addresses; port 0 takes a free one. `None`: it can't be built here.
fn start(bed: &Bed, ssh: &str, clients: &str) -> Option<(Process, SocketAddr, SocketAddr)> {
    let mut command = Command::new(go_relay::program()?);
    command.current_dir(bed.dir.path()).args([
        "-host-key",
        "host",
        "-host-cert",
        "host-cert.pub",
        "-user-ca",
        "user-ca.pub",
    ]);
    // Keys change in the middle of everything.
    command.args(["-rekey", "1000000", "-listen", ssh, "-client-listen", clients]);
    let process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let ready = process.line(Stream::Stdout, "its addresses", |_| true);
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
    let addresses = (address("ssh"), address("client"));
    Some((process, addresses.0, addresses.1))
}

async fn connect(bed: &Bed, clients: SocketAddr, alpn: &str, target: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let certificate = bed.client().certificate_for(&target.ip().to_string(), target.port()).issue();
    let stream = TcpStream::connect(clients).await?;
    TlsClient::new(bed.pki.clone()).handshake(stream, &[alpn], Some(&certificate)).await
}

async fn ping(bed: &Bed, clients: SocketAddr) -> io::Result<()> {
    let mut answer = Vec::new();
    connect(bed, clients, alpn::PING, clients).await?.read_to_end(&mut answer).await?;
    if answer == b"PONG\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Waits until a ping is answered.
async fn answered(bed: &Bed, clients: SocketAddr) -> io::Result<()> {
    while ping(bed, clients).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_in_go() {
    let bed = Bed::start().await.unwrap();
    let host = bed.ssh.host("127.0.0.1:2222").issue();
    bed.dir.write("host", &host.private_key_pem()).unwrap();
    bed.dir.write("host-cert.pub", host.certificate_line()).unwrap();
    bed.dir.write("user-ca.pub", &bed.ssh.user_ca().to_openssh().unwrap()).unwrap();
    let Some((relay, ssh, clients)) = start(&bed, "127.0.0.1:0", "127.0.0.1:0") else { return };
    let gateway = Gateway::start(&enrolling(&bed).env("EDGE_GATEWAY_RELAY_PORT", ssh.port().to_string()));
    // The agent may say that it serves a moment before the relay has noted it.
    gateway.within(answered(&bed, clients)).await;

    let target = targets::echo().await.unwrap();
    let mut tunnels = JoinSet::new();
    for _ in 0..20 {
        let stream = gateway.within(connect(&bed, clients, alpn::TCP, target.addr())).await;
        tunnels.spawn(echoed(stream, 300_000));
    }
    while let Some(tunnel) = gateway.within(async { Ok(tunnels.join_next().await) }).await {
        tunnel.unwrap().unwrap();
    }

    drop(relay);
    gateway.says("trying again").await;
    let (_relay, ..) = start(&bed, &ssh.to_string(), &clients.to_string()).unwrap();
    let back = Instant::now();
    gateway.within(answered(&bed, clients)).await;
    let took = back.elapsed();
    assert!(took < Duration::from_secs(3) || !is_native(), "{took:?}");
    gateway.stop().await;
}
