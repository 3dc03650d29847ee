//! The SSH certificates as OpenSSH reads them.

mod common;

use std::process::Output;

use common::tool;
use testbed::certs::{KeyKind, SshCredential, SshFactory};
use testbed::dir::TempDir;

/// What `ssh-keygen -L` says of a certificate, or `None` without OpenSSH.
fn describe(credential: &SshCredential) -> Option<String> {
    let dir = TempDir::new().unwrap();
    let file = dir.write("cert.pub", credential.certificate_line()).unwrap();
    let output = tool("ssh-keygen", &["-L", "-f"], &[&file])?;
    Some(stdout(output))
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_says(text: &str, wanted: &[&str]) {
    // The layout is for people; the words are what counts.
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    for line in wanted {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn host_certificate_has_the_platforms_shape() {
    let factory = SshFactory::new();
    let Some(text) = describe(&factory.host("192.0.2.7:2222").issue()) else {
        return;
    };
    assert_says(
        &text,
        &[
            "Type: ssh-rsa-cert-v01@openssh.com host certificate",
            "(using rsa-sha2-512)",
            "Key ID: \"relay-server\"",
            "Principals: 192.0.2.7:2222 Critical Options: (none)",
        ],
    );
}

#[test]
fn user_certificate_has_the_platforms_shape() {
    let factory = SshFactory::new();
    let Some(text) = describe(&factory.user("eu-1", "a-gateway-id", "branch").issue()) else {
        return;
    };
    assert_says(
        &text,
        &[
            "Type: ssh-rsa-cert-v01@openssh.com user certificate",
            "(using rsa-sha2-512)",
            "Key ID: \"client-eu-1\"",
            "Principals: a-gateway-id branch Critical Options: (none)",
        ],
    );
}

#[test]
fn wrong_shapes_are_what_they_say() {
    let factory = SshFactory::new();
    let host = || factory.host("h:1");
    for (spec, wanted) in [
        (host().signed_with_sha1(), "(using ssh-rsa)"),
        (host().signed_with_sha256(), "(using rsa-sha2-256)"),
        (host().critical_option("verify-required", ""), "Critical Options: verify-required Extensions"),
        (host().principals(&[]), "Principals: (none)"),
    ] {
        let Some(text) = describe(&spec.issue()) else {
            return;
        };
        assert_says(&text, &[wanted]);
    }
}

#[test]
fn private_key_matches_the_certificate_in_every_kind() {
    for kind in [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let credential = SshFactory::with_kind(kind).host("h:1").issue();
        let dir = TempDir::new().unwrap();
        let private = dir.write("key", &credential.private_key_pem()).unwrap();
        let Some(output) = tool("ssh-keygen", &["-y", "-f"], &[&private]) else {
            return;
        };
        let public = stdout(output);
        assert_eq!(public.trim_end(), credential.public_key_line(), "{kind:?}");
        let certified = russh::keys::PublicKey::new(credential.certificate().public_key().clone(), "");
        assert_eq!(certified.to_openssh().unwrap(), credential.public_key_line(), "{kind:?}");
    }
}

#[test]
fn strangers_share_no_key() {
    let (ours, theirs) = (SshFactory::new(), SshFactory::stranger());
    assert_ne!(ours.host_ca_line(), theirs.host_ca_line());
    assert_ne!(ours.user_ca(), theirs.user_ca());
    assert_eq!(ours.host_ca_line(), SshFactory::new().host_ca_line());
}
