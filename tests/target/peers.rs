//! TLS clients that are not rustls: OpenSSL's `s_client` and Node, which the platform runs on.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::http_target::{Answer, Target};
use crate::pki::{Client, Pki};

const DEADLINE: Duration = Duration::from_secs(20);

/// Whether a program is there. Without it a test is skipped, except in CI.
fn there(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg(if program == "node" { "--version" } else { "version" })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is needed in CI");
        println!("skipped: {program} is not there");
    }
    found
}

/// A gateway behind a TCP port, and a client's files in a folder; all gone when it is dropped.
struct Front {
    port: u16,
    folder: PathBuf,
    task: JoinHandle<()>,
}

impl Front {
    async fn new(gateway: Gateway, client: &Client) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("edge-peers-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, contents) in
            [("client.pem", &client.certificate), ("client.key", &client.key), ("roots.pem", &client.roots)]
        {
            fs::write(folder.join(name), contents).expect("written");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let gateway = Arc::new(gateway);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                gateway.serve(stream);
            }
        });
        Self { port, folder, task }
    }

    /// `s_client` with this client's files; `arguments` choose the rest.
    fn s_client(&self, arguments: &str) -> Child {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-verify_return_error", "-CAfile", "roots.pem"]);
        command.args(["-connect", &format!("127.0.0.1:{}", self.port)]);
        command.args(arguments.split_whitespace());
        self.spawn(command)
    }

    fn node(&self, version: &str, rest: &str) -> Child {
        let mut command = Command::new("node");
        command.args(["-e", include_str!("data/client.js"), "--", ""]);
        // With -e, argv[1] is the first argument after the dashes.
        let options = format!(r#"{{"port":{},"folder":{:?},"version":"{version}",{rest}}}"#, self.port, self.folder);
        command.arg(options);
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Child {
        command
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("spawned")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Waits for a program with nothing to say; its stdin stays open, so that it ends of its own.
async fn output(mut child: Child) -> (String, String) {
    let _stdin = child.stdin.take();
    let done = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let Output { stdout, stderr, .. } = done.expect("in time").expect("ended");
    (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

const CERTIFICATE: &str = "-cert client.pem -key client.key";

#[tokio::test]
async fn openssl_gets_its_answers_in_both_versions_with_rsa_as_the_platform_has_it() {
    if !there("openssl") {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let gateway = Gateway::rsa();
        let client = gateway.pki.client("db.lan", 1);
        let front = Front::new(gateway, &client).await;
        for (alpn, expected) in [
            ("infisical-ping", "PONG\n"),
            ("infisical-health,infisical-ping", "{\"status\":\"ok\",\"heartbeatTTL\":180}\n"),
        ] {
            let (stdout, stderr) =
                output(front.s_client(&format!("{CERTIFICATE} {version} -quiet -alpn {alpn}"))).await;
            assert_eq!(stdout, expected, "{version}: {stderr}");
        }
    }
}

#[tokio::test]
async fn openssl_is_refused_with_the_right_alerts() {
    if !there("openssl") {
        return;
    }
    let ping = "-quiet -alpn infisical-ping";
    for version in ["-tls1_2", "-tls1_3"] {
        let gateway = Gateway::new();
        let stranger = Client { roots: gateway.pki.server_chain.clone(), ..Pki::new().client("db.lan", 1) };
        let late = gateway.pki.client_with(&[], -1);
        let good = gateway.pki.client("db.lan", 1);
        let front = Front::new(gateway, &good).await;
        for (arguments, alert) in [
            (ping.to_owned(), "certificate required"),
            (format!("{CERTIFICATE} -quiet -alpn infisical-pam-proxy"), "no application protocol"),
            (format!("{CERTIFICATE} -quiet"), "access denied"),
        ] {
            let (stdout, stderr) = output(front.s_client(&format!("{arguments} {version}"))).await;
            assert!(stderr.contains(&format!("alert {alert}")), "{version} {alert}: {stderr}");
            assert_eq!(stdout, "");
        }
        for (client, alert) in [(stranger, "unknown ca"), (late, "certificate expired")] {
            fs::write(front.folder.join("client.pem"), &client.certificate).expect("written");
            fs::write(front.folder.join("client.key"), &client.key).expect("written");
            let (_, stderr) = output(front.s_client(&format!("{CERTIFICATE} {ping} {version}"))).await;
            assert!(stderr.contains(&format!("alert {alert}")), "{version} {alert}: {stderr}");
        }
    }
}

/// The next line that is one of ours, among those that `s_client` prints itself.
async fn line_with<R: AsyncBufReadExt + Unpin>(reader: &mut R, text: &str) {
    let found = async {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(reader.read_line(&mut line).await.expect("read") > 0, "no {text}");
        }
    };
    tokio::time::timeout(DEADLINE, found).await.expect("in time");
}

#[tokio::test]
async fn openssl_may_update_keys_and_ask_for_ours() {
    if !there("openssl") {
        return;
    }
    let target = Target::start_with(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.map(drop)
    })
    .await;
    let gateway = Gateway::new();
    let client = gateway.pki.client("127.0.0.1", target.port);
    let front = Front::new(gateway, &client).await;
    let mut child = front.s_client(&format!("{CERTIFICATE} -tls1_3 -alpn infisical-tcp-proxy"));
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    // A line "k" makes s_client update its own key, "K" ask for the other side's as well.
    for (command, word) in [("", "first\n"), ("k\n", "second\n"), ("K\n", "third\n"), ("K\n", "fourth\n")] {
        // Commands are whole reads of stdin, so the answer to each line is awaited.
        for line in [command, word] {
            stdin.write_all(line.as_bytes()).await.expect("written");
            stdin.flush().await.expect("flushed");
            if line == command && !line.is_empty() {
                line_with(&mut BufReader::new(child.stderr.as_mut().expect("piped")), "KEYUPDATE").await;
            }
        }
        line_with(&mut stdout, word.trim_end()).await;
    }
    child.kill().await.expect("killed");
}

#[tokio::test]
async fn openssl_may_not_renegotiate() {
    if !there("openssl") {
        return;
    }
    let target =
        Target::start_with(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await.map(drop) }).await;
    let gateway = Gateway::new();
    let client = gateway.pki.client("127.0.0.1", target.port);
    let front = Front::new(gateway, &client).await;
    let mut child = front.s_client(&format!("{CERTIFICATE} -tls1_2 -alpn infisical-tcp-proxy"));
    child.stdin.as_mut().expect("piped").write_all(b"R\n").await.expect("written");
    let (_, stderr) = output(child).await;
    assert!(stderr.contains("RENEGOTIATING"), "{stderr}");
    assert!(stderr.contains("unexpected message") || stderr.contains("no renegotiation"), "{stderr}");
}

#[tokio::test]
async fn node_gets_its_answers_as_the_platform_asks_for_them() {
    if !there("node") {
        return;
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        let target = Target::start(|request, _| {
            Answer::ok(&format!("{} {}", request.line, String::from_utf8_lossy(&request.body)))
        })
        .await;
        let gateway = Gateway::rsa();
        let client = gateway.pki.client("127.0.0.1", target.port);
        let front = Front::new(gateway, &client).await;
        for (options, expected) in [
            (r#""alpn":["infisical-ping"]"#, "PONG\n[end]"),
            (r#""alpn":["infisical-health","infisical-ping"]"#, "{\"status\":\"ok\",\"heartbeatTTL\":180}\n[end]"),
            (
                r#""alpn":["infisical-http-proxy"],"http":"/x""#,
                "200 GET /x HTTP/1.1 \n200 POST /x HTTP/1.1 sized\n200 PUT /x HTTP/1.1 chunked\n",
            ),
        ] {
            let (stdout, stderr) = output(front.node(version, options)).await;
            assert_eq!(stdout, expected, "{version}: {stderr}");
        }
    }
}

#[tokio::test]
async fn node_is_refused_with_the_right_alerts() {
    if !there("node") {
        return;
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        let gateway = Gateway::new();
        let client = gateway.pki.client("db.lan", 1);
        let front = Front::new(gateway, &client).await;
        for (options, code) in [
            (r#""alpn":["infisical-sql"]"#, "NO_APPLICATION_PROTOCOL"),
            (r#""alpn":["infisical-ping"],"anonymous":true"#, ""),
        ] {
            let (stdout, stderr) = output(front.node(version, options)).await;
            assert!(stderr.starts_with("ERR_SSL_") && stderr.contains(code), "{version}: {stderr}");
            assert_eq!(stdout, "");
        }
    }
}
