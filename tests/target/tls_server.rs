//! The agent as a TLS server, against rustls's own client.

use std::io;
use std::time::Duration;

use edge_gateway::limits::{TLS_HANDSHAKE_TIME, TLS_HANDSHAKES};
use edge_gateway::tls::{Acceptor, Bundle, Clock, HandshakeError, ServerIdentity, TlsStream};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use crate::pki::{Algorithm, Client, Pki, client_builder, system_clock};
use crate::wire::{self, Mangle, Trickle, WINDOW, connect};

const PROTOCOLS: &[&str] = &["health", "ping"];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Peer = tokio_rustls::client::TlsStream<DuplexStream>;

fn acceptor(pki: &Pki) -> Acceptor {
    Acceptor::new(&pki.identity(PROTOCOLS))
}

async fn joined(version: &'static SupportedProtocolVersion) -> (Peer, TlsStream<DuplexStream>) {
    let pki = Pki::new();
    let config = pki.client("db.lan", 5432).config(version, &["ping"]);
    let (client, server) = connect(&acceptor(&pki), config).await;
    (client.expect("client"), server.expect("server").stream)
}

/// Sends `bytes` each way at once, then closes both.
async fn exchange<A, B>(mut a: A, mut b: B, bytes: &[u8]) -> (Vec<u8>, Vec<u8>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    async fn one<S: AsyncRead + AsyncWrite>(stream: S, bytes: &[u8]) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                writer.write_all(bytes).await?;
                writer.shutdown().await
            },
            reader.read_to_end(&mut received)
        );
        sent.expect("sent");
        read.expect("a clean end");
        received
    }
    tokio::join!(one(&mut a, bytes), one(&mut b, bytes))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[tokio::test]
