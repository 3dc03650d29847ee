//! Who may use a tunnel, and how.

use std::io;

use serde_json::json;
use testbed::bed::Bed;
use testbed::certs::{LeafSpec, PkiCredential, PkiFactory, Validity};
use testbed::client::{PlatformClient, TlsClient, alpn};
use testbed::targets;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Gateway, enrolling};

async fn served() -> (Bed, Gateway) {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    (bed, gateway)
}

/// Clients that speak one version of TLS each, of those that the agent speaks.
fn tls_versions(bed: &Bed) -> Vec<TlsClient> {
    let older = cfg!(feature = "tls12").then(|| TlsClient::tls12(bed.pki.clone()));
    older.into_iter().chain([TlsClient::tls13(bed.pki.clone())]).collect()
}

/// What a client gets with this certificate. A refusal may come with the handshake or, in TLS 1.3, after it.
async fn ask(client: &PlatformClient, alpn: &[&str], certificate: Option<&PkiCredential>) -> io::Result<Vec<u8>> {
    let mut stream = client.connect(alpn, certificate).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Both versions refuse this client; the alert and the log say why, and a good client is served as before.
async fn refused(certificate: impl Fn(&Bed) -> Option<LeafSpec>, alert: &str, why: &str) {
    let (bed, gateway) = served().await;
    for tls in tls_versions(&bed) {
        let client = bed.client().with_tls(tls);
        let certificate = certificate(&bed).map(LeafSpec::issue);
        let error = ask(&client, &[alpn::PING], certificate.as_ref()).await.unwrap_err();
        assert!(error.to_string().contains(alert), "{error}");
    }
    let line = gateway.says(why).await;
    assert!(line.starts_with("warning: tunnel "), "{line}");
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    refused(
        |bed| Some(bed.client().certificate_for("localhost", 0).signed_by_client_ca(&PkiFactory::stranger())),
        // It has the name of the right one, so that what does not fit is the signature.
        "DecryptError",
        "not signed by a trusted CA",
    )
    .await;
}

#[tokio::test]
async fn an_expired_certificate() {
    let late = |bed: &Bed| Some(bed.client().certificate_for("localhost", 0).valid(Validity::past()));
    refused(late, "CertificateExpired", "expired").await;
}

#[tokio::test]
async fn no_certificate() {
    refused(|_| None, "CertificateRequired", "no certificate").await;
}

#[tokio::test]
async fn unknown_and_missing_alpn() {
    let (bed, gateway) = served().await;
    let certificate = bed.client().certificate_for("localhost", 0).issue();
    for tls in tls_versions(&bed) {
        let client = bed.client().with_tls(tls);
        let error = ask(&client, &["infisical-winrm"], Some(&certificate)).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        let error = ask(&client, &[], Some(&certificate)).await.unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    gateway.says("a protocol that this gateway does not serve").await;
    gateway.says("names no protocol").await;
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn both_tls_versions() {
    let (bed, gateway) = served().await;
    for tls in tls_versions(&bed) {
        let client = bed.client().with_tls(tls);
        gateway.within(client.ping()).await;
        let health = gateway.within(client.health()).await;
        assert_eq!(health, json!({ "status": "ok", "heartbeatTTL": 180 }));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn no_privileged_access_is_offered() {
    let (bed, gateway) = served().await;
    let certificate = bed.client().certificate_for("localhost", 0).issue();
    let answer = ask(&bed.client(), &[alpn::PAM_CAPABILITIES], Some(&certificate)).await.unwrap();
    let (length, json) = answer.split_at(4);
    assert_eq!(length, (json.len() as u32).to_be_bytes());
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(json, json!({ "gatewayName": "testbed-gateway", "supportedResourceTypes": [] }));
    gateway.stop().await;
}

/// A certificate without a target, or with a bad one: the tunnel ends, cleanly, and the log says what is missing.
#[tokio::test]
async fn a_missing_or_malformed_routing_extension() {
    let (bed, gateway) = served().await;
    let spec = || bed.client().certificate_for("127.0.0.1", 1);
    for (spec, why) in [
        (spec().without_routing(), "no routing extension (1.3.6.1.4.1.12345.100.1)"),
        (spec().routing("5432"), "routing extension (1.3.6.1.4.1.12345.100.1) is malformed"),
        (spec().routing(r#"{"targetHost":"a b","targetPort":1}"#), "not a host name"),
    ] {
        let certificate = spec.issue();
        assert_eq!(ask(&bed.client(), &[alpn::TCP], Some(&certificate)).await.unwrap(), b"");
        gateway.says(why).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_certificate_of_a_privileged_access_session_and_a_port_as_text() {
    let target = targets::echo().await.unwrap();
    let (bed, gateway) = served().await;
    let spec = bed.client().certificate_for("127.0.0.1", 1);
    let spec =
        spec.routing(json!({ "targetHost": "127.0.0.1", "targetPort": target.addr().port().to_string() }).to_string());
    let spec =
        spec.pam(r#"{"sessionId":"s","resourceType":"postgres"}"#).actor(r#"{"type":"user","id":"u","name":"Zoë"}"#);
    let certificate = spec.issue();
    let mut stream = bed.client().connect(&[alpn::TCP], Some(&certificate)).await.unwrap();
    stream.write_all(b"through").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    gateway.within(stream.read_to_end(&mut back)).await;
    assert_eq!(back, b"through");
    drop(stream);
    gateway.stop().await;
}

/// Channels on which nobody says anything take no tunnel away from those who do.
#[tokio::test]
async fn clients_that_say_nothing() {
    let (bed, gateway) = served().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(bed.relay.open_channel(&bed.gateway_id).await.unwrap());
    }
    gateway.within(bed.client().ping()).await;
    assert_eq!(bed.relay.counters().channels, 50);
    // One more than there may be is refused, and none of the others suffers.
    for _ in 50..64 {
        silent.push(bed.relay.open_channel(&bed.gateway_id).await.unwrap());
    }
    assert!(bed.relay.open_channel(&bed.gateway_id).await.is_err());
    drop(silent);
    // The relay has closed them all; the agent has yet to notice.
    let free = async {
        while bed.client().ping().await.is_err() {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    gateway.within(free).await;
    gateway.stop().await;
}

/// Channel types that the platform's relay never opens.
#[tokio::test]
async fn other_channels_are_refused() {
    use testbed::relay::OtherChannel;

    let (bed, gateway) = served().await;
    for kind in [OtherChannel::Session, OtherChannel::X11, OtherChannel::Agent, OtherChannel::ForwardedTcpip] {
        assert!(bed.relay.open_other(&bed.gateway_id, kind).await.is_err(), "{kind:?}");
    }
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}
