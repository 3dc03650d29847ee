//! Relays that must not be trusted: each is refused within a second, by name.

mod support;

use std::time::{Duration, Instant};
use support::gateway::{Gateway, exit};
use support::keys::{Certificate, KeyPair, KeyType, Keys};
use support::{go_relay, sshd};

/// From the start of the gateway's process to its end.
const PROMPT: Duration = Duration::from_secs(1);

/// Refused for the reason that the words name, and with the user's credentials unspent.
fn refuses(gateway: Gateway, words: &[&str]) {
    let start = Instant::now();
    let refused = gateway.fails();
    let took = start.elapsed();
    assert_eq!(refused.code, Some(exit::NOPERM), "{refused:?}");
    for word in words {
        let said = refused.reason.to_lowercase();
        assert!(said.contains(&word.to_lowercase()), "{:?} does not name {word:?}", refused.reason);
    }
    assert!(took < PROMPT, "it took {took:?} to refuse: {}", refused.reason);
}

fn refuses_relay(plan: go_relay::Plan, words: &[&str]) {
    let Some(relay) = plan.start() else { return };
    refuses(relay.gateway(), words);
    relay.event("refused");
    assert_eq!(relay.count("login"), 0, "logged in to a relay that it did not trust");
}

#[test]
fn raw_host_key() {
    refuses_relay(go_relay::Plan::new().raw_host_key(), &["raw host key"]);
}

#[test]
fn raw_host_key_of_an_ordinary_server() {
    let Some(sshd) = sshd::Plan::new().uncertified().start() else { return };
    refuses(sshd.gateway(), &["raw host key"]);
}

#[test]
fn certificate_from_another_ca() {
    for kind in KeyType::ALL {
        let keys = Keys { stranger_ca: KeyPair::of("stranger-ca", kind), ..Keys::of(KeyType::Rsa2048) };
        let plan = go_relay::Plan::with_keys(keys);
        refuses_relay(
            plan.certificate(|certificate, keys| certificate.ca = keys.stranger_ca.clone()),
            &["not signed by"],
        );
    }
}

#[test]
fn certificate_from_another_ca_of_an_ordinary_server() {
    let Some(sshd) = sshd::Plan::new().stranger().start() else { return };
    refuses(sshd.gateway(), &["not signed by"]);
}

#[test]
fn user_certificate_where_a_host_certificate_belongs() {
    refuses_relay(go_relay::Plan::new().certificate(|certificate, _| certificate.host = false), &["user certificate"]);
}

#[test]
fn expired_certificate() {
    refuses_relay(go_relay::Plan::new().certificate(|certificate, _| certificate.validity = "-2d:-1d"), &["expired"]);
}

#[test]
fn certificate_that_is_not_yet_valid() {
    refuses_relay(
        go_relay::Plan::new().certificate(|certificate, _| certificate.validity = "+1d:+2d"),
        &["not yet valid"],
    );
}

#[test]
fn certificate_for_another_principal() {
    let alterations: [fn(&mut Certificate, &Keys); 3] = [
        |certificate, _| certificate.principals = certificate.principals.replace("127.0.0.1", "relay.example.com"),
        |certificate, _| certificate.principals = "127.0.0.1:1".to_owned(),
        // A certificate for a longer name is not one for its beginning.
        |certificate, _| certificate.principals.push('0'),
    ];
    for alter in alterations {
        refuses_relay(go_relay::Plan::new().certificate(alter), &["principal", "127.0.0.1"]);
    }
}

#[test]
fn certificate_for_nobody_in_particular() {
    // OpenSSH once took a list without entries for one that holds everybody.
    refuses_relay(go_relay::Plan::new().certificate(|certificate, _| certificate.principals.clear()), &["principal"]);
}

#[test]
fn unknown_critical_option() {
    refuses_relay(
        go_relay::Plan::new()
            .certificate(|certificate, _| certificate.options.push("critical:verify-moon@example.com=full")),
        &["critical option", "verify-moon@example.com"],
    );
}

#[test]
fn sha1_signature_of_the_ca() {
    refuses_relay(
        go_relay::Plan::new().certificate(|certificate, _| certificate.signature = Some("ssh-rsa")),
        &["SHA-1"],
    );
}

#[test]
fn sha1_signature_of_the_key_exchange() {
    refuses_relay(go_relay::Plan::new().flag("-sign-sha1"), &["SHA-1"]);
}

#[test]
fn relay_that_has_only_sha1() {
    let Some(relay) = go_relay::Plan::new().flag("-host-algorithms=ssh-rsa").start() else { return };
    let refused = relay.gateway().fails();
    assert_eq!(refused.code, Some(exit::PROTOCOL), "{refused:?}");
    assert!(refused.reason.contains("ssh-rsa-cert-v01@openssh.com"), "{refused:?}");
}

#[test]
fn pinned_key_of_another_server() {
    let Some(sshd) = sshd::Plan::new().uncertified().start() else { return };
    let pinned = KeyPair::of("stranger-ca", KeyType::Rsa2048).public();
    refuses(sshd.gateway_on("127.0.0.1:0").with("--host-key", pinned), &["host key"]);
}
