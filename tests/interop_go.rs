//! `relay_echo` against a relay on golang.org/x/crypto/ssh, the library of the platform's own relay.
//!
//! The amount of traffic follows the environment: `RELAY_ECHO_MIB` is the total of the bulk test, in MiB.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;
use support::gateway::{exit, failure};
use support::go_relay::Plan;
use support::keys::{Certificate, KeyPair, KeyType, Keys};
use support::traffic::{echo, finish, push, reset, round_trip, transfer};
use support::{DEADLINE, GATEWAY_ID};

const MIB: u64 = 1024 * 1024;

/// Starts the planned relay and logs a gateway in, or skips the test that asks.
macro_rules! connected {
    ($plan:expr) => {{
        let Some(relay) = $plan.start() else { return };
        let gateway = relay.log_in(relay.gateway());
        (relay, gateway)
    }};
}

#[test]
fn echoes_on_a_channel_without_payload() {
    let (relay, _gateway) = connected!(Plan::new());
    let login = relay.event("login");
    assert_eq!(login["user"], GATEWAY_ID);
    assert_eq!(login["signature"], "rsa-sha2-512-cert-v01@openssh.com", "the user's RSA signature");
    assert_eq!(login["host-key"], "rsa-sha2-512-cert-v01@openssh.com");
    echo(&relay.client(), 1, MIB);
    let closed = relay.event("channel-closed");
    assert_eq!((closed["up"].as_u64(), closed["down"].as_u64()), (Some(MIB), Some(MIB)));
}

#[test]
fn echoes_on_a_channel_with_the_payload_of_rfc_4254() {
    let (relay, _gateway) = connected!(Plan::new().flag("-payload=fields"));
    echo(&relay.client(), 1, MIB);
}

#[test]
fn a_banner_before_authentication_is_no_obstacle() {
    let (relay, _gateway) = connected!(Plan::new().flag("-banner=Authorised use only.\r\n"));
    echo(&relay.client(), 1, 1000);
}

/// The default is small, for debug builds. With `RELAY_ECHO_MIB=1024` in a release build it is 1 GiB.
#[test]
fn eight_channels_at_once_are_byte_exact_while_keys_are_exchanged() {
    let total = std::env::var("RELAY_ECHO_MIB").map_or(32, |text| text.parse().expect("RELAY_ECHO_MIB: a number"));
    // In the small run too, keys have to change several times.
    let rekey = (total * MIB / 8).min(16 * MIB);
    let (relay, _gateway) = connected!(Plan::new().flag(format!("-rekey={rekey}")));
    let before = relay.count("key-exchange");
    let clients: Vec<_> = (0..8).map(|_| relay.client()).collect();
    thread::scope(|scope| {
        for (seed, client) in (1..).zip(&clients) {
            scope.spawn(move || transfer(client, seed, total * MIB / 8));
        }
    });
    // Not before all are done: x/crypto's reader waits for its writer when a channel is closed while 64 packets await the
    // other side's KEXINIT, which only the reader can take in (seen with v0.47 at both ends; v0.58 is no different).
    clients.iter().for_each(finish);
    let exchanges = relay.count("key-exchange") - before;
    assert!(exchanges as u64 >= total * MIB / rekey / 2, "only {exchanges} key exchanges in {total} MiB");
}

#[test]
fn the_gateway_exchanges_keys_by_its_own_count() {
    let Some(relay) = Plan::new().start() else { return };
    let _gateway = relay.log_in(relay.gateway().with("--rekey-bytes", "65536"));
    echo(&relay.client(), 1, MIB);
    let exchanges = relay.count("key-exchange");
    // Fewer than 16: what is in flight while keys are exchanged counts too.
    assert!(exchanges >= 4, "{exchanges} key exchanges, and the gateway was to ask for one every 64 KiB of 1 MiB");
}

#[test]
fn both_sides_may_ask_for_a_key_exchange_at_once() {
    let Some(relay) = Plan::new().flag("-rekey=65536").start() else { return };
    let _gateway = relay.log_in(relay.gateway().with("--rekey-bytes", "65536"));
    echo(&relay.client(), 1, MIB);
}

/// Every cipher with a key exchange, with key changes in the middle of the traffic.
fn ciphers_with(kex: &str) {
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"] {
        let plan = Plan::new().flag(format!("-kex={kex}")).flag(format!("-ciphers={cipher}")).flag("-rekey=65536");
        let (relay, _gateway) = connected!(plan);
        let login = relay.event("login");
        assert_eq!(login["cipher"], cipher);
        assert!(login["kex"].as_str().is_some_and(|name| name.starts_with(kex)), "{login}");
        echo(&relay.client(), 1, MIB / 2);
    }
}

