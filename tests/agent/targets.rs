//! What goes through a tunnel, and targets that do not behave.

use std::io;
use std::net::SocketAddr;

use testbed::bed::Bed;
use testbed::targets::{self, HttpTarget, pattern};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::fixture::{Gateway, enrolling, is_emulated, limit};

async fn served_with(variables: &[(&str, &str)]) -> (Bed, Gateway) {
    let bed = Bed::start().await.unwrap();
    let config = variables.iter().fold(enrolling(&bed), |config, (name, value)| config.env(name, *value));
    let gateway = Gateway::served(&bed, &config).await;
    (bed, gateway)
}

/// Sends this many bytes of the pattern, ends, and checks that the same ones come back and then the end.
pub(crate) async fn echoed(stream: impl AsyncRead + AsyncWrite, length: usize) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        let mut sent = 0;
        while sent < length {
            let piece = pattern(sent as u64, (length - sent).min(64 * 1024));
            writer.write_all(&piece).await?;
            sent += piece.len();
        }
        writer.shutdown().await
    };
    tokio::try_join!(sending, same(&mut reader, length)).map(drop)
}

/// Reads to the end, and checks that it is this much of the pattern.
async fn same(reader: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut received = 0;
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            assert_eq!(received, length);
            return Ok(());
        }
        assert!(buffer[..count] == pattern(received as u64, count), "other bytes after {received}");
        received += count;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes() {
    let target = targets::source(100_000_000).await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();
    gateway.within(same(&mut stream, 100_000_000)).await;
    let memory = gateway.memory().unwrap();
    // What the agent holds does not grow with what it has carried. An emulator's own memory does, with the code it translates.
    assert!(is_emulated() || memory.private < 16 * 1024, "{memory:?} KiB");
    drop(stream);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tunnels_at_once() {
    let target = targets::echo().await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut tunnels = JoinSet::new();
    for _ in 0..50 {
        let (client, address) = (bed.client(), target.addr());
        tunnels.spawn(async move { echoed(client.tcp(address).await?, 100_000).await });
    }
    while let Some(tunnel) = gateway.within(async { Ok(tunnels.join_next().await) }).await {
        tunnel.unwrap().unwrap();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let sink = targets::sink().await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut stream = bed.client().tcp(sink.addr()).await.unwrap();
    stream.write_all(&pattern(0, 100_000)).await.unwrap();
    stream.shutdown().await.unwrap();
    // The target answers after the end of what it was sent.
    let mut answer = String::new();
    gateway.within(stream.read_to_string(&mut answer)).await;
    assert_eq!(answer, "100000");
    drop(stream);
    gateway.stop().await;
}

/// The tunnel to this target ends without a byte, and the log says why.
async fn unreachable(gateway: &Gateway, bed: &Bed, host: &str, port: u16, why: &str) {
    let mut stream = bed.client().tcp_to(host, port).await.unwrap();
    let mut answer = Vec::new();
    gateway.within(stream.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    let line = gateway.says(why).await;
    assert!(line.starts_with(&format!("warning: tcp: {host}:{port}: ")), "{line}");
}

#[tokio::test]
async fn a_target_that_refuses_and_one_without_a_name() {
    // A machine without a network shall not keep the test waiting.
    let (bed, gateway) = served_with(&[("RES_OPTIONS", "timeout:1 attempts:1")]).await;
    let nobody = targets::refusing().await.unwrap();
    unreachable(&gateway, &bed, "127.0.0.1", nobody.port(), "can't be reached").await;
    unreachable(&gateway, &bed, "target.invalid", 5432, "can't be resolved").await;
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_target_that_closes_early() {
    let target = targets::closes_early(b"goodbye").await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut answer = Vec::new();
    gateway.within(stream.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"goodbye");
    drop(stream);
    gateway.stop().await;
}

/// A target that takes nothing stops its own client, and neither the others nor the agent's memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stalls() {
    let (stalling, echo) = (targets::stalling().await.unwrap(), targets::echo().await.unwrap());
    let (bed, gateway) = served_with(&[]).await;
    let mut stuck = bed.client().tcp(stalling.addr()).await.unwrap();
    let pushing = tokio::spawn(async move {
        let piece = vec![7; 64 * 1024];
        while stuck.write_all(&piece).await.is_ok() {}
    });
    for _ in 0..3 {
        gateway.within(async { echoed(bed.client().tcp(echo.addr()).await?, 300_000).await }).await;
    }
    gateway.within(bed.client().ping()).await;
    assert!(!pushing.is_finished());
    pushing.abort();
    gateway.within(bed.relay.wait(limit(), |counters| counters.channels == 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn requests_one_after_the_other_in_every_form() {
    let target = HttpTarget::start().await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut http = bed.client().http(target.addr()).await.unwrap();
    for (method, path, body, status, expected) in [
        ("GET", "/bytes/10000", &b""[..], 200, pattern(0, 10_000)),
        ("GET", "/chunked/100000", b"", 200, pattern(0, 100_000)),
        ("POST", "/echo", b"a body", 200, b"a body".to_vec()),
        ("HEAD", "/bytes/10000", b"", 200, Vec::new()),
        ("GET", "/status/204", b"", 204, Vec::new()),
        ("DELETE", "/missing", b"", 404, b"no such path\n".to_vec()),
    ] {
        let response = gateway.within(http.request(method, path, &[], body)).await;
        assert_eq!((response.status(), response.body), (status, expected), "{method} {path}");
    }
    let chunked =
        b"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let response = gateway.within(http.raw(chunked, "PUT")).await;
    assert_eq!((response.status(), response.body.as_slice()), (200, &b"hello world"[..]));
    assert_eq!(target.accepted(), 1, "one connection to the target");
    drop(http);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue() {
    let target = HttpTarget::start().await.unwrap();
    let (bed, gateway) = served_with(&[]).await;
    let mut http = bed.client().http(target.addr()).await.unwrap();
    let stream = http.stream();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut interim = [0; 25];
    gateway.within(stream.read_exact(&mut interim)).await;
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let response = gateway.within(http.raw(b"body", "POST")).await;
    assert_eq!((response.status(), response.body.as_slice()), (200, &b"body"[..]));
    drop(http);
    gateway.stop().await;
}

#[tokio::test]
async fn an_http_target_that_refuses_leaves_the_connection_usable() {
    let (bed, gateway) = served_with(&[]).await;
    let nobody = targets::refusing().await.unwrap();
    let mut http = bed.client().http(nobody).await.unwrap();
    for _ in 0..2 {
        let response = gateway.within(http.request("GET", "/", &[], b"")).await;
        let json: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(response.status(), 500);
        assert!(json["message"].as_str().unwrap().starts_with("gateway: "), "{json}");
    }
    drop(http);
    gateway.stop().await;
}

#[tokio::test]
async fn an_https_target_of_a_private_authority() {
    use base64::Engine as _;

    let (bed, gateway) = served_with(&[]).await;
    let target = HttpTarget::start_tls(bed.web.server()).await.unwrap();
    let ca = base64::engine::general_purpose::STANDARD.encode(bed.web.pem());
    for (config, status) in [
        (format!("CONFIG ca={ca} verify=true\n"), 200),
        ("CONFIG verify=false\n".to_owned(), 200),
        ("CONFIG\n".to_owned(), 500),
    ] {
        let mut http = bed.client().http_to("https://localhost", target.addr().port(), &config).await.unwrap();
        let response = gateway.within(http.request("POST", "/echo", &[], b"sealed")).await;
        assert_eq!(response.status(), status, "{config}");
        assert_eq!(response.body == b"sealed", status == 200);
    }
    gateway.stop().await;
}

/// The pod's environment says where the cluster is; this machine has no service account.
#[tokio::test]
async fn the_pods_cluster_is_found() {
    let variables = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT_HTTPS", "6443")];
    let (bed, gateway) = served_with(&variables).await;
    let mut http = bed.client().http_to("localhost", 1, "CONFIG\n").await.unwrap();
    let action = [("X-Infisical-Action", "use-k8s-sa")];
    let response = gateway.within(http.request("GET", "/api", &action, b"")).await;
    let text = String::from_utf8_lossy(&response.body);
    assert!(text.contains("/var/run/secrets/kubernetes.io/serviceaccount/token"), "{text}");
    gateway.stop().await;
}

async fn answers(gateway: &Gateway, bed: &Bed, target: SocketAddr) -> bool {
    let mut stream = bed.client().tcp(target).await.unwrap();
    stream.write_all(b"?").await.unwrap();
    let mut answer = Vec::new();
    stream.shutdown().await.unwrap();
    gateway.within(stream.read_to_end(&mut answer)).await;
    !answer.is_empty()
}

#[tokio::test]
async fn the_owner_allows_and_denies() {
    let (open, shut) = (targets::echo().await.unwrap(), targets::echo().await.unwrap());
    for variables in [
        &[("EDGE_GATEWAY_ALLOW", format!("127.0.0.0/8:{}", open.addr().port()))][..],
        &[("EDGE_GATEWAY_DENY", format!("127.0.0.1:{}", shut.addr().port()))],
        &[
            ("EDGE_GATEWAY_ALLOW", "127.0.0.1:*".to_owned()),
            ("EDGE_GATEWAY_DENY", format!("localhost:*,127.0.0.0/8:{}", shut.addr().port())),
        ],
    ] {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (bed, gateway) = served_with(&variables).await;
        assert!(answers(&gateway, &bed, open.addr()).await, "{variables:?}");
        assert!(!answers(&gateway, &bed, shut.addr()).await, "{variables:?}");
        gateway.says("refused by this gateway's policy").await;
        gateway.stop().await;
    }
    assert_eq!(shut.accepted(), 0);
}
