//! The relay against russh's own client and OpenSSH's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use testbed::certs::{CertSpec, CertType, KeyKind, SshCredential, SshFactory, Validity};
use testbed::dir::TempDir;
use testbed::echo_gateway::EchoGateway;
use testbed::relay::{HostKey, OpenError, OtherChannel, Relay, RelayConfig, Tunnel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const GATEWAY: &str = "0b7a3f2e-6a0e-4a0f-9a57-0e6c0d8a5f11";
const LIMIT: Duration = Duration::from_secs(10);

/// A relay and what it takes to log in to it.
struct Fixture {
    ssh: Arc<SshFactory>,
    relay: Relay,
}

impl Fixture {
    async fn new(kind: KeyKind) -> Fixture {
        Fixture::with(kind, |_| {}).await
    }

    async fn with(kind: KeyKind, change: impl FnOnce(&mut RelayConfig)) -> Fixture {
        let ssh = Arc::new(SshFactory::with_kind(kind));
        let mut config = RelayConfig::new(ssh.clone());
        change(&mut config);
        let relay = Relay::start(config).await.unwrap();
        Fixture { ssh, relay }
    }

    fn user(&self) -> CertSpec {
        self.ssh.user("eu-1", GATEWAY, "branch-office")
    }

    async fn login_with(&self, credential: &SshCredential) -> io::Result<EchoGateway> {
        EchoGateway::login(self.relay.ssh_addr(), GATEWAY, credential, &self.ssh.host_ca_line()).await
    }

    async fn login(&self) -> EchoGateway {
        let gateway = self.login_with(&self.user().issue()).await.unwrap();
        self.relay.wait_for_gateway(GATEWAY, LIMIT).await.unwrap();
        gateway
    }
}

async fn echo(tunnel: &mut Tunnel, bytes: &[u8]) {
    tunnel.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(back, bytes);
}

#[tokio::test]
async fn every_kind_of_key_logs_in_and_echoes() {
    for kind in [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let bed = Fixture::new(kind).await;
        let _gateway = bed.login().await;
        let mut tunnel = bed.relay.open_channel(GATEWAY).await.unwrap();
        echo(&mut tunnel, format!("hello from {kind:?}").as_bytes()).await;
        assert_eq!(bed.relay.counters().logins, 1);
    }
}

#[tokio::test]
async fn half_close_reaches_both_ends_and_drop_closes() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    let _gateway = bed.login().await;
    let mut tunnel = bed.relay.open_channel(GATEWAY).await.unwrap();
    tunnel.write_all(b"last words").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"last words");

    let idle = bed.relay.open_channel(GATEWAY).await.unwrap();
    bed.relay.wait(LIMIT, |c| c.channels_opened == 2 && c.channels == 1).await.unwrap();
    drop(idle);
    bed.relay.wait(LIMIT, |c| c.channels == 0).await.unwrap();
}

#[tokio::test]
async fn rekeys_in_mid_traffic() {
    let bed = Fixture::with(KeyKind::Ed25519, |config| config.rekey_after = 256 * 1024).await;
    let _gateway = bed.login().await;
    let (mut reader, mut writer) = tokio::io::split(bed.relay.open_channel(GATEWAY).await.unwrap());
    let sent: Vec<u8> = (0..2 * 1024 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} of {} bytes came back, or other ones", received.len(), expected.len());
}

/// More in both directions at once than any socket holds, and then a client that doesn't read.
#[tokio::test]
async fn neither_a_flood_nor_a_stalled_client_holds_the_relay_up() {
    let bed = Fixture::with(KeyKind::Ed25519, |config| config.backlog = 4).await;
    let _gateway = bed.login().await;
    let flood = vec![7; 16 * 1024 * 1024];
    let (mut reader, mut writer) = tokio::io::split(bed.relay.open_channel(GATEWAY).await.unwrap());
    let writing = tokio::spawn(async move { writer.write_all(&flood).await.map(|()| writer) });
    let mut echoed = vec![0; 16 * 1024 * 1024];
    reader.read_exact(&mut echoed).await.unwrap();
    assert!(echoed.iter().all(|&byte| byte == 7));
    drop(writing.await.unwrap().unwrap());
    drop(reader);

    let mut stalled = bed.relay.open_channel(GATEWAY).await.unwrap();
    let flooding = async { while stalled.write_all(&[7; 64 * 1024]).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_millis(300), flooding).await.is_err());
    tokio::time::timeout(LIMIT, bed.relay.kill()).await.unwrap();
}

#[tokio::test]
async fn wrong_user_certificates_are_refused() {
    let bed = Fixture::new(KeyKind::Rsa2048).await;
    let stranger = SshFactory::stranger();
    let wrong: [(&str, CertSpec); 7] = [
        ("other authority", bed.user().signed_by(&stranger)),
        ("expired", bed.user().valid(Validity::past())),
        ("not yet valid", bed.user().valid(Validity::future())),
        ("host certificate", bed.user().cert_type(CertType::Host)),
        ("other principal", bed.user().principals(&["someone-else"])),
        ("critical option", bed.user().critical_option("force-command", "/bin/true")),
        ("corrupt signature", bed.user().corrupt_signature()),
    ];
    for (name, spec) in wrong {
        let Err(e) = bed.login_with(&spec.issue()).await else { panic!("{name} was accepted") };
        assert_eq!(e.kind(), io::ErrorKind::PermissionDenied, "{name}");
    }
    assert!(!bed.relay.is_connected(GATEWAY));
    assert_eq!(bed.relay.counters().logins, 0);
}

