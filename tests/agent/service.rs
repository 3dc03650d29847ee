//! The agent as a service: signals, the service manager, the log, and what it does not do.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use testbed::agent::Signal;
use testbed::api::{Endpoint, Fault};
use testbed::bed::Bed;
use testbed::targets;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixDatagram;

use crate::fixture::{Gateway, complaint, enrolling, limit, settings, with_file};

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> HashSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    targets.filter_map(|path| Some(path.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

/// The inodes of sockets in a table of `/proc/net` that are in one of these states, in hexadecimal.
fn in_state(table: &str, states: &[&str]) -> HashSet<String> {
    // Without IPv6 there is no table for it.
    let text = fs::read_to_string(Path::new("/proc/net").join(table)).unwrap_or_default();
    let fields = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| states.contains(&fields[3])).map(|fields| fields[9].to_owned()).collect()
}

#[tokio::test]
async fn nothing_listens() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let target = targets::echo().await.unwrap();
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    gateway.within(stream.read_exact(&mut [0; 1])).await;
    let own = sockets(gateway.pid());
    let established: usize =
        ["tcp", "tcp6"].iter().map(|table| in_state(table, &["01"]).intersection(&own).count()).sum();
    assert!(established >= 2, "the link and the target are seen: {own:?}");
    for table in ["tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6"] {
        let states: &[&str] = if table.starts_with("tcp") { &["0A"] } else { &["01", "07"] };
        let open = in_state(table, states);
        assert!(own.is_disjoint(&open), "{table}");
    }
    drop(stream);
    gateway.stop().await;
}

/// SIGTERM: open tunnels may end, new ones are turned away, and the relay has its place back at once.
#[tokio::test]
async fn sigterm_drains() {
    let bed = Bed::start().await.unwrap();
    let target = targets::echo().await.unwrap();
    let mut gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();
    stream.write_all(b"before").await.unwrap();
    gateway.within(stream.read_exact(&mut [0; 6])).await;

    gateway.signal(Signal::Term).unwrap();
    gateway.says("waiting up to 10 s for 1 tunnels").await;
    assert!(bed.client().ping().await.is_err(), "a new tunnel was served");
    stream.write_all(b"still").await.unwrap();
    gateway.within(stream.read_exact(&mut [0; 5])).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    assert_eq!(gateway.wait(limit()).await.unwrap().code(), Some(0), "{:?}", gateway.log());
    bed.relay.wait(limit(), |counters| counters.gateways == 0).await.unwrap();

    // The place is free: the next one is not taken for a second connection.
    Gateway::served(&bed, &settings(&bed)).await.stop().await;
    assert_eq!(bed.relay.counters().duplicates, 0);
}

/// Ending while the one-time token is being exchanged waits for the answer: it is the only copy of the lasting token.
#[tokio::test]
async fn sigterm_during_the_enrolment_loses_nothing() {
    let bed = Bed::start().await.unwrap();
    let gate = bed.api.hold(Endpoint::Enroll);
    let mut gateway = Gateway::start(&enrolling(&bed));
    gateway.within(bed.api.wait(limit(), |seen| !seen.is_empty())).await;
    gateway.signal(Signal::Term).unwrap();
    gateway.says("waiting up to 10 s for the answer to the enrolment").await;
    gate.open();
    assert_eq!(gateway.wait(limit()).await.unwrap().code(), Some(0), "{:?}", gateway.log());
    Gateway::served(&bed, &settings(&bed)).await.stop().await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
}

/// SIGHUP with another policy: tunnels that come from then on obey it, and the link is not touched.
#[tokio::test]
async fn sighup_changes_the_policy() {
    let bed = Bed::start().await.unwrap();
    let target = targets::echo().await.unwrap();
    let config = with_file(&bed, enrolling(&bed), "EDGE_GATEWAY_DENY=192.0.2.1:*\n");
    let gateway = Gateway::served(&bed, &config).await;
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(gateway.within(stream.read(&mut [0; 1])).await, 1);

    with_file(&bed, config.clone(), "EDGE_GATEWAY_DENY=127.0.0.0/8:*\n");
    gateway.signal(Signal::Hup).unwrap();
    gateway.says("settings read again").await;
    let mut denied = bed.client().tcp(target.addr()).await.unwrap();
    assert_eq!(gateway.within(denied.read(&mut [0; 1])).await, 0);
    stream.write_all(b"x").await.unwrap();
    assert_eq!(gateway.within(stream.read(&mut [0; 1])).await, 1, "an open tunnel keeps what it began with");
    assert_eq!(bed.relay.counters().logins, 1);

    with_file(&bed, config, "EDGE_GATEWAY_DNEY=127.0.0.0/8:*\n");
    gateway.signal(Signal::Hup).unwrap();
    let line = gateway.says("the settings are not changed").await;
    assert!(line.contains("EDGE_GATEWAY_DENY"), "{line}");
    drop(stream);
    gateway.stop().await;
}

