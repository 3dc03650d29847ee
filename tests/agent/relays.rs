//! Relays that come and go, and such that are not what they should be.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testbed::agent::Signal;
use testbed::api::{Endpoint, Recorded};
use testbed::bed::{Bed, RELAY_NAME};
use testbed::certs::{CertSpec, KeyKind, SshFactory, Validity};
use testbed::relay::HostKey;
use testbed::targets::{self, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{Gateway, enrolling, is_native, limit, settings, with_file};

#[tokio::test]
async fn a_relay_that_restarts_is_served_again_within_three_seconds() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    bed.relay.kill().await;
    gateway.says("trying again").await;
    bed.relay.restart().await.unwrap();
    let back = Instant::now();
    gateway.is_served(&bed).await;
    let took = back.elapsed();
    // An emulated agent takes its time for the cryptography.
    assert!(took < Duration::from_secs(3) || !is_native(), "{took:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_relay_and_a_platform_that_restart_together() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    bed.relay.kill().await;
    bed.api.kill().await;
    gateway.says("trying again").await;
    bed.relay.restart().await.unwrap();
    gateway.is_served(&bed).await;
    gateway.stop().await;
}

/// The relay in the settings is another one: SIGHUP is enough.
#[tokio::test]
async fn a_switch_to_another_relay() {
    let bed = Bed::start().await.unwrap();
    let second = bed.add_relay("second", Ipv4Addr::new(127, 0, 0, 2)).await.unwrap();
    let config = enrolling(&bed).without_env("INFISICAL_RELAY_NAME");
    let config = with_file(&bed, config, &format!("INFISICAL_RELAY_NAME={RELAY_NAME}\n"));
    let gateway = Gateway::served(&bed, &config).await;
    with_file(&bed, config, "INFISICAL_RELAY_NAME=second\n");
    gateway.signal(Signal::Hup).unwrap();
    gateway.says("starting over").await;
    gateway.within(second.wait_for_gateway(&bed.gateway_id, limit())).await;
    gateway.within(bed.relay.wait(limit(), |counters| counters.gateways == 0)).await;
    gateway.stop().await;
}

/// Without a name: not the one that the platform has not heard of, nor the operator's when the organization has its own.
#[tokio::test]
async fn a_relay_is_chosen_among_those_that_live() {
    let bed = Bed::start().await.unwrap();
    bed.add_relay("operators", Ipv4Addr::new(127, 0, 0, 3)).await.unwrap();
    let own = bed.add_relay("own", Ipv4Addr::new(127, 0, 0, 4)).await.unwrap();
    bed.api.change_relays(|relays| {
        relays[0].heartbeat_age = None;
        relays[1].of_organization = false;
    });
    let gateway = Gateway::start(&enrolling(&bed).without_env("INFISICAL_RELAY_NAME"));
    gateway.within(own.wait_for_gateway(&bed.gateway_id, limit())).await;
    let connect = bed.api.requests().into_iter().find(|call| call.endpoint == Some(Endpoint::Connect)).unwrap();
    assert_eq!(connect.json()["relayName"], "own");
    gateway.stop().await;
}

/// A power cut leaves the relay with a connection that is dead and that it does not know to be.
#[tokio::test]
async fn a_relay_that_still_holds_the_old_connection() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    bed.relay.freeze(&bed.gateway_id);
    drop(gateway);
    let gateway = Gateway::start(&settings(&bed));
    gateway.says("still holds an older connection").await;
    assert!(bed.relay.counters().duplicates > 0);
    bed.relay.cut(&bed.gateway_id);
    gateway.within(bed.relay.wait(limit(), |counters| counters.gateways == 0)).await;
    gateway.is_served(&bed).await;
    gateway.stop().await;
}

#[tokio::test]
async fn something_else_in_the_relays_place() {
    let bed = Bed::start().await.unwrap();
    bed.relay.kill().await;
    let answers = [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-1.5-old\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b""];
    for answer in answers {
        let other = Target::serve_at(bed.relay.ssh_addr(), move |mut stream| async move {
            // A client that hangs up first has seen enough.
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        })
        .await
        .unwrap();
        let gateway = Gateway::start(&enrolling(&bed));
        let line = gateway.says("trying again").await;
        assert!(line.contains(&format!("relay {}", bed.relay.ssh_addr())), "{line}");
        drop(gateway);
        other.stop().await;
    }
    bed.relay.restart().await.unwrap();
    let gateway = Gateway::served(&bed, &settings(&bed)).await;
    gateway.stop().await;
}

/// A relay that can't prove to be the platform's: never logged in to, and the platform is asked whether its authority changed.
async fn refused(host_key: HostKey, why: &str) {
    let bed = Bed::builder().relay(|config| config.host_key = host_key).start().await.unwrap();
    let gateway = Gateway::start(&enrolling(&bed));
    let line = gateway.says("asking the platform for new certificates").await;
    assert!(line.starts_with("error: ") && line.contains(why), "{line}");
    let connects = |seen: &[Recorded]| seen.iter().filter(|call| call.endpoint == Some(Endpoint::Connect)).count();
    gateway.within(bed.api.wait(limit(), |seen| connects(seen) > 1)).await;
    assert_eq!(bed.relay.counters().logins, 0);
    gateway.stop().await;
}

fn shaped(shape: impl Fn(CertSpec) -> CertSpec + Send + Sync + 'static) -> HostKey {
    HostKey::Shaped(Arc::new(shape))
}

