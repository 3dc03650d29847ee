//! The whole bed, with a gateway on russh and rustls in the agent's place.

mod common;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{Connection, agent_like};
use serde_json::json;
use testbed::api::Endpoint;
use testbed::bed::{Bed, GATEWAY_NAME, RELAY_NAME};
use testbed::client::TlsClient;
use testbed::echo_gateway::{EchoGateway, Incoming};
use testbed::targets::{self, HttpTarget, pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

const LIMIT: Duration = Duration::from_secs(10);
const NAMES: [&str; 4] = ["infisical-ping", "infisical-health", "infisical-tcp-proxy", "infisical-http-proxy"];

/// Serves one channel as an agent would, except that every target is `target`.
async fn serve(channel: Incoming, tls: TlsAcceptor, target: SocketAddr) -> io::Result<()> {
    let mut stream = tls.accept(channel).await?;
    let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
    match alpn.as_slice() {
        b"infisical-ping" => stream.write_all(b"PONG\n").await?,
        b"infisical-health" => {
            stream.write_all(b"{\"status\":\"ok\",\"heartbeatTTL\":180}\n").await?;
        }
        b"infisical-http-proxy" => {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.push(stream.read_u8().await?);
            }
            assert_eq!(line, b"CONFIG\n");
            let mut target = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut target).await?;
        }
        _ => {
            let mut target = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut target).await?;
        }
    }
    stream.shutdown().await
}

/// A bed with such a gateway at its relay.
async fn start(target: SocketAddr) -> (Bed, EchoGateway) {
    let bed = Bed::start().await.unwrap();
    let tls = agent_like(&bed.pki, &NAMES);
    let user = bed.ssh.user(RELAY_NAME, &bed.gateway_id, GATEWAY_NAME).issue();
    let gateway = EchoGateway::login_serving(
        bed.relay.ssh_addr(),
        &bed.gateway_id,
        &user,
        &bed.ssh.host_ca_line(),
        move |channel| drop(tokio::spawn(serve(channel, tls.clone(), target))),
    )
    .await
    .unwrap();
    bed.wait_for_gateway(LIMIT).await.unwrap();
    (bed, gateway)
}

#[tokio::test]
async fn the_client_asks_in_both_tls_versions() {
    let (bed, _gateway) = start(targets::refusing().await.unwrap()).await;
    for tls in [TlsClient::tls12(bed.pki.clone()), TlsClient::tls13(bed.pki.clone())] {
        let client = bed.client().with_tls(tls);
        client.ping().await.unwrap();
        assert_eq!(client.health().await.unwrap(), json!({ "status": "ok", "heartbeatTTL": 180 }));
    }
    let certificate = bed.client().certificate_for("localhost", 0).issue();
    assert!(bed.client().connect(&["infisical-unknown"], Some(&certificate)).await.is_err());
}

#[tokio::test]
async fn the_client_carries_bytes_to_a_target() {
    let target = targets::echo().await.unwrap();
    let (bed, _gateway) = start(target.addr()).await;
    let stream = bed.client().tcp(target.addr()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent = pattern(0, 300_000);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} bytes came back, or other ones", received.len());
}

#[tokio::test]
async fn the_client_sends_requests_to_a_target() {
    let target = HttpTarget::start().await.unwrap();
    let (bed, _gateway) = start(target.addr()).await;
    let mut http = bed.client().http(target.addr()).await.unwrap();
    let response = http.request("POST", "/echo", &[("X-Test", "yes")], b"body").await.unwrap();
    assert_eq!((response.status(), response.body.as_slice()), (200, &b"body"[..]));
    let response = http.raw(b"GET /chunked/5000 HTTP/1.1\r\nHost: x\r\n\r\n", "GET").await.unwrap();
    assert_eq!(response.body, pattern(0, 5000));
    assert_eq!(target.requests()[0].header("x-test"), Some("yes"));
    assert_eq!(target.accepted(), 1);
}

