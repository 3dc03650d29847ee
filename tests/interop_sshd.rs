//! `relay_echo` against OpenSSH's own server, which reaches it through remote forwarding (`ssh -R`).

mod support;

use std::thread;
use support::gateway::{exit, failure};
use support::keys::{KeyPair, KeyType, Keys};
use support::sshd::{Plan, wait_for_log};
use support::traffic::{connect, echo, round_trip};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_forwarded_port_echoes() {
    let Some(sshd) = Plan::new().start() else { return };
    let (_gateway, forward) = sshd.log_in(sshd.gateway());
    echo(&connect(forward), 1, MIB);
}

#[test]
fn four_channels_at_once_are_byte_exact_while_keys_are_exchanged() {
    let Some(sshd) = Plan::new().setting("RekeyLimit 1M").setting("LogLevel DEBUG1").start() else { return };
    let (_gateway, forward) = sshd.log_in(sshd.gateway());
    thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || echo(&connect(forward), seed, 2 * MIB));
        }
    });
    wait_for_log(&sshd.session(), "SSH2_MSG_NEWKEYS received", 4);
}

#[test]
fn the_gateway_exchanges_keys_by_its_own_count() {
    let Some(sshd) = Plan::new().setting("LogLevel DEBUG1").start() else { return };
    let (_gateway, forward) = sshd.log_in(sshd.gateway().with("--rekey-bytes", "65536"));
    echo(&connect(forward), 1, MIB);
    // Fewer than 16: what is in flight while keys are exchanged counts too.
    wait_for_log(&sshd.session(), "SSH2_MSG_NEWKEYS received", 4);
}

/// Every cipher with a key exchange, with key changes in the middle of the traffic.
fn ciphers_with(kex: &str) {
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"] {
        let plan = Plan::new().setting(&format!("KexAlgorithms {kex}")).setting(&format!("Ciphers {cipher}"));
        let Some(sshd) = plan.setting("RekeyLimit 128K").start() else { return };
        let (_gateway, forward) = sshd.log_in(sshd.gateway());
        echo(&connect(forward), 1, MIB / 2);
    }
}

#[cfg(feature = "pq")]
#[test]
fn ciphers_with_mlkem768x25519() {
    let kex = "mlkem768x25519-sha256";
    if support::tools::installed(&["ssh"]) && support::sshd::has_kex(kex) {
        ciphers_with(kex);
    }
}

#[test]
fn ciphers_with_curve25519() {
    ciphers_with("curve25519-sha256");
}

#[test]
fn ciphers_with_curve25519_by_its_old_name() {
    ciphers_with("curve25519-sha256@libssh.org");
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
fn servers_and_users_may_have_keys_of_any_type() {
    for kind in KeyType::ALL {
        let keys = Keys::of(KeyType::Rsa2048);
        let host = Keys { host: KeyPair::of("host", kind), host_ca: KeyPair::of("host-ca", kind), ..keys.clone() };
        let user = Keys { user: KeyPair::of("user", kind), user_ca: KeyPair::of("user-ca", kind), ..keys };
        for keys in [host, user] {
            let Some(sshd) = Plan::with_keys(keys).start() else { return };
            let (_gateway, forward) = sshd.log_in(sshd.gateway());
            echo(&connect(forward), 1, 1000);
        }
    }
}

#[test]
fn a_pinned_host_key_stands_in_for_a_certificate() {
    for kind in KeyType::ALL {
        let keys = Keys { host: KeyPair::of("host", kind), ..Keys::of(KeyType::Rsa2048) };
        let Some(sshd) = Plan::with_keys(keys).uncertified().start() else { return };
        let gateway = sshd.gateway_on("127.0.0.1:0").with("--host-key", sshd.keys.host.public());
        let (_gateway, forward) = sshd.log_in(gateway);
        echo(&connect(forward), 1, 1000);
    }
}

#[test]
fn a_server_that_forwards_nothing_says_so() {
    let Some(sshd) = Plan::new().setting("DisableForwarding yes").start() else { return };
    let refused = sshd.gateway().fails();
    assert_ne!(refused.code, Some(0));
    assert!(refused.reason.contains("forward"), "{refused:?}");
}

#[test]
fn the_servers_keepalives_are_answered() {
    // A client that leaves one question unanswered is dropped. What it answers is logged as a received packet.
    let plan = Plan::new().setting("ClientAliveInterval 1").setting("ClientAliveCountMax 1").setting("LogLevel DEBUG3");
    let Some(sshd) = plan.start() else { return };
    let (_gateway, forward) = sshd.log_in(sshd.gateway());
    // RFC 4254 section 4: 82 is SSH_MSG_REQUEST_FAILURE.
    wait_for_log(&sshd.session(), "receive packet: type 82", 1);
    let client = connect(forward);
    round_trip(&client, 1);
    // While a channel is open the server asks on it; section 5.4: 100 is SSH_MSG_CHANNEL_FAILURE.
    wait_for_log(&sshd.session(), "receive packet: type 100", 1);
    round_trip(&client, 1);
}

#[test]
fn a_server_that_is_killed_is_noticed_at_once() {
    let Some(sshd) = Plan::new().start() else { return };
    let (gateway, _forward) = sshd.log_in(sshd.gateway());
    sshd.session().signal_group("KILL");
    let lost = failure(gateway);
    assert_eq!(lost.code, Some(exit::UNAVAILABLE), "{lost:?}");
}
