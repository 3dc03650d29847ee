//! `https://` targets and the Kubernetes actions of `infisical-http-proxy`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_gateway::target::Kubernetes;
use rustls::version::{TLS12, TLS13};

use crate::gateway::Gateway;
use crate::http::Caller;
use crate::http_target::{Answer, Target, serve};
use crate::pki::{Client, Pki};
use crate::tls_client::Server;

/// A target that tells who asks.
async fn target(server: &Server, version: &'static rustls::SupportedProtocolVersion) -> Target {
    let acceptor = server.acceptor(version);
    Target::start_with(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await?;
            serve(stream, &|request: &_, _| {
                let request: &crate::http_target::Message = request;
                let secret = request.field("authorization").unwrap_or("nothing");
                assert_eq!(request.field("x-infisical-action"), None);
                Answer::ok(&format!("{} {secret}", request.line))
            })
            .await
        }
    })
    .await
}

fn config(server: &Server) -> String {
    format!("CONFIG ca={} verify=true\n", STANDARD.encode(&server.trust))
}

#[tokio::test]
async fn the_config_line_decides_whom_to_trust() {
    let (server, other) = (Server::issued_for("localhost"), Server::issued_for("localhost"));
    let gateway = Gateway::new();
    for version in [&TLS12, &TLS13] {
        let target = target(&server, version).await;
        let client = gateway.pki.client("https://localhost", target.port);
        for (line, expected) in [
            (config(&server), None),
            ("CONFIG verify=false\n".into(), None),
            (config(&other), Some("not signed by a trusted CA")),
            ("CONFIG\n".into(), Some("not signed by a trusted CA")),
            ("CONFIG ca=bm8=\n".into(), Some("ca= in the CONFIG line: no PEM certificate")),
        ] {
            let mut caller = Caller::with_config(&gateway, &client, &line).await;
            for _ in 0..2 {
                let response = caller.call("GET / HTTP/1.1\r\n\r\n").await;
                match expected {
                    None => assert_eq!(response.text(), "GET / HTTP/1.1 nothing", "{line}"),
                    Some(why) => {
                        assert_eq!(response.status(), "500");
                        assert!(response.text().contains(why), "{line}: {}", response.text());
                    }
                }
            }
        }
        // Kept within a client's connection, never between two.
        assert_eq!(target.connections(), 2 + 3 * 2 - 2, "{version:?}");
    }
}

#[tokio::test]
async fn an_answer_without_length_needs_the_close_notify() {
    let server = Server::issued_for("localhost");
    let acceptor = server.acceptor(&TLS13);
    let target = Target::start_with(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            let mut stream = acceptor.accept(stream).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await?;
            stream.flush().await
        }
    })
    .await;
    let gateway = Gateway::new();
    let client = gateway.pki.client("https://localhost", target.port);
    let mut caller = Caller::with_config(&gateway, &client, &config(&server)).await;
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    let error = crate::http_target::read(caller.stream()).await.expect_err("cut off");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// A pod's service account, in a folder that is removed.
struct Account(PathBuf);

impl Account {
    fn new(token: &str, ca: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("edge-gateway-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("token"), token).expect("written");
        fs::write(folder.join("ca.crt"), ca).expect("written");
        Self(folder)
    }

    fn gateway(&self, api: Option<(&str, u16)>) -> Gateway {
        Gateway::with(|context| {
            context.kubernetes = Kubernetes {
                account: self.0.clone(),
                host: api.map(|(host, _)| host.into()),
                port: api.map(|(_, port)| port.to_string()),
            };
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn actor(pki: &Pki, kind: &str, port: u16) -> Client {
    let routing = format!(r#"{{"targetHost":"https://localhost","targetPort":{port}}}"#);
    pki.client_with(&[(1, &routing), (2, &format!(r#"{{"type":"{kind}"}}"#))], 300)
}

const INJECT: &str = "GET / HTTP/1.1\r\nAuthorization: mine\r\nX-Infisical-Action: inject-k8s-sa-auth-token\r\n\r\n";
const USE: &str = "GET / HTTP/1.1\r\nAuthorization: mine\r\nX-Infisical-Action: use-k8s-sa\r\n\r\n";

#[tokio::test]
async fn the_platform_may_use_the_pods_service_account() {
    let (server, cluster) = (Server::issued_for("localhost"), Server::issued_for("127.0.0.1"));
    let (target, api) = (target(&server, &TLS13).await, target(&cluster, &TLS13).await);
    let account = Account::new("pod-token\n", &cluster.trust);
    let gateway = account.gateway(Some(("127.0.0.1", api.port)));

    let platform = actor(&gateway.pki, "platform", target.port);
    let mut caller = Caller::with_config(&gateway, &platform, &config(&server)).await;
    assert_eq!(caller.call(INJECT).await.text(), "GET / HTTP/1.1 Bearer pod-token");
    assert_eq!((target.connections(), api.connections()), (1, 0));
    assert_eq!(caller.call(USE).await.text(), "GET / HTTP/1.1 Bearer pod-token");
    assert_eq!((target.connections(), api.connections()), (1, 1));
    // The redirection is for one request.
    assert_eq!(caller.call("GET / HTTP/1.1\r\n\r\n").await.text(), "GET / HTTP/1.1 nothing");
    assert_eq!((target.connections(), api.connections()), (2, 1));
    // The cluster replaces its tokens.
    fs::write(account.0.join("token"), "newer").expect("written");
    assert_eq!(caller.call(INJECT).await.text(), "GET / HTTP/1.1 Bearer newer");

    // It needs no routing of its own.
    let unrouted = gateway.pki.client_with(&[(2, r#"{"type":"platform"}"#)], 300);
    let mut caller = Caller::new(&gateway, &unrouted).await;
    assert_eq!(caller.call(USE).await.text(), "GET / HTTP/1.1 Bearer newer");

    let user = actor(&gateway.pki, "user", target.port);
    let mut caller = Caller::with_config(&gateway, &user, &config(&server)).await;
    for request in [INJECT, USE] {
        assert_eq!(caller.call(request).await.text(), "GET / HTTP/1.1 mine");
    }
    assert_eq!(api.connections(), 2, "a user was let in");
}

#[tokio::test]
async fn without_a_cluster_the_actions_say_what_is_missing() {
    let account = Account::new("bad\ntoken", "no certificate");
    let gateway = account.gateway(None);
    let platform = actor(&gateway.pki, "platform", 1);
    let mut caller = Caller::new(&gateway, &platform).await;
    let response = caller.call(INJECT).await;
    assert_eq!(response.status(), "500");
    assert!(response.text().ends_with("token: not a token\"}"), "{}", response.text());

    fs::write(account.0.join("token"), "good").expect("written");
    assert!(caller.call(USE).await.text().contains("does not run in Kubernetes"));
    fs::remove_file(account.0.join("token")).expect("removed");
    assert!(caller.call(USE).await.text().contains("No such file"));

    fs::write(account.0.join("token"), "good").expect("written");
    let server = Server::issued_for("127.0.0.1");
    let api = target(&server, &TLS13).await;
    let gateway = account.gateway(Some(("127.0.0.1", api.port)));
    let platform = actor(&gateway.pki, "platform", 1);
    let mut caller = Caller::new(&gateway, &platform).await;
    assert!(caller.call(USE).await.text().contains("ca.crt: no PEM certificate"));
}