#[tokio::test]
async fn a_heartbeat_succeeds_while_the_gateway_answers() {
    let (bed, gateway) = start(targets::refusing().await.unwrap()).await;
    let mut connection = Connection::tls(bed.api.addr(), &bed.web.pem()).await.unwrap();
    let token = json!({ "token": bed.api.enrollment_token(GATEWAY_NAME) }).to_string();
    let enrolled = connection.request("POST", Endpoint::Enroll.path(), &[], &token).await.unwrap();
    let enrolled: serde_json::Value = serde_json::from_slice(&enrolled.body).unwrap();
    let bearer = format!("Bearer {}", enrolled["accessToken"].as_str().unwrap());
    let headers = [("Authorization", bearer.as_str())];
    for (endpoint, status) in [(Endpoint::Connect, 200), (Endpoint::Heartbeat, 200)] {
        let response = connection.request("POST", endpoint.path(), &headers, "{}").await.unwrap();
        assert_eq!(response.status(), status, "{endpoint:?}");
    }
    gateway.logout().await.unwrap();
    bed.relay.wait(LIMIT, |c| c.gateways == 0).await.unwrap();
    let response = connection.request("POST", Endpoint::Heartbeat.path(), &headers, "{}").await.unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn another_relay_has_the_same_port_elsewhere() {
    let bed = Bed::start().await.unwrap();
    let relay = bed.add_relay("second", Ipv4Addr::new(127, 0, 0, 2)).await.unwrap();
    assert_eq!(relay.ssh_addr().port(), bed.relay.ssh_addr().port());
    assert_ne!(relay.ssh_addr(), bed.relay.ssh_addr());
    let user = bed.ssh.user("second", &bed.gateway_id, GATEWAY_NAME).issue();
    let host_ca = bed.ssh.host_ca_line();
    let _gateway = EchoGateway::login(relay.ssh_addr(), &bed.gateway_id, &user, &host_ca).await.unwrap();
    relay.wait_for_gateway(&bed.gateway_id, LIMIT).await.unwrap();
    assert!(!bed.relay.is_connected(&bed.gateway_id));
}

#[tokio::test]
async fn a_guest_reaches_the_bed_at_the_address_of_its_host() {
    let host = "10.0.2.2";
    let bed = Bed::builder().host(host.parse().unwrap()).start().await.unwrap();
    let agent = bed.agent("/nowhere").unwrap();
    assert_eq!(agent.env["INFISICAL_DOMAIN"], format!("https://{host}:{}", bed.api.addr().port()));
    // Dialled on loopback, as the guest's network does, and the certificate is checked for what the guest dialled.
    let mut connection = Connection::tls_as(host.parse().unwrap(), bed.api.addr(), &bed.web.pem()).await.unwrap();
    let bearer = format!("Bearer {}", bed.api.gateway_token(GATEWAY_NAME));
    let headers = [("Authorization", bearer.as_str())];
    let bundle = connection.request("POST", Endpoint::Connect.path(), &headers, "{}").await.unwrap();
    let bundle: serde_json::Value = serde_json::from_slice(&bundle.body).unwrap();
    assert_eq!(bundle["relayHost"], host);
    // The relay's certificate names the same address and the port that was dialled.
    let dialled = format!("{host}:{}", bed.relay.ssh_addr().port());
    let user = bed.ssh.user(RELAY_NAME, &bed.gateway_id, GATEWAY_NAME).issue();
    let ca = bed.ssh.host_ca_line();
    EchoGateway::login_as(&dialled, bed.relay.ssh_addr(), &bed.gateway_id, &user, &ca).await.unwrap();
    assert!(EchoGateway::login(bed.relay.ssh_addr(), &bed.gateway_id, &user, &ca).await.is_err());
}

#[tokio::test]
async fn an_agent_gets_its_settings_and_a_folder_that_goes_away() {
    let bed = Bed::start().await.unwrap();
    let agent = bed.new_agent("/nowhere").unwrap();
    for name in ["INFISICAL_DOMAIN", "INFISICAL_TOKEN", "EDGE_GATEWAY_STATE_DIR", "EDGE_GATEWAY_CA_FILE"] {
        assert!(agent.env.contains_key(name), "{name}");
    }
    assert!(!bed.agent("/nowhere").unwrap().env.contains_key("INFISICAL_TOKEN"));
    let state = bed.state_dir().unwrap();
    assert!(state.is_dir() && bed.ca_file.is_file());
    drop(bed);
    assert!(!state.exists());
}
