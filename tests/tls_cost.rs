//! What one TLS stream costs: allocations for each record, and bytes held while it is idle, beside
//! rustls's own two ways to do the same. `cargo test --test tls_cost -- --nocapture` prints them.
//!
//! The counts are of the whole process, so this file holds a single test.

#[allow(dead_code, reason = "shared with the `target` tests, which use all of it")]
#[path = "target/pki.rs"]
mod pki;

use std::alloc::System;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use edge_gateway::limits::TLS_PLAINTEXT_MAX;
use edge_gateway::room::Outlet;
use edge_gateway::tls::{Acceptor, TlsStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::version::TLS13;
use rustls::{ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORDS: usize = 256;
const MIB: f64 = (RECORDS * TLS_PLAINTEXT_MAX) as f64 / (1 << 20) as f64;

/// Costs of one way to serve TLS.
#[derive(Debug)]
struct Cost {
    received: usize,
    sent: usize,
    idle: usize,
}

/// Allocations made by `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Bytes that dropping `value` gives back, and its own size.
fn held<T>(value: T) -> usize {
    let region = Region::new(ALLOCATOR);
    drop(value);
    region.change().bytes_deallocated + size_of::<T>()
}

/// [`RECORDS`] full records under the client's key, one after the other.
fn records(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..RECORDS {
        client.writer().write_all(&[42; TLS_PLAINTEXT_MAX]).expect("room");
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("encoded");
        }
    }
    bytes
}

fn client(pki: &pki::Pki) -> ClientConnection {
    let mut config = pki.client("a", 1).config(&TLS13, &["ping"]);
    config.enable_sni = false;
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// What the agent configures, for rustls's own connections.
fn server_config(pki: &pki::Pki) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut anchors = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(pki.client_chain.as_bytes()) {
        anchors.add(anchor.expect("a certificate")).expect("an anchor");
    }
    let clients = WebPkiClientVerifier::builder_with_provider(anchors.into(), provider.clone());
    let leaf = CertificateDer::from_pem_slice(pki.leaf.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pki.leaf_key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_client_cert_verifier(clients.build().expect("a verifier"))
        .with_single_cert(vec![leaf], key)
        .expect("a server");
    config.alpn_protocols = vec![b"ping".to_vec()];
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn buffered(pki: &pki::Pki) -> Cost {
    let mut client = client(pki);
    let config = server_config(pki);
    let mut server = ServerConnection::new(config.clone()).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("encoded");
        server.read_tls(&mut bytes.as_slice()).expect("read");
        server.process_new_packets().expect("processed");
        bytes.clear();
        server.write_tls(&mut bytes).expect("encoded");
        client.read_tls(&mut bytes.as_slice()).expect("read");
        client.process_new_packets().expect("processed");
    }
    let records = records(&mut client);
    let mut plain = vec![0; TLS_PLAINTEXT_MAX];
    let received = allocations(|| {
        let mut records = records.as_slice();
        let mut total = 0;
        while total < RECORDS * TLS_PLAINTEXT_MAX {
            server.read_tls(&mut records).expect("read");
            server.process_new_packets().expect("processed");
            while let Ok(count) = server.reader().read(&mut plain) {
                total += count;
            }
        }
    });
    let sent = allocations(|| {
        for _ in 0..RECORDS {
            server.writer().write_all(&plain).expect("room");
            while server.wants_write() {
                server.write_tls(&mut io::sink()).expect("encoded");
            }
        }
    });
    Cost { received, sent, idle: held(server) }
}

fn unbuffered(pki: &pki::Pki) -> Cost {
    let mut client = client(pki);
    let config = server_config(pki);
    let mut server = UnbufferedServerConnection::new(config.clone()).expect("a server");
    let (mut incoming, mut outgoing) = (Vec::new(), vec![0; 20_000]);
    loop {
        client.write_tls(&mut incoming).expect("encoded");
        let UnbufferedStatus { discard, state } = server.process_tls_records(&mut incoming);
        let mut done = false;
        match state.expect("a good handshake") {
            ConnectionState::EncodeTlsData(mut data) => {
                let count = data.encode(&mut outgoing).expect("room");
                client.read_tls(&mut &outgoing[..count]).expect("read");
            }
            ConnectionState::TransmitTlsData(data) => {
                client.process_new_packets().expect("processed");
                data.done();
            }
            ConnectionState::WriteTraffic(_) => done = true,
            _ => {}
        }
        incoming.drain(..discard);
        if done {
            break;
        }
    }
    let mut records = records(&mut client);
    let received = allocations(|| {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state } = server.process_tls_records(&mut records[at..]);
            let idle = match state.expect("good records") {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while traffic.next_record().is_some() {}
                    false
                }
                state => matches!(state, ConnectionState::WriteTraffic(_)),
            };
            at += discard;
            if idle && at == records.len() {
                break;
            }
        }
    });
    let plain = vec![0; TLS_PLAINTEXT_MAX];
    let sent = allocations(|| {
        for _ in 0..RECORDS {
            let UnbufferedStatus { state, .. } = server.process_tls_records(&mut []);
            let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else {
                panic!("the handshake is over");
            };
            traffic.encrypt(&plain, &mut outgoing).expect("room");
        }
    });
    Cost { received, sent, idle: held(server) }
}

