//! The agent as a TLS client, against rustls's own server.

use std::sync::Arc;

use edge_gateway::tls::{Connector, Host, TlsStream, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use crate::pki::{named, system_clock, valid};
use crate::wire::WINDOW;

/// A server certificate, and the PEM to trust it with.
pub(crate) struct Server {
    certificate: rcgen::Certificate,
    key: KeyPair,
    pub(crate) trust: String,
}

impl Server {
    fn issued(seconds: i64) -> Self {
        Self::issued_with(names(), seconds)
    }

    pub(crate) fn issued_for(name: &str) -> Self {
        Self::issued_with(vec![name.into()], 100)
    }

    fn issued_with(names: Vec<String>, seconds: i64) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = named("target", "CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let trust = ca.self_signed(&ca_key).expect("a CA").pem();
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(names).expect("names");
        valid(&mut leaf, -100, seconds);
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a leaf");
        Self { certificate, key, trust }
    }

    /// As `openssl req -x509` makes them: its own CA.
    fn self_signed(seconds: i64) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(names()).expect("names");
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        valid(&mut leaf, -100, seconds);
        let certificate = leaf.self_signed(&key).expect("a certificate");
        let trust = certificate.pem();
        Self { certificate, key, trust }
    }

    pub(crate) fn acceptor(&self, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key)
            .expect("a server");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn names() -> Vec<String> {
    vec!["k8s.local".into(), "10.0.0.1".into()]
}

type Joined = (Result<TlsStream<DuplexStream>, String>, Option<tokio_rustls::server::TlsStream<DuplexStream>>);

async fn connect(server: &Server, version: &'static SupportedProtocolVersion, trust: Trust<'_>, host: &str) -> Joined {
    let connector = Connector::new(trust, &system_clock()).expect("good trust");
    let host = Host::parse(host).expect("a host");
    let (near, far) = duplex(WINDOW);
    let acceptor = server.acceptor(version);
    let (client, server) = tokio::join!(connector.connect(near, &host), acceptor.accept(far));
    (client.map_err(|error| error.to_string()), server.ok())
}

#[tokio::test]
async fn a_target_with_the_given_ca_is_spoken_to_tickets_and_all() {
    let server = Server::issued(100);
    for version in [&TLS12, &TLS13] {
        for host in ["k8s.local", "K8S.local.", "10.0.0.1"] {
            let trust = Trust::Given(server.trust.as_bytes());
            let (client, peer) = connect(&server, version, trust, host).await;
            let (mut client, mut peer) = (client.expect("client"), peer.expect("server"));
            // rustls sends its session tickets in front of this.
            peer.write_all(b"hello").await.expect("written");
            peer.shutdown().await.expect("closed");
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.expect("a clean end");
            assert_eq!(received, b"hello");
            client.write_all(b"bye").await.expect("written");
            client.shutdown().await.expect("closed");
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.expect("a clean end");
            assert_eq!(received, b"bye");
        }
    }
}

#[tokio::test]
async fn the_servers_key_updates_are_followed() {
    let server = Server::issued(100);
    let trust = Trust::Given(server.trust.as_bytes());
    let (client, peer) = connect(&server, &TLS13, trust, "k8s.local").await;
    let (mut client, mut peer) = (client.expect("client"), peer.expect("server"));
    for round in 0..3u8 {
        peer.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        peer.write_all(&[round]).await.expect("written");
        peer.flush().await.expect("flushed");
        assert_eq!(client.read_u8().await.expect("read"), round);
    }
}

#[tokio::test]
async fn trust_decides() {
    let (issued, own) = (Server::issued(100), Server::self_signed(100));
    let (late, late_own) = (Server::issued(-1), Server::self_signed(-1));
    let given = |server: &Server| server.trust.clone();
    let refused = "the peer's certificate is not signed by a trusted CA";
    for (server, pem, host, expected) in [
        (&issued, given(&issued), "k8s.local", Ok(())),
        (&own, given(&own), "k8s.local", Ok(())),
        (&issued, given(&own), "k8s.local", Err(refused)),
        (&own, given(&issued), "k8s.local", Err("CaUsedAsEndEntity")),
        (&issued, given(&issued), "other.local", Err("not valid for name")),
        (&own, given(&own), "other.local", Err("not valid for name")),
        (&own, given(&own), "10.0.0.2", Err("not valid for name")),
        (&late, given(&late), "k8s.local", Err("expired")),
        (&late_own, given(&late_own), "k8s.local", Err("xpired")),
    ] {
        let (client, _) = connect(server, &TLS13, Trust::Given(pem.as_bytes()), host).await;
        match (client, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(why)) => assert!(error.contains(why), "{error} is not {why}"),
            (got, expected) => panic!("{host}: {:?} is not {expected:?}", got.map(drop)),
        }
    }
    for server in [&issued, &own, &late] {
        let (client, _) = connect(server, &TLS12, Trust::Anyone, "other.local").await;
        client.expect("anyone is trusted");
        let (client, _) = connect(server, &TLS12, Trust::Public, "k8s.local").await;
        client.expect_err("not a public CA");
    }
}

#[test]
fn trust_that_is_no_certificate_is_refused() {
    let error = Connector::new(Trust::Given(b"nonsense"), &system_clock()).expect_err("refused");
    assert_eq!(error, "no PEM certificate in it");
}
