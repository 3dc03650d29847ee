//! Clients that are not of this project: OpenSSL's and Node's, through a relay to the agent.

use std::process::Stdio;

use testbed::bed::Bed;
use testbed::targets::HttpTarget;
use tokio::process::Command;

use crate::fixture::{Gateway, enrolling, limit};
use crate::support::tools::installed;

/// The names of the versions of TLS that the agent speaks.
fn tls_versions(older: &'static str, newer: &'static str) -> Vec<&'static str> {
    if cfg!(feature = "tls12") { vec![older, newer] } else { vec![newer] }
}

/// A bed with an agent, a client's files, and a port that leads to the agent.
struct Front {
    bed: Bed,
    gateway: Gateway,
    port: u16,
}

impl Front {
    async fn new(target_port: u16) -> Self {
        let bed = Bed::start().await.unwrap();
        let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
        let certificate = bed.client().certificate_for("127.0.0.1", target_port).issue();
        bed.dir.write("client.pem", certificate.certificate_pem()).unwrap();
        bed.dir.write("client.key", certificate.private_key_pem()).unwrap();
        bed.dir.write("roots.pem", &bed.pki.server_chain_pem()).unwrap();
        let port = bed.relay.expose(&bed.gateway_id).await.unwrap().port();
        Self { bed, gateway, port }
    }

    /// What a program prints that is run in the folder of the client's files.
    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let child = Command::new(program)
            .args(arguments)
            .current_dir(self.bed.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.unwrap();
        // Kept open: the program is to end because the agent has closed.
        let _stdin = child.stdin.take();
        let output = tokio::time::timeout(limit(), child.wait_with_output()).await.expect("in time").unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}\n{complained}\n{}", self.gateway.log().join("\n"));
        said.into_owned()
    }
}

#[tokio::test]
async fn openssls_client() {
    if !installed(&["openssl"]) {
        return;
    }
    let front = Front::new(1).await;
    let connect = format!("127.0.0.1:{}", front.port);
    for version in tls_versions("-tls1_2", "-tls1_3") {
        for (alpn, answer) in
            [("infisical-ping", "PONG\n"), ("infisical-health", "{\"status\":\"ok\",\"heartbeatTTL\":180}\n")]
        {
            let mut arguments = vec!["s_client", "-quiet", "-noservername", "-verify_hostname", "localhost"];
            arguments.extend(["-verify_return_error", "-CAfile", "roots.pem", "-cert", "client.pem"]);
            arguments.extend(["-key", "client.key", "-connect", &connect, "-alpn", alpn, version]);
            assert_eq!(front.run("openssl", &arguments).await, answer, "{version}");
        }
    }
    front.gateway.stop().await;
}

/// As the platform does it.
#[tokio::test]
async fn nodes_client() {
    if !installed(&["node"]) {
        return;
    }
    let target = HttpTarget::start().await.unwrap();
    let front = Front::new(target.addr().port()).await;
    let port = front.port.to_string();
    for version in tls_versions("TLSv1.2", "TLSv1.3") {
        let said = front.run("node", &["-e", include_str!("node.js"), "--", &port, version]).await;
        let expected = "PONG\n{\"status\":\"ok\",\"heartbeatTTL\":180}\n\
                        POST 200 sized\nPUT 200 chunked\nGET 200 5000\nGET 200 7000\n";
        assert_eq!(said, expected, "{version}");
    }
    let clients = tls_versions("", "").len() as u64;
    assert_eq!(target.accepted(), clients, "one connection to the target for each client");
    front.gateway.stop().await;
}