/// A byte stream whose input is put in by hand, and whose output is thrown away on demand.
struct Tape {
    io: DuplexStream,
    input: Arc<Mutex<io::Cursor<Vec<u8>>>>,
}

impl AsyncRead for Tape {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut input = self.input.lock().expect("unpoisoned");
        let count = Read::read(&mut *input, into.initialize_unfilled())?;
        drop(input);
        into.advance(count);
        if count == 0 { Pin::new(&mut self.io).poll_read(cx, into) } else { Poll::Ready(Ok(())) }
    }
}

impl Outlet for Tape {}

impl AsyncWrite for Tape {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.input.lock().expect("unpoisoned").get_ref().is_empty() {
            return Pin::new(&mut self.io).poll_write(cx, bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn ours(pki: &pki::Pki) -> Cost {
    let acceptor = Acceptor::new(&pki.identity(&["ping"]));
    let (mut near, io) = tokio::io::duplex(64 * 1024);
    let input = Arc::new(Mutex::new(io::Cursor::new(Vec::new())));
    let accept = acceptor.accept(Tape { io, input: input.clone() });
    let connect = async {
        let mut client = client(pki);
        while client.is_handshaking() || client.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("encoded");
            }
            near.write_all(&bytes).await.expect("written");
            if client.is_handshaking() {
                let mut bytes = vec![0; 20_000];
                let count = near.read(&mut bytes).await.expect("read");
                client.read_tls(&mut &bytes[..count]).expect("read");
                client.process_new_packets().expect("processed");
            }
        }
        client
    };
    let (accepted, mut client) = tokio::join!(accept, connect);
    let mut stream: TlsStream<Tape> = accepted.expect("accepted").stream;
    *input.lock().expect("unpoisoned") = io::Cursor::new(records(&mut client));

    let mut plain = vec![0; TLS_PLAINTEXT_MAX];
    let region = Region::new(ALLOCATOR);
    for _ in 0..RECORDS {
        stream.read_exact(&mut plain).await.expect("read");
    }
    let change = region.change();
    let received = change.allocations + change.reallocations;
    let region = Region::new(ALLOCATOR);
    for _ in 0..RECORDS {
        stream.write_all(&plain).await.expect("written");
        stream.flush().await.expect("flushed");
    }
    let change = region.change();
    let sent = change.allocations + change.reallocations;
    *input.lock().expect("unpoisoned") = io::Cursor::default();
    Cost { received, sent, idle: held(stream) }
}

#[tokio::test]
async fn a_record_costs_no_allocation_and_an_idle_stream_little_memory() {
    let pki = pki::Pki::new();
    let ours = ours(&pki).await;
    println!("                          allocations per MiB     bytes held");
    println!("                          received       sent     when idle");
    for (name, cost) in [("rustls", buffered(&pki)), ("rustls, unbuffered", unbuffered(&pki)), ("this", ours)] {
        let per_mib = |count: usize| count as f64 / MIB;
        let (received, sent) = (per_mib(cost.received), per_mib(cost.sent));
        println!("{name:24} {received:9.1}  {sent:9.1}  {:12}", cost.idle);
        if name == "this" {
            // The buffer itself, once, unless the pool has it.
            assert!(cost.received <= 1 && cost.sent <= 1, "{cost:?}");
            assert!(cost.idle <= 6 * 1024, "{cost:?}");
        }
    }
}