/// SIGHUP with other settings while a call is out: the call ends first, because it holds the state folder.
#[tokio::test]
async fn sighup_while_the_platform_is_silent() {
    let bed = Bed::start().await.unwrap();
    bed.api.fail_times(Endpoint::Heartbeat, 1, Fault::Silence);
    let config = with_file(&bed, enrolling(&bed), "EDGE_GATEWAY_MAX_TUNNELS=10\n");
    let gateway = Gateway::served(&bed, &config).await;
    gateway
        .within(bed.api.wait(limit(), |seen| seen.iter().any(|call| call.endpoint == Some(Endpoint::Heartbeat))))
        .await;
    with_file(&bed, config, "EDGE_GATEWAY_MAX_TUNNELS=11\n");
    gateway.signal(Signal::Hup).unwrap();
    gateway.says("starting over").await;
    gateway.within(bed.client().ping()).await;
    // The call breaks off.
    bed.api.restart().await.unwrap();
    gateway.within(bed.relay.wait(limit(), |counters| counters.logins == 2)).await;
    gateway.within(bed.api.wait_for(limit(), Endpoint::Heartbeat, 200)).await;
    gateway.stop().await;
}

/// A service manager's socket, and all that was said to it.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Waits for a message that starts so and has this in it.
    async fn hears(&mut self, start: &str, part: &str) {
        let mut buffer = [0; 1024];
        loop {
            let found = self.heard.iter().position(|message| message.starts_with(start) && message.contains(part));
            if let Some(found) = found {
                self.heard.drain(..=found);
                return;
            }
            let received = tokio::time::timeout(limit(), self.socket.recv(&mut buffer)).await;
            let count = received.unwrap_or_else(|_| panic!("no {start:?} among {:?}", self.heard)).unwrap();
            self.heard.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
    }
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let bed = Bed::start().await.unwrap();
    let path = bed.dir.path().join("notify");
    let mut manager = Manager { socket: UnixDatagram::bind(&path).unwrap(), heard: Vec::new() };
    bed.relay.kill().await;
    let config = enrolling(&bed).env("NOTIFY_SOCKET", path.display().to_string()).env("WATCHDOG_USEC", "200000");
    let gateway = Gateway::start(&config);
    manager.hears("READY=1\n", "STATUS=relay 127.0.0.1 is not connected").await;
    bed.relay.restart().await.unwrap();
    manager.hears("READY=1\n", "STATUS=connected to relay 127.0.0.1").await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1", "").await;
    }
    gateway.signal(Signal::Hup).unwrap();
    manager.hears("RELOADING=1\n", "MONOTONIC_USEC=").await;
    manager.hears("READY=1\n", "STATUS=settings read again").await;
    bed.relay.kill().await;
    manager.hears("STATUS=relay 127.0.0.1 is not connected", "").await;
    gateway.stop().await;
    manager.hears("STOPPING=1", "STATUS=stopping").await;
}

/// At the most talkative level, from the enrolment to the end: [`Gateway`] looks through the log when it is dropped.
#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed).env("EDGE_GATEWAY_LOG", "trace")).await;
    gateway.within(bed.api.wait_for(limit(), Endpoint::Heartbeat, 200)).await;
    bed.api.revoke_tokens();
    gateway.stop().await;
    let gateway = Gateway::served(&bed, &settings(&bed).env("EDGE_GATEWAY_LOG", "trace")).await;
    gateway.says("401").await;
    gateway.stop().await;
    if cfg!(feature = "doctor") {
        let doctor = Gateway::start(&enrolling(&bed).args(&["doctor"]));
        doctor.says("INFISICAL_TOKEN").await;
        doctor.output_ended().await;
    }
}

#[tokio::test]
async fn status_tells_from_outside() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let status = |code: i32| {
        let config = settings(&bed).args(&["status"]);
        async move {
            let mut agent = Gateway::start(&config);
            assert_eq!(agent.wait(limit()).await.unwrap().code(), Some(code));
            agent.output_ended().await;
            agent.log().join("\n")
        }
    };
    let text = status(0).await;
    assert!(text.contains("agent: running") && text.contains(&bed.gateway_id), "{text}");
    gateway.stop().await;
    let text = status(69).await;
    assert!(text.contains("agent: not running"), "{text}");
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() {
    let bed = Bed::start().await.unwrap();
    for (name, value, code, part) in [
        ("EDGE_GATEWAY_RELAY_PROT", "2222", 78, "did you mean EDGE_GATEWAY_RELAY_PORT?"),
        ("EDGE_GATEWAY_RELAY_PORT", "ssh", 78, "EDGE_GATEWAY_RELAY_PORT"),
        ("EDGE_GATEWAY_RELAY_PROXY", "proxy.lan:3128", 78, "http:// or socks5://"),
        ("INFISICAL_DOMAIN", "app.infisical.com", 78, "https://"),
        ("INFISICAL_AUTH_METHOD", "aws-iam", 78, "aws-iam"),
        ("EDGE_GATEWAY_CA_FILE", "/nowhere/ca.pem", 66, "/nowhere/ca.pem"),
        ("EDGE_GATEWAY_CONFIG", "/nowhere/edge.conf", 66, "/nowhere/edge.conf"),
        ("EDGE_GATEWAY_ALLOW", "10.0.0.0/33:*", 78, "EDGE_GATEWAY_ALLOW"),
    ] {
        let line = complaint(&settings(&bed).env(name, value), code).await;
        assert!(line.contains(part), "{name}={value}: {line}");
    }
    for (arguments, part) in [(&["rnu"][..], "there is no command"), (&["run", "--domian=x"], "did you mean --domain?")]
    {
        let line = complaint(&settings(&bed).args(arguments), 64).await;
        assert!(line.contains(part), "{line}");
    }
}
