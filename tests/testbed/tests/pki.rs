//! The X.509 certificates as OpenSSL reads them, and as a rustls server in the agent's place judges them.

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::{agent_like, tool};
use rustls::ProtocolVersion;
use testbed::certs::{KeyKind, LeafSpec, PkiFactory, Validity};
use testbed::client::TlsClient;
use testbed::dir::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// `openssl x509 -text` of the first certificate in PEM text, in one line without the spaces that differ
/// between versions of OpenSSL.
fn describe(pem: &str) -> Option<String> {
    let dir = TempDir::new().unwrap();
    let file = dir.write("cert.pem", pem).unwrap();
    let output = tool("openssl", &["x509", "-noout", "-text", "-in"], &[&file])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" = ", "="))
}

#[track_caller]
fn assert_says(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// The second certificate of two.
fn second(chain: &str) -> &str {
    let end = "-----END CERTIFICATE-----\n";
    &chain[chain.find(end).unwrap() + end.len()..]
}

#[test]
fn authorities_have_the_platforms_shape() {
    let pki = PkiFactory::new();
    let chain = pki.client_chain_pem();
    let Some(root) = describe(second(&chain)) else {
        return;
    };
    assert_says(
        &root,
        &[
            "Signature Algorithm: sha256WithRSAEncryption",
            "Public-Key: (2048 bit)",
            "CN=Infisical Gateway Root CA",
            "X509v3 Key Usage: critical Certificate Sign, CRL Sign",
            "X509v3 Subject Key Identifier",
        ],
    );
    assert!(!root.contains("Basic Constraints"), "{root}");
    for (chain, common_name) in [(chain, "Client CA"), (pki.server_chain_pem(), "Server CA")] {
        let Some(authority) = describe(&chain) else {
            return;
        };
        assert_says(
            &authority,
            &[
                "Issuer: O=4c1b1d9e-2f1c-4e0a-9a1e-6a1f0f3a7c55, CN=Infisical Gateway Root CA",
                common_name,
                "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
            ],
        );
    }
}

#[test]
fn gateway_leaf_has_the_platforms_shape() {
    let leaf = PkiFactory::new().gateway().issue();
    let Some(text) = describe(leaf.certificate_pem()) else {
        return;
    };
    assert_says(
        &text,
        &[
            "Signature Algorithm: sha256WithRSAEncryption",
            "CN=Gateway",
            "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
            "Public-Key: (2048 bit)",
        ],
    );
    assert!(leaf.private_key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn client_leaf_has_the_platforms_shape() {
    let leaf = PkiFactory::new().client("the-gateway", "db.internal", 5432).pam("{}").issue();
    let Some(text) = describe(leaf.certificate_pem()) else {
        return;
    };
    assert_says(
        &text,
        &[
            "CN=platform:the-gateway, OU=gateway-client",
            "X509v3 Extended Key Usage: critical TLS Web Client Authentication",
            "Policy: X509v3 Any Policy",
            r#"1.3.6.1.4.1.12345.100.1: {"targetHost":"db.internal","targetPort":5432}"#,
            r#"1.3.6.1.4.1.12345.100.2: {"type":"platform"}"#,
            "1.3.6.1.4.1.12345.100.3: {}",
        ],
    );
}

/// One connection in memory: what the client read, and the version it spoke.
async fn talk(pki: &Arc<PkiFactory>, client: &TlsClient, leaf: LeafSpec) -> io::Result<(Vec<u8>, ProtocolVersion)> {
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(16 * 1024);
    let acceptor = agent_like(pki, &["infisical-ping"]);
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        assert_eq!(stream.get_ref().1.server_name(), None);
        stream.write_all(b"PONG\n").await?;
        stream.shutdown().await
    });
    let mut stream = client.handshake(near, &["infisical-ping"], Some(&leaf.issue())).await?;
    let version = stream.get_ref().1.protocol_version().unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    server.await.unwrap()?;
    Ok((answer, version))
}

#[tokio::test]
async fn both_ends_verify_each_other_in_both_versions_and_every_kind() {
    for kind in [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let pki = Arc::new(PkiFactory::with_kind(kind));
        for (client, version) in [
            (TlsClient::tls12(pki.clone()), ProtocolVersion::TLSv1_2),
            (TlsClient::tls13(pki.clone()), ProtocolVersion::TLSv1_3),
        ] {
            let answer = talk(&pki, &client, pki.client("g", "localhost", 1)).await.unwrap();
            assert_eq!(answer, (b"PONG\n".to_vec(), version), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn wrong_client_certificates_are_refused() {
    let pki = Arc::new(PkiFactory::new());
    let right = || pki.client("g", "localhost", 1);
    let wrong = [
        ("other authority", right().signed_by_client_ca(&PkiFactory::stranger())),
        ("server authority", right().signed_by_server_ca(&PkiFactory::stranger())),
        ("expired", right().valid(Validity::past())),
        ("not yet valid", right().valid(Validity::future())),
        ("server usage", right().other_usage()),
    ];
    for (name, leaf) in wrong {
        let client = TlsClient::new(pki.clone());
        assert!(talk(&pki, &client, leaf).await.is_err(), "{name} was accepted");
    }
}

#[tokio::test]
async fn extensions_of_any_content_and_size_are_carried() {
    let pki = Arc::new(PkiFactory::new());
    let client = TlsClient::new(pki.clone());
    let right = || pki.client("g", "localhost", 1);
    for leaf in [
        right().without_routing().without_actor(),
        right().routing("{\"targetHost\":"),
        right().routing([0xff, 0xfe]),
        right().actor(vec![b' '; 12 * 1024]),
    ] {
        let answer = tokio::time::timeout(Duration::from_secs(10), talk(&pki, &client, leaf)).await.unwrap();
        assert_eq!(answer.unwrap().0, b"PONG\n");
    }
}

#[tokio::test]
async fn the_client_refuses_another_gateway() {
    let (ours, theirs) = (Arc::new(PkiFactory::new()), Arc::new(PkiFactory::stranger()));
    let leaf = theirs.client("g", "localhost", 1);
    assert!(talk(&theirs, &TlsClient::new(ours), leaf).await.is_err());
}