async fn every_key_type_and_version_carries_bytes_both_ways() {
    let bytes = pattern(300_000);
    for algorithm in [Algorithm::Rsa, Algorithm::P256, Algorithm::P384, Algorithm::Ed25519] {
        let pki = Pki::with(algorithm);
        for version in VERSIONS {
            let config = pki.client("db.lan", 5432).config(version, &["ping"]);
            let (client, server) = connect(&acceptor(&pki), config).await;
            let server = server.unwrap_or_else(|error| panic!("{algorithm:?} {version:?}: {error}"));
            assert_eq!(server.protocol, b"ping");
            assert_eq!(server.facts.target().expect("routing").to_string(), "db.lan:5432");
            assert!(server.facts.is_platform());
            let (received, sent) = exchange(client.expect("client"), server.stream, &bytes).await;
            assert!(received == bytes && sent == bytes, "{algorithm:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn every_cipher_suite_carries_bytes() {
    let bytes = pattern(50_000);
    for algorithm in [Algorithm::Rsa, Algorithm::P256] {
        let pki = Pki::with(algorithm);
        for suite in rustls::crypto::ring::ALL_CIPHER_SUITES {
            let name = format!("{:?}", suite.suite());
            if name.contains("_RSA_") && algorithm != Algorithm::Rsa
                || name.contains("_ECDSA_") && algorithm == Algorithm::Rsa
            {
                continue;
            }
            let version = VERSIONS[usize::from(suite.tls13().is_some())];
            let client = pki.client("db.lan", 1);
            let mut config = client.config(version, &["ping"]);
            let mut provider = rustls::crypto::ring::default_provider();
            provider.cipher_suites = vec![*suite];
            let mut only = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_webpki_verifier(
                    rustls::client::WebPkiServerVerifier::builder_with_provider(
                        std::sync::Arc::new(roots(&client)),
                        rustls::crypto::ring::default_provider().into(),
                    )
                    .build()
                    .expect("a verifier"),
                )
                .with_client_cert_resolver(config.client_auth_cert_resolver.clone());
            std::mem::swap(&mut only.alpn_protocols, &mut config.alpn_protocols);
            let (peer, server) = connect(&acceptor(&pki), only).await;
            let server = server.unwrap_or_else(|error| panic!("{name}: {error}"));
            let (received, sent) = exchange(peer.expect("client"), server.stream, &bytes).await;
            assert!(received == bytes && sent == bytes, "{name}");
        }
    }
}

fn roots(client: &Client) -> rustls::RootCertStore {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut store = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(client.roots.as_bytes()) {
        store.add(root.expect("a certificate")).expect("an anchor");
    }
    store
}

#[tokio::test]
async fn one_byte_at_a_time_is_as_good() {
    let pki = Pki::new();
    for version in VERSIONS {
        let (near, far) = duplex(WINDOW);
        let acceptor = acceptor(&pki);
        let config = pki.client("a", 1).config(version, &["ping"]);
        let (client, server) =
            tokio::join!(wire::handshake(Trickle::new(near), config), acceptor.accept(Trickle::new(far)));
        let bytes = pattern(40_000);
        let (received, sent) = exchange(client.expect("client"), server.expect("server").stream, &bytes).await;
        assert!(received == bytes && sent == bytes);
    }
}

#[tokio::test]
async fn the_first_protocol_that_both_know_is_taken() {
    let pki = Pki::new();
    let config = pki.client("a", 1).config(&TLS13, &["ping", "health"]);
    let (_client, server) = connect(&acceptor(&pki), config).await;
    assert_eq!(server.expect("server").protocol, b"health");
}

/// Alerts are sent by asking rustls again after an error, and rustls has assertions about that.
#[tokio::test(start_paused = true)]
async fn no_damage_to_a_handshake_is_more_than_a_refusal() {
    let pki = Pki::new();
    let acceptor = acceptor(&pki);
    let mut refused = 0;
    for version in VERSIONS {
        let config = pki.client("a", 1).config(version, &["ping"]);
        for at in (0..1_000).step_by(3) {
            let (near, far) = duplex(64 * 1024);
            let near = Mangle::new(near, at, 1 << (at % 8));
            let (client, server) = tokio::join!(wire::handshake(near, config.clone()), acceptor.accept(far));
            refused += usize::from(server.is_err());
            drop((client, server));
        }
    }
    // Some bytes are padding, or come after the handshake; none is a reason to panic.
    assert!(refused > 500, "{refused}");
}

/// The agent's error, and the client's: for TLS 1.3 it may come with the first read.
async fn refused(pki: &Pki, config: rustls::ClientConfig) -> (String, String) {
    let (client, server) = connect(&acceptor(pki), config).await;
    let ours = server.expect_err("refused").to_string();
    let theirs = match client {
        Err(error) => error.to_string(),
        Ok(mut client) => client.read_u8().await.expect_err("refused").to_string(),
    };
    (ours, theirs)
}

#[tokio::test]
async fn clients_that_are_not_the_platforms_are_refused_by_name() {
    let pki = Pki::new();
    for version in VERSIONS {
        let stranger = Client { roots: pki.server_chain.clone(), ..Pki::new().client("a", 1) };
        let (ours, theirs) = refused(&pki, stranger.config(version, &["ping"])).await;
        assert_eq!(ours, "the peer's certificate is not signed by a trusted CA");
        assert!(theirs.contains("UnknownCA"), "{theirs}");

        let late = pki.client_with(&[], -1);
        let (ours, theirs) = refused(&pki, late.config(version, &["ping"])).await;
        assert!(ours.contains("expired"), "{ours}");
        assert!(theirs.contains("CertificateExpired"), "{theirs}");

        let mut nobody = client_builder(&pki.server_chain, version).with_no_client_auth();
        nobody.alpn_protocols = vec![b"ping".to_vec()];
        let (ours, theirs) = refused(&pki, nobody).await;
        assert_eq!(ours, "the client sent no certificate");
        assert!(theirs.contains("CertificateRequired"), "{theirs}");
    }
}

#[tokio::test]
async fn a_server_certificate_is_no_client_certificate() {
    let pki = Pki::new();
    // Signed by the same root, but by its Server CA and without clientAuth.
    let server = Client { certificate: pki.leaf.clone(), key: pki.leaf_key.clone(), roots: pki.server_chain.clone() };
    let (ours, _) = refused(&pki, server.config(&TLS13, &["ping"])).await;
    assert_eq!(ours, "the peer's certificate is not signed by a trusted CA");
}

#[tokio::test]
async fn unknown_and_missing_protocols_are_refused() {
    let pki = Pki::new();
    for version in VERSIONS {
        let client = pki.client("a", 1);
        let (ours, theirs) = refused(&pki, client.config(version, &["infisical-pam-proxy"])).await;
        assert_eq!(ours, "the client asks for a protocol that this gateway does not serve (ALPN)");
        assert!(theirs.contains("NoApplicationProtocol"), "{theirs}");

        let (ours, theirs) = refused(&pki, client.config(version, &[])).await;
        assert_eq!(ours, "the client names no protocol (ALPN)");
        assert!(theirs.contains("AccessDenied"), "{theirs}");
    }
}

#[tokio::test]
async fn something_else_than_tls_is_refused() {
    let pki = Pki::new();
    let (mut near, far) = duplex(WINDOW);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let error = acceptor(&pki).accept(far).await.expect_err("not TLS");
    assert_eq!(error.to_string(), "the peer does not speak TLS");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_dropped_after_the_deadline() {
    let pki = Pki::new();
    let (_near, far) = duplex(WINDOW);
    let start = tokio::time::Instant::now();
    let error = acceptor(&pki).accept(far).await.expect_err("nothing said");
    assert!(matches!(error, HandshakeError::Timeout), "{error}");
    assert_eq!(start.elapsed(), TLS_HANDSHAKE_TIME);
}

#[tokio::test]
async fn handshakes_wait_for_a_turn_and_silent_clients_take_none() {
    let pki = Pki::new();
    let acceptor = acceptor(&pki);
    let client = pki.client("a", 1);
    let stalled = |start: &'static [u8]| {
        let (mut near, far) = duplex(WINDOW);
        let accept = Box::pin(acceptor.accept(far));
        async move {
            near.write_all(start).await.expect("written");
            (near, accept)
        }
    };

    let mut silent = Vec::new();
    for _ in 0..TLS_HANDSHAKES * 2 {
        let (near, mut accept) = stalled(b"").await;
        assert!(futures_pending(&mut accept).await);
        silent.push((near, accept));
    }
    assert!(connect(&acceptor, client.config(&TLS13, &["ping"])).await.1.is_ok());

    let mut busy = Vec::new();
    for _ in 0..TLS_HANDSHAKES {
        let (near, mut accept) = stalled(&[22, 3, 1, 1, 0]).await;
        assert!(futures_pending(&mut accept).await);
        busy.push((near, accept));
    }
    let mut waiting = Box::pin(connect(&acceptor, client.config(&TLS13, &["ping"])));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "there was a turn left");
    busy.pop();
    assert!(waiting.await.1.is_ok());
}

async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
}

#[tokio::test]
async fn the_end_of_the_bytes_without_close_notify_is_an_error_after_the_data() {
    for version in VERSIONS {
        let (mut client, mut server) = joined(version).await;
        client.write_all(b"half a message").await.expect("written");
        client.flush().await.expect("flushed");
        drop(client);
        let mut received = Vec::new();
        let error = server.read_to_end(&mut received).await.expect_err("cut short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(received, b"half a message");
        let again = server.read_u8().await.expect_err("still cut short");
        assert_eq!(again.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn each_direction_closes_on_its_own() {
    for version in VERSIONS {
        let (mut client, mut server) = joined(version).await;
        client.write_all(b"question").await.expect("written");
        client.shutdown().await.expect("closed");
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.expect("a clean end");
        server.write_all(b"answer").await.expect("still open");
        server.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("a clean end");
        assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));
        let error = server.write_all(b"more").await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn a_damaged_record_ends_the_stream_with_an_alert() {
    for version in VERSIONS {
        let pki = Pki::new();
        let acceptor = acceptor(&pki);
        let (near, far) = duplex(WINDOW);
        let config = pki.client("a", 1).config(version, &["ping"]);
        let (client, server) = tokio::join!(wire::handshake(near, config), acceptor.accept(far));
        let (mut io, mut session) = client.expect("client").into_inner();
        let mut server = server.expect("server").stream;
        io.write_all(&[23, 3, 3, 0, 40]).await.expect("written");
        io.write_all(&[1; 40]).await.expect("written");
        let error = server.read_u8().await.expect_err("damaged");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(server);

        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await.expect("an alert");
        session.read_tls(&mut bytes.as_slice()).expect("read");
        let error = session.process_new_packets().expect_err("an alert");
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
}

#[tokio::test]
async fn an_alert_from_the_client_is_reported() {
    let (client, mut server) = joined(&TLS13).await;
    let (mut io, mut session) = client.into_inner();
    let damaged = [&[23, 3, 3, 0, 40][..], &[1; 40]].concat();
    session.read_tls(&mut damaged.as_slice()).expect("read");
    session.process_new_packets().expect_err("damaged");
    let mut alert = Vec::new();
    session.write_tls(&mut alert).expect("encoded");
    io.write_all(&alert).await.expect("written");
    let error = server.read_u8().await.expect_err("an alert");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "the peer ended TLS: BadRecordMac");
}

#[tokio::test]
async fn the_clients_key_updates_are_followed() {
    let (mut client, mut server) = joined(&TLS13).await;
    for round in 0..5u8 {
        client.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        client.write_all(&[round; 100]).await.expect("written");
        client.flush().await.expect("flushed");
        let mut received = [0; 100];
        server.read_exact(&mut received).await.expect("read");
        assert_eq!(received, [round; 100]);
    }
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    let pki = Pki::new();
    let acceptor = acceptor(&pki);
    for version in VERSIONS {
        let config = pki.client("a", 1).config(version, &["ping"]);
        for _ in 0..2 {
            let (client, server) = connect(&acceptor, config.clone()).await;
            let mut server = server.expect("server").stream;
            let mut client = client.expect("client");
            server.write_all(b"x").await.expect("written");
            server.flush().await.expect("flushed");
            client.read_u8().await.expect("read");
            assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn a_new_identity_serves_new_channels_and_old_ones_go_on() {
    let (old, new) = (Pki::new(), Pki::new());
    let acceptor = acceptor(&old);
    let (client, server) = connect(&acceptor, old.client("a", 1).config(&TLS13, &["ping"])).await;
    acceptor.replace(&new.identity(PROTOCOLS));
    let (fresh, accepted) = connect(&acceptor, new.client("a", 1).config(&TLS13, &["ping"])).await;
    assert!(fresh.is_ok() && accepted.is_ok());
    let (stale, _) = connect(&acceptor, old.client("a", 1).config(&TLS13, &["ping"])).await;
    assert!(stale.is_err());
    let (received, sent) = exchange(client.expect("client"), server.expect("server").stream, b"still here").await;
    assert!(received == b"still here" && sent == b"still here");
}

#[tokio::test]
async fn an_idle_stream_holds_no_buffer() {
    for version in VERSIONS {
        let (mut client, mut server) = joined(version).await;
        assert_eq!(server.buffers_held(), 0);
        for _ in 0..3 {
            client.write_all(&[1; 5000]).await.expect("written");
            client.flush().await.expect("flushed");
            let mut received = [0; 5000];
            server.read_exact(&mut received).await.expect("read");
            server.write_all(&received).await.expect("written");
            assert_eq!(server.buffers_held(), 1, "gathered bytes wait for the flush");
            server.flush().await.expect("flushed");
            client.read_exact(&mut received).await.expect("read");
            assert_eq!(server.buffers_held(), 0);
        }
        let mut byte = [0];
        assert!(futures_pending(&mut Box::pin(server.read(&mut byte))).await);
        assert_eq!(server.buffers_held(), 0);
    }
}

#[test]
fn a_bad_bundle_is_refused_by_the_field_and_the_fault() {
    let (pki, other) = (Pki::new(), Pki::new());
    let refusal =
        |bundle: Bundle<'_>, clock: &Clock| ServerIdentity::new(&bundle, ["ping"], clock).expect_err("refused");
    let good = pki.bundle();
    let clock = system_clock();
    for (bundle, why) in [
        (Bundle { certificate: "", ..good }, "serverCertificate: no PEM certificate"),
        (
            Bundle { certificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ..good },
            "serverCertificate: not an X.509 certificate",
        ),
        (Bundle { private_key: &pki.leaf, ..good }, "serverPrivateKey: no PEM private key"),
        (Bundle { private_key: &other.leaf_key, ..good }, "serverPrivateKey: does not belong to serverCertificate"),
        (Bundle { client_chain: "nothing", ..good }, "clientCertificateChain: no PEM certificate"),
        (
            Bundle { client_chain: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ..good },
            "clientCertificateChain: certificate 1 can't be a trust anchor",
        ),
    ] {
        let error = refusal(bundle, &clock);
        assert!(error.starts_with(why), "{error}");
    }
    let tomorrow = Clock::new(|| crate::pki::now().as_secs() + 100_000);
    let error = refusal(good, &tomorrow);
    assert!(error.starts_with("serverCertificate: expired"), "{error}");
}

#[tokio::test]
async fn certificates_are_checked_against_the_given_clock() {
    let pki = Pki::new();
    let late = Clock::new(|| crate::pki::now().as_secs() + 1_000);
    let identity = ServerIdentity::new(&pki.bundle(), ["ping"], &late).expect("still valid");
    assert!(identity.not_before() < identity.not_after());
    let config = pki.client("a", 1).config(&TLS13, &["ping"]);
    let (_, server) = connect(&Acceptor::new(&identity), config).await;
    assert!(server.expect_err("its 300 s are over").to_string().contains("expired"));
}