#[tokio::test]
async fn the_client_sees_a_wrong_relay() {
    let stranger = Arc::new(SshFactory::stranger());
    let shaped = |shape: fn(CertSpec) -> CertSpec| HostKey::Shaped(Arc::new(shape));
    let wrong = [
        ("raw key", HostKey::Raw),
        ("expired", shaped(|spec| spec.valid(Validity::past()))),
        ("user certificate", shaped(|spec| spec.cert_type(CertType::User))),
        ("other principal", shaped(|spec| spec.principals(&["198.51.100.1:2222"]))),
        ("corrupt signature", shaped(CertSpec::corrupt_signature)),
        ("other authority", HostKey::Shaped(Arc::new(move |spec| spec.signed_by(&stranger)))),
    ];
    for (name, host_key) in wrong {
        let bed = Fixture::with(KeyKind::Rsa2048, |config| config.host_key = host_key).await;
        assert!(bed.login_with(&bed.user().issue()).await.is_err(), "{name} was accepted");
    }
}

#[tokio::test]
async fn a_second_login_is_closed_while_the_first_is_held() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    let first = bed.login().await;
    bed.relay.freeze(GATEWAY);
    drop(first);

    let second = bed.login_with(&bed.user().issue()).await.unwrap();
    bed.relay.wait(LIMIT, |c| c.duplicates == 1 && c.ended == 1).await.unwrap();
    assert!(second.request_forwarding().await.is_err());

    bed.relay.cut(GATEWAY);
    bed.relay.wait(LIMIT, |c| c.gateways == 0).await.unwrap();
    let _third = bed.login().await;
    assert_eq!(bed.relay.counters().duplicates, 1);
}

#[tokio::test]
async fn a_logout_frees_the_place() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    bed.login().await.logout().await.unwrap();
    bed.relay.wait(LIMIT, |c| c.gateways == 0 && c.ended == 1).await.unwrap();
    let _again = bed.login().await;
}

#[tokio::test]
async fn global_requests_are_refused_unless_allowed() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    assert!(bed.login().await.request_forwarding().await.is_err());

    let bed = Fixture::with(KeyKind::Ed25519, |config| config.allow_forwarding = true).await;
    bed.login().await.request_forwarding().await.unwrap();
}

#[tokio::test]
async fn a_refused_channel_is_named() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    assert!(matches!(bed.relay.open_channel(GATEWAY).await, Err(OpenError::NotConnected)));
    let _gateway = bed.login().await;
    let refused = bed.relay.open_other(GATEWAY, OtherChannel::Session).await;
    assert!(matches!(refused, Err(OpenError::Refused(russh::ChannelOpenFailure::UnknownChannelType))));
    assert_eq!(bed.relay.counters().channels_refused, 1);
}

#[tokio::test]
async fn dies_and_comes_back_on_the_same_port_and_on_another() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    let addr = bed.relay.ssh_addr();
    let gateway = bed.login().await;
    bed.relay.kill().await;
    assert!(TcpStream::connect(addr).await.is_err());
    assert!(gateway.request_forwarding().await.is_err());

    bed.relay.restart().await.unwrap();
    assert_eq!(bed.relay.ssh_addr(), addr);
    let _gateway = bed.login().await;

    let elsewhere = bed.relay.move_away().await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    assert_eq!(bed.relay.ssh_addr(), elsewhere);
    let _gateway = bed.login().await;
}

#[tokio::test]
async fn an_exposed_gateway_is_reached_over_plain_tcp() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    let addr = bed.relay.expose(GATEWAY).await.unwrap();
    let mut away = TcpStream::connect(addr).await.unwrap();
    assert_eq!(away.read(&mut [0; 1]).await.unwrap(), 0);

    let _gateway = bed.login().await;
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(b"over tcp").await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"over tcp");
    let (received, sent) = bed.relay.traffic(GATEWAY).unwrap();
    assert!(received > 0 && sent > 0);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_everything() {
    let bed = Fixture::new(KeyKind::Ed25519).await;
    let addr = bed.relay.ssh_addr();
    let gateway = bed.login().await;
    drop(bed.relay);
    assert!(gateway.request_forwarding().await.is_err());
    assert!(TcpStream::connect(addr).await.is_err());
}

/// OpenSSH's client with an RSA certificate: the one independent peer that names its algorithms as the agent does.
#[tokio::test]
async fn openssh_logs_in_with_rsa_certificates() {
    let bed = Fixture::new(KeyKind::Rsa2048).await;
    let credential = bed.user().issue();
    let dir = TempDir::new().unwrap();
    let key = dir.write("key", &credential.private_key_pem()).unwrap();
    dir.write("key-cert.pub", credential.certificate_line()).unwrap();
    let known = dir.write("known", &format!("@cert-authority * {}\n", bed.ssh.host_ca_line())).unwrap();

    let started = tokio::process::Command::new("ssh")
        .args(["-F", "none", "-N", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "HostKeyAlgorithms=rsa-sha2-512-cert-v01@openssh.com"])
        // The principal has the port in it, as the platform's does, and OpenSSH looks for the bare name.
        .args(["-o", &format!("HostKeyAlias={}", bed.relay.ssh_addr())])
        .args(["-o", &format!("UserKnownHostsFile={}", known.display())])
        .arg("-i")
        .arg(&key)
        .args(["-p", &bed.relay.ssh_addr().port().to_string(), &format!("{GATEWAY}@127.0.0.1")])
        .kill_on_drop(true)
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut ssh = match started {
        Ok(ssh) => ssh,
        Err(e) => {
            eprintln!("skipped: ssh does not run here: {e}");
            return;
        }
    };
    let connected = bed.relay.wait_for_gateway(GATEWAY, LIMIT).await;
    ssh.kill().await.unwrap();
    let said = ssh.wait_with_output().await.unwrap().stderr;
    assert!(connected.is_ok(), "{}", String::from_utf8_lossy(&said));
}