#[cfg(feature = "pq")]
#[test]
fn ciphers_with_mlkem768x25519() {
    ciphers_with("mlkem768x25519-sha256");
}

#[test]
fn ciphers_with_curve25519() {
    ciphers_with("curve25519-sha256");
}

#[test]
fn ciphers_with_ecdh_p256() {
    ciphers_with("ecdh-sha2-nistp256");
}

#[test]
fn ciphers_with_ecdh_p384() {
    ciphers_with("ecdh-sha2-nistp384");
}

#[test]
fn relays_and_gateways_may_have_keys_of_any_type() {
    for kind in KeyType::ALL {
        // Each party in turn, so that one type that fails is told from the others.
        let keys = Keys::of(KeyType::Rsa2048);
        let host = Keys { host: KeyPair::of("host", kind), ..keys.clone() };
        let host_ca = Keys { host_ca: KeyPair::of("host-ca", kind), ..keys.clone() };
        let user = Keys { user: KeyPair::of("user", kind), user_ca: KeyPair::of("user-ca", kind), ..keys };
        for keys in [host, host_ca, user] {
            let (relay, _gateway) = connected!(Plan::with_keys(keys));
            echo(&relay.client(), 1, 1000);
        }
    }
}

#[test]
fn a_relay_may_sign_with_rsa_sha2_256_only() {
    let (relay, _gateway) = connected!(Plan::new().flag("-host-algorithms=rsa-sha2-256"));
    assert_eq!(relay.event("login")["host-key"], "rsa-sha2-256-cert-v01@openssh.com");
}

#[test]
fn a_certificate_for_the_bare_host_is_good_too() {
    let (_relay, _gateway) =
        connected!(Plan::new().certificate(|certificate, _| certificate.principals = "127.0.0.1".to_owned()));
}

#[test]
fn a_stalled_channel_costs_nothing_but_its_own_window() {
    let Some(relay) = Plan::new().start() else { return };
    // Keepalives that stay away for 200 ms end the connection.
    let gateway = relay.log_in(relay.gateway().with("--keepalive-ms", "400"));
    let others: Vec<_> = (0..3).map(|_| relay.client()).collect();
    for (seed, other) in (1..).zip(&others) {
        round_trip(other, seed);
    }
    let before = gateway.resident_kib();
    let stalled = relay.client();
    let mut trips = thread::scope(|scope| {
        let pusher = scope.spawn(|| push(&stalled, PUSHED_LIMIT, Duration::from_secs(1)));
        let mut trips = Vec::new();
        while trips.len() < 100 || !pusher.is_finished() {
            trips.extend((1..).zip(&others).map(|(seed, other)| round_trip(other, seed)));
        }
        let pushed = pusher.join().expect("the pusher");
        assert!(pushed < PUSHED_LIMIT, "{pushed} bytes went into a channel that nobody reads");
        trips
    });
    trips.sort();
    let slow = trips[trips.len() * 99 / 100];
    assert!(slow < Duration::from_millis(50), "one round trip in 100 took {slow:?} or more beside a stalled channel");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown <= GROWTH_KIB, "{grown} KiB more resident with one stalled channel");
    // Idle but for the stall, it outlives several keepalive periods.
    relay.events("global-request", relay.count("global-request") + 5);
    round_trip(&others[0], 1);
}

/// Bytes that never all fit into the buffers between a client and a stalled channel.
const PUSHED_LIMIT: u64 = 64 * MIB;

/// One channel's buffers, and slack for the allocator and for pages of code that are touched for the first time.
const GROWTH_KIB: u64 = 256;

#[test]
fn an_idle_link_is_kept_alive() {
    let Some(relay) = Plan::new().start() else { return };
    let _gateway = relay.log_in(relay.gateway().with("--keepalive-ms", "200"));
    let requests = relay.events("global-request", 10);
    for request in requests {
        assert_eq!(request["type"], "keepalive@openssh.com");
        assert_eq!(request["want-reply"], true);
    }
    echo(&relay.client(), 1, 1000);
}

#[test]
fn a_relay_that_falls_silent_is_given_up() {
    let Some(relay) = Plan::new().start() else { return };
    let gateway = relay.log_in(relay.gateway().with("--keepalive-ms", "200"));
    relay.signal("STOP");
    let lost = failure(gateway);
    assert_eq!(lost.code, Some(exit::UNAVAILABLE), "{lost:?}");
}

