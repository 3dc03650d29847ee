//! Everything that is parsed as a whole: messages, keys, certificates, signatures, and what they are compared with.
//!
//! Input: a byte that chooses the parser, then what is to be parsed.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use edge_gateway::limits::ssh::PEER_TEXT_MAX;
use edge_gateway::ssh::auth::ServerSigAlgs;
use edge_gateway::ssh::cert::{Authority, Certificate, UserCertificate};
use edge_gateway::ssh::error::PeerText;
use edge_gateway::ssh::key::{KeyType, PublicKey, SignatureAlgorithm};
use edge_gateway::ssh::msg::{self, KexInit, Message};
use edge_gateway::ssh::negotiate::{Offer, negotiate};
use edge_gateway::ssh::private_key::PrivateKey;
use edge_gateway_fuzz::{Script, parser, trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(choice) = script.byte() else { return };
    match choice % parser::COUNT {
        parser::MESSAGE => message(script.0),
        parser::CERTIFICATE => {
            let Some(hours) = script.number() else { return };
            certificate(script.0, u64::from(hours) * 3600 + 1_700_000_000);
        }
        parser::SIGNATURE => {
            let (Some(key), Some(signature)) = (script.string(), script.string()) else { return };
            public_key(key, signature, script.0);
        }
        parser::PEM => {
            if let Ok(pem) = core::str::from_utf8(script.0) {
                private_key(pem);
            }
        }
        parser::PRIVATE_KEY => private_key(&format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            STANDARD.encode(script.0)
        )),
        parser::LINE => {
            if let Ok(line) = core::str::from_utf8(script.0) {
                public_key_line(line);
            }
        }
        parser::LINE_PARTS => {
            let Some(name) = script.string() else { return };
            public_key_line(&format!("{} {}", String::from_utf8_lossy(name), STANDARD.encode(script.0)));
        }
        parser::KEXINIT => kexinit(script.0),
        _ => {
            let text = PeerText::new(script.0);
            assert!(text.as_str().len() <= PEER_TEXT_MAX && !text.as_str().chars().any(char::is_control));
            assert_eq!(PeerText::new(text.as_str().as_bytes()).as_str(), text.as_str(), "clean is clean");
            if let Some(Some(ServerSigAlgs::Known { accepted, .. })) = ServerSigAlgs::read(1, script.0) {
                assert!(accepted < 1 << SignatureAlgorithm::ALL.len());
            }
        }
    }
});

fn message(payload: &[u8]) {
    let Ok(again) = msg::reencode(payload) else { return };
    // A boolean may be any byte on the wire; everything else has one form only.
    assert_eq!(again.len(), payload.len());
    assert_eq!(msg::reencode(&again), Ok(again));
    assert!(msg::class(payload[0]).is_some());
}

fn certificate(blob: &[u8], now: u64) {
    let Ok(certificate) = Certificate::from_blob(blob) else { return };
    let trust = trust(false);
    // No mutation keeps the signature, so what is believed here is one of the seeds, and it must be so for the right reasons.
    if certificate.check_host(&trust.authorities, &trust.names, now).is_ok() {
        assert_eq!(certificate.kind, 2);
        assert!((certificate.valid_after..certificate.valid_before).contains(&now));
        assert!(certificate.principals().any(|principal| principal == trust.names[0].as_bytes()));
    }
}

fn public_key(blob: &[u8], signature: &[u8], message: &[u8]) {
    let Ok(key) = PublicKey::from_blob(blob) else { return };
    let verified = key.verify(message, signature, None).is_ok();
    let by_name = |algorithm: &&SignatureAlgorithm| key.verify(message, signature, Some(**algorithm)).is_ok();
    let of_the_key = key.key_type().signature_algorithms().iter().filter(by_name).count();
    assert_eq!(of_the_key, usize::from(verified), "a signature is of one algorithm");
    assert!(SignatureAlgorithm::ALL.iter().filter(by_name).count() == of_the_key, "and that one is the key's");
}

fn private_key(pem: &str) {
    let Ok(key) = PrivateKey::from_pem(pem) else { return };
    let public = PublicKey::from_blob(key.public_blob()).expect("it was compared with the private one");
    for algorithm in key.key_type().signature_algorithms() {
        // That an RSA key's exponent is not the right one shows only when it signs, and then there is no signature.
        let Some(signature) = key.sign(*algorithm, b"message") else {
            assert_eq!(key.key_type(), KeyType::Rsa);
            continue;
        };
        assert_eq!(public.verify(b"message", &signature, Some(*algorithm)), Ok(()), "the halves belong together");
    }
}

fn public_key_line(line: &str) {
    if let Ok(authority) = Authority::from_line(line) {
        let key = PublicKey::from_blob(authority.blob()).expect("it was parsed before");
        assert_eq!(key.key_type(), authority.key_type());
    }
    if let Ok(certificate) = UserCertificate::from_line(line) {
        assert_eq!(certificate.certificate().expect("it was parsed before").kind, 1);
    }
}

fn kexinit(payload: &[u8]) {
    let Ok(theirs) = KexInit::parse(payload) else { return };
    for pinned in [false, true] {
        let trust = trust(pinned);
        let Ok(agreed) = negotiate(&trust, &theirs) else { continue };
        let mut ours = Vec::new();
        Offer { cookie: [0; 16], first: true }.encode(&trust, &mut ours);
        let ours = KexInit::parse(&ours).expect("our own");
        for list in [ours, theirs] {
            assert!(agreed.method.names().iter().any(|name| list.kex_algorithms.contains(name)));
            assert!(list.server_host_key_algorithms.contains(agreed.host_key.name()));
            assert!(list.encryption_client_to_server.contains(agreed.client_to_server.name()));
            assert!(list.encryption_server_to_client.contains(agreed.server_to_client.name()));
        }
        assert!(pinned || agreed.host_key.certificate, "a raw key that was not pinned");
        assert!(theirs.first_kex_packet_follows || !agreed.ignore_guess);
    }
}