#[tokio::test]
async fn a_relay_with_a_raw_key() {
    refused(HostKey::Raw, "raw host key").await;
}

#[tokio::test]
async fn a_relay_of_another_authority() {
    let stranger = SshFactory::stranger();
    refused(shaped(move |spec| spec.signed_by(&stranger)), "host certificate").await;
}

#[tokio::test]
async fn a_relay_with_an_expired_certificate() {
    refused(shaped(|spec| spec.valid(Validity::past())), "expired").await;
}

#[tokio::test]
async fn a_relay_with_another_relays_certificate() {
    refused(shaped(|spec| spec.principals(&["relay.example:2222"])), "relay.example").await;
}

/// The platform's certificates name port 2222 or none, whichever port leads to the relay.
#[tokio::test]
async fn a_relay_whose_certificate_has_its_bare_name_or_the_standard_port() {
    for principal in ["127.0.0.1", "127.0.0.1:2222"] {
        let bed = Bed::builder();
        let bed = bed.relay(|config| config.host_key = shaped(move |spec| spec.principals(&[principal])));
        let bed = bed.start().await.unwrap();
        Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    }
}

#[tokio::test]
async fn other_kinds_of_keys() {
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let bed = Bed::builder().keys(kind).start().await.unwrap();
        Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    }
}

/// A tunnel that waits for its target when the link ends keeps its own place and no other's.
#[tokio::test]
async fn a_stalled_tunnel_does_not_fill_the_next_link() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed).env("EDGE_GATEWAY_MAX_TUNNELS", "3")).await;
    let target = targets::stalling().await.unwrap();
    let mut stalled = bed.client().tcp(target.addr()).await.unwrap();
    let idle = bed.client().tcp(target.addr()).await.unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let writer = tokio::spawn(async move {
        while let Ok(count) = stalled.write(&[0; 4096]).await {
            counted.fetch_add(count, Ordering::Relaxed);
        }
    });
    // The third place is for a ping, which paces this: nothing more is taken when nothing was while it went to and fro.
    let mut before = 0;
    while before == 0 || before != written.load(Ordering::Relaxed) {
        assert!(!writer.is_finished(), "the tunnel broke before it stalled");
        before = written.load(Ordering::Relaxed);
        gateway.within(bed.client().ping()).await;
    }
    bed.relay.cut(&bed.gateway_id);
    gateway.says("trying again").await;
    gateway.within(bed.wait_for_gateway(limit())).await;
    // Two at once: the idle one's place is free.
    let one = bed.client().tcp(target.addr()).await.unwrap();
    gateway.within(bed.client().ping()).await;
    drop((one, idle));
    writer.abort();
    gateway.kill(&bed).await;
}

/// A proxy that speaks just enough: it reads a request of this length, answers, and leads to `to`.
async fn proxy(to: SocketAddr, dialogue: &'static [(usize, &'static [u8])]) -> Target {
    Target::serve(move |mut stream| async move {
        for (length, answer) in dialogue {
            // A client that hangs up has nothing more to hear.
            if stream.read_exact(&mut vec![0; *length]).await.is_err() || stream.write_all(answer).await.is_err() {
                return;
            }
        }
        if let Ok(mut relay) = TcpStream::connect(to).await {
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut relay).await;
        }
    })
    .await
    .unwrap()
}

/// The box has no other way out than a proxy.
#[tokio::test]
async fn a_relay_behind_a_proxy() {
    // What the agent asks for, `127.0.0.1:PORT`, has five digits of port on every machine that gives out ephemeral ports.
    const CONNECT: usize = "CONNECT 127.0.0.1:12345 HTTP/1.1\r\nHost: 127.0.0.1:12345\r\n\r\n".len();
    let bed = Bed::start().await.unwrap();
    let to = bed.relay.ssh_addr();
    let http = proxy(to, &[(CONNECT, b"HTTP/1.1 200 OK\r\n\r\n")]).await;
    let socks = proxy(to, &[(3, b"\x05\0"), (10, b"\x05\0\0\x01\0\0\0\0\0\0")]).await;
    let refusing = proxy(to, &[(CONNECT, b"HTTP/1.1 403 Forbidden\r\n\r\n")]).await;
    for (scheme, target) in [("http", &http), ("socks5", &socks)] {
        let through = format!("{scheme}://{}", target.addr());
        let gateway = Gateway::served(&bed, &enrolling(&bed).env("EDGE_GATEWAY_RELAY_PROXY", through)).await;
        assert_eq!(target.accepted(), 1);
        gateway.stop().await;
    }
    let through = format!("http://{}", refusing.addr());
    let gateway = Gateway::start(&enrolling(&bed).env("EDGE_GATEWAY_RELAY_PROXY", through));
    let line = gateway.says("it answered \"HTTP/1.1 403 Forbidden\"").await;
    assert!(line.contains(&refusing.addr().to_string()) && line.contains("trying again"), "{line}");
    gateway.stop().await;
}

/// The relay's name does not resolve: that may pass, and it is said which name.
#[tokio::test]
async fn a_relay_whose_name_does_not_resolve() {
    let bed = Bed::start().await.unwrap();
    bed.api.change_relays(|relays| relays[0].host = "relay.invalid".to_owned());
    let gateway = Gateway::start(&enrolling(&bed));
    let line = gateway.says("relay relay.invalid").await;
    let line = if line.contains("trying again") { line } else { gateway.says("trying again").await };
    assert!(line.contains("relay.invalid"), "{line}");
    gateway.stop().await;
}