#[test]
fn a_second_login_while_the_first_lives_is_turned_away() {
    let (relay, _gateway) = connected!(Plan::new());
    let turned_away = relay.gateway().fails();
    relay.event("duplicate");
    assert_eq!(turned_away.code, Some(exit::UNAVAILABLE), "{turned_away:?}");
    echo(&relay.client(), 1, 1000);
}

#[test]
fn sigterm_sends_disconnect_and_frees_the_place() {
    let (relay, mut gateway) = connected!(Plan::new());
    gateway.signal("TERM");
    let status = gateway.exit();
    assert!(status.success(), "{status}");
    let reason = relay.event("logout")["error"].to_string();
    // RFC 4253 section 11.1: 11 is SSH_DISCONNECT_BY_APPLICATION.
    assert!(reason.contains("disconnect, reason 11"), "{reason}");
    let _next = relay.gateway().ready();
    assert_eq!(relay.events("login", 2).len(), 2);
}

#[test]
fn a_client_may_stop_sending_and_still_receive() {
    let (relay, _gateway) = connected!(Plan::new());
    let mut client = relay.client();
    client.write_all(b"the end comes with this").expect("room");
    client.shutdown(Shutdown::Write).expect("a half close");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the echo, then the end");
    assert_eq!(answer, "the end comes with this");
    relay.event("channel-closed");
}

#[test]
fn a_channel_may_end_before_it_carried_anything() {
    let (relay, _gateway) = connected!(Plan::new());
    let client = relay.client();
    finish(&client);
    relay.event("channel-closed");
}

#[test]
fn a_client_that_vanishes_ends_its_channel_only() {
    let (relay, _gateway) = connected!(Plan::new());
    let steady = relay.client();
    round_trip(&steady, 1);
    let vanishing = relay.client();
    round_trip(&vanishing, 2);
    reset(vanishing);
    relay.event("channel-closed");
    round_trip(&steady, 1);
}

#[test]
fn a_channel_that_is_not_read_can_be_closed() {
    let (relay, _gateway) = connected!(Plan::new());
    let vanishing = relay.client();
    push(&vanishing, 1, DEADLINE);
    relay.event("channel-open");
    reset(vanishing);
    // RFC 4254 section 5.3: the relay's CLOSE is answered, whatever the gateway has left unread.
    relay.event("channel-closed");
    echo(&relay.client(), 1, 1000);
}

#[test]
fn many_short_channels_leave_nothing_behind() {
    let (relay, gateway) = connected!(Plan::new());
    let channels = |count: u64| (0..count).for_each(|seed| echo(&relay.client(), seed, 100));
    channels(50);
    let before = gateway.resident_kib();
    channels(200);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown <= 128, "{grown} KiB more resident after 200 channels");
}

#[test]
fn all_else_that_a_relay_may_ask_for_is_refused() {
    let (relay, _gateway) = connected!(Plan::new().flag("-probe"));
    relay.event("probed");
    let answers = relay.events("probe", 11);
    for answer in &answers {
        assert_eq!(answer["accepted"], false, "{answer}");
    }
    // RFC 4254 section 5.1: 3 is SSH_OPEN_UNKNOWN_CHANNEL_TYPE.
    for answer in answers.iter().filter(|answer| answer["of"] == "channel" && answer["type"] != "forwarded-tcpip") {
        assert_eq!(answer["reason"], 3, "{answer}");
    }
    echo(&relay.client(), 1, 1000);
}

#[test]
fn a_user_that_the_relay_refuses_is_told_so() {
    let Some(relay) = Plan::new().start() else { return };
    let stranger = Certificate::user(&relay.keys.stranger_ca, GATEWAY_ID);
    let another = Certificate::user(&relay.keys.user_ca, "another-gateway");
    for certificate in [stranger, another] {
        let refused = relay.gateway_with(certificate).fails();
        assert_eq!(refused.code, Some(exit::NOPERM), "{refused:?}");
        assert!(refused.reason.contains("refused"), "{refused:?}");
    }
    assert_eq!(relay.count("login"), 0);
}

#[test]
fn a_relay_that_is_killed_is_noticed_at_once() {
    let (relay, gateway) = connected!(Plan::new());
    relay.signal("KILL");
    let lost = failure(gateway);
    assert_eq!(lost.code, Some(exit::UNAVAILABLE), "{lost:?}");
}
