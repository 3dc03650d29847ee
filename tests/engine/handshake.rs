//! From the first byte to the accepted user.

use crate::keys::{Certificate, HOST, HOST_CA, TODAY, authority, key};
use crate::pair::{Pair, config, trust};
use crate::server::Behaviour;
use edge_gateway::limits::ssh as limits;
use edge_gateway::ssh::cert::CertificateError;
use edge_gateway::ssh::connection::{Connection, Event, Now};
use edge_gateway::ssh::error::{Error, Fault, PeerText};
use edge_gateway::ssh::key::KeyError;
use edge_gateway::ssh::msg::{self, Disconnect, Message};
use edge_gateway::ssh::negotiate::Trust;

#[test]
fn every_method_and_cipher_one_byte_at_a_time() {
    for kex in ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384"] {
        for ciphers in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"] {
            for strict in ["", ",kex-strict-s-v00@openssh.com"] {
                let behaviour = Behaviour { kex: format!("{kex}{strict}"), ciphers, ..Behaviour::default() };
                let mut pair = Pair::new(config(), behaviour);
                pair.chunk = 1;
                pair.run().unwrap();
                assert!(pair.server.authenticated, "{kex} {ciphers} {strict}");
                assert_eq!(pair.events, [Event::Authenticated]);
            }
        }
    }
}

#[test]
fn lines_ahead_of_the_identification_and_a_banner_are_taken() {
    let behaviour = Behaviour {
        preamble: "welcome\r\nto this relay\n",
        banner: Some("be\r\nnice \x07"),
        identification: "SSH-1.99-old",
        ..Behaviour::default()
    };
    let mut pair = Pair::new(config(), behaviour);
    pair.chunk = 3;
    pair.run().unwrap();
    assert_eq!(pair.events, [Event::Banner(PeerText::new(b"be nice ?")), Event::Authenticated]);
}

#[test]
fn what_is_no_ssh_server_is_named() {
    let error = |bytes: &[u8]| {
        let mut client = Connection::new(config(), Now::default()).unwrap();
        let mut rest = bytes;
        loop {
            let space = client.input_space();
            let n = rest.len().min(space.len()).min(1000);
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            match client.handle_input(n, Now::default()) {
                Err(error) => return error.to_string(),
                Ok(()) if rest.is_empty() => return client.handle_end().to_string(),
                Ok(()) => {}
            }
        }
    };
    assert_eq!(error(b""), "the peer closed the connection before identifying itself");
    assert_eq!(error(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "the peer closed the connection before identifying itself");
    assert!(error(b"SSH-1.5-ancient\r\n").contains("version 2.0"));
    assert!(error(&[b'x'; 9_000]).contains("not an SSH 2 server"));
    assert!(error(&b"line\n".repeat(2_000)).contains("not an SSH 2 server"));
    assert!(error(&[b"SSH-2.0-".to_vec(), vec![b'x'; 300], b"\r\n".to_vec()].concat()).contains("too long"));
    assert!(error(&[b"SSH-2.0-".to_vec(), vec![b'x'; 300]].concat()).contains("not an SSH 2 server"));
    assert!(error(b"SSH-2.0-a\x1b[2J\r\n").contains("unprintable"));
}

/// Each host that must not be believed, with the error and who is at fault.
#[test]
fn hosts_that_are_not_believed() {
    let host = |certificate: Certificate| Behaviour { host_key: certificate.blob(), ..Behaviour::default() };
    let cases: Vec<(Behaviour, Error)> = vec![
        (
            host(Certificate { authority: HOST, ..Certificate::host() }),
            Error::HostCertificate(CertificateError::UnknownAuthority),
        ),
        (
            host(Certificate { kind: 1, ..Certificate::host() }),
            Error::HostCertificate(CertificateError::UserCertificate),
        ),
        (
            host(Certificate { kind: 3, ..Certificate::host() }),
            Error::HostCertificate(CertificateError::UnknownType(3)),
        ),
        (
            host(Certificate { valid: (0, TODAY), ..Certificate::host() }),
            Error::HostCertificate(CertificateError::Expired { seconds: 0 }),
        ),
        (
            host(Certificate { valid: (TODAY + 5, u64::MAX), ..Certificate::host() }),
            Error::HostCertificate(CertificateError::NotYetValid { seconds: 5 }),
        ),
        (
            host(Certificate { principals: vec!["other:2222", "relay:22"], ..Certificate::host() }),
            Error::HostCertificate(CertificateError::Principal(PeerText::new(b"other:2222"))),
        ),
        (
            host(Certificate { principals: vec![], ..Certificate::host() }),
            Error::HostCertificate(CertificateError::Principal(PeerText::new(b"nobody"))),
        ),
        (
            host(Certificate { critical_option: Some("force-command"), ..Certificate::host() }),
            Error::HostCertificate(CertificateError::CriticalOption(PeerText::new(b"force-command"))),
        ),
        (
            host(Certificate { signature_name: Some("ssh-rsa"), ..Certificate::host() }),
            Error::HostCertificate(CertificateError::Authority(KeyError::Sha1)),
        ),
        (
            host(Certificate { signature_name: Some("rsa-sha2-512"), ..Certificate::host() }),
            Error::HostCertificate(CertificateError::Authority(KeyError::WrongAlgorithm)),
        ),
        (host(Certificate { key: HOST_CA, ..Certificate::host() }), Error::HostSignature(KeyError::BadSignature)),
        (
            Behaviour { host_key: key(HOST).public_blob().to_vec(), ..Behaviour::default() },
            Error::HostCertificate(CertificateError::RawKey),
        ),
        (Behaviour { bad_signature: true, ..Behaviour::default() }, Error::HostSignature(KeyError::BadSignature)),
        (Behaviour { signature_name: Some("ssh-rsa"), ..Behaviour::default() }, Error::HostSignature(KeyError::Sha1)),
        (
            Behaviour { host_key_algorithms: "ssh-ed25519,rsa-sha2-512".into(), ..Behaviour::default() },
            Error::RawHostKey(PeerText::new(b"ssh-ed25519,rsa-sha2-512")),
        ),
    ];
    for (behaviour, expected) in cases {
        let mut pair = Pair::new(config(), behaviour);
        let error = pair.run().unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(error.fault(), Fault::NotTrusted, "{error}");
        let farewell = pair.received(msg::DISCONNECT).pop().expect("the server is told");
        assert_eq!(Some(Disconnect::parse(&farewell).unwrap().reason), error.disconnect_reason());
        assert_eq!(pair.client.handle_input(0, pair.now), Err(expected), "nothing goes on after it");
    }
}

#[test]
fn every_altered_byte_of_a_host_certificate_is_noticed() {
    let blob = Certificate::host().blob();
    for position in 0..blob.len() {
        let mut altered = blob.clone();
        altered[position] ^= 1;
        let error = Pair::handshake_error(Behaviour { host_key: altered, ..Behaviour::default() });
        assert_eq!(error.fault(), Fault::NotTrusted, "byte {position}: {error}");
    }
}

#[test]
fn a_principal_may_leave_out_the_port_and_case_does_not_matter() {
    for principal in ["relay", "RELAY", "Relay:2222"] {
        let host_key = Certificate { principals: vec!["other", principal], ..Certificate::host() }.blob();
        let mut pair = Pair::new(config(), Behaviour { host_key, ..Behaviour::default() });
        pair.run().unwrap();
        assert!(pair.server.authenticated, "{principal}");
    }
}

#[test]
fn a_raw_host_key_is_believed_only_when_it_is_the_pinned_one() {
    let server = || Behaviour {
        host_key_algorithms: "ssh-ed25519".into(),
        host_key: key(HOST).public_blob().to_vec(),
        ..Behaviour::default()
    };
    let pinned = |seed| {
        let trust = Trust { pinned: Some(authority(seed)), ..trust() };
        Pair::new(edge_gateway::ssh::connection::Config { trust, ..config() }, server())
    };
    let mut right = pinned(HOST);
    right.run().unwrap();
    assert!(right.server.authenticated);
    assert_eq!(pinned(HOST_CA).run(), Err(Error::WrongHostKey));
}

#[test]
fn a_wrong_guess_is_ignored_once() {
    let wrong = vec![31, 1, 2, 3];
    let mut pair = Pair::new(config(), Behaviour { guess: Some(wrong.clone()), ..Behaviour::default() });
    pair.run().unwrap();
    assert!(pair.server.authenticated);
    let twice = Behaviour { guess: Some(wrong.clone()), after_kexinit: Some(wrong), ..Behaviour::default() };
    assert_eq!(Pair::handshake_error(twice), Error::Malformed(31), "the second one is taken for the reply");
}

#[test]
fn strict_key_exchange_takes_nothing_in_between() {
    let ignore = || Some(vec![msg::IGNORE, 0, 0, 0, 0]);
    let loose = || Behaviour { kex: "curve25519-sha256".into(), ..Behaviour::default() };
    for (behaviour, expected) in [
        (Behaviour { after_kexinit: ignore(), ..Behaviour::default() }, Err(Error::StrictKex(msg::IGNORE))),
        (Behaviour { before_kexinit: ignore(), ..Behaviour::default() }, Err(Error::StrictKex(msg::KEXINIT))),
        (Behaviour { after_kexinit: ignore(), ..loose() }, Ok(())),
        (Behaviour { before_kexinit: ignore(), ..loose() }, Ok(())),
    ] {
        assert_eq!(Pair::new(config(), behaviour).run(), expected);
    }
}

#[test]
fn messages_out_of_phase_end_the_handshake() {
    let after_kexinit = |payload: &[u8]| {
        Pair::handshake_error(Behaviour {
            kex: "curve25519-sha256".into(),
            after_kexinit: Some(payload.to_vec()),
            ..Behaviour::default()
        })
    };
    assert_eq!(after_kexinit(&[msg::NEWKEYS]), Error::OutOfPhase(msg::NEWKEYS, "without a key exchange"));
    assert_eq!(
        after_kexinit(&[msg::USERAUTH_SUCCESS]),
        Error::OutOfPhase(msg::USERAUTH_SUCCESS, "during a key exchange")
    );
    assert_eq!(after_kexinit(&[msg::CHANNEL_OPEN]), Error::OutOfPhase(msg::CHANNEL_OPEN, "during a key exchange"));
    assert_eq!(after_kexinit(&[200]), Error::OutOfPhase(200, "during a key exchange"));
    let kexinit_again = {
        let mut pair = Pair::new(config(), Behaviour::default());
        let first = pair.server.output.pending().to_vec();
        let end = 4 + 20 + u32::from_be_bytes(first[20..24].try_into().unwrap()) as usize;
        pair.server.put(&first[25..end]);
        pair.run().unwrap_err()
    };
    assert_eq!(kexinit_again, Error::OutOfPhase(msg::KEXINIT, "in the middle of a key exchange"));
    let success = Behaviour { instead_of_reply: Some(vec![msg::NEWKEYS]), ..Behaviour::default() };
    assert_eq!(Pair::handshake_error(success), Error::OutOfPhase(msg::NEWKEYS, "without a key exchange"));
    let truncated = Behaviour { instead_of_reply: Some(vec![31, 0, 0, 0, 9, 1]), ..Behaviour::default() };
    assert_eq!(Pair::handshake_error(truncated), Error::Malformed(31));
    let client_only = Behaviour { instead_of_reply: Some(vec![30, 0, 0, 0, 0]), ..Behaviour::default() };
    assert_eq!(Pair::handshake_error(client_only), Error::OutOfPhase(30, "which only a client sends"));
}

#[test]
fn a_refused_user_is_told_what_the_server_would_take() {
    let mut pair = Pair::new(config(), Behaviour { accept_user: false, ..Behaviour::default() });
    let error = pair.run().unwrap_err();
    assert_eq!(error, Error::UserRefused(PeerText::new(b"publickey,password")));
    assert_eq!(error.fault(), Fault::Refused);
}

#[test]
fn a_server_without_a_signature_algorithm_in_common_is_named() {
    let error = Pair::handshake_error(Behaviour { sig_algs: Some("ssh-rsa"), ..Behaviour::default() });
    assert_eq!(error, Error::NoSha2(PeerText::new(b"ssh-rsa")));
    let mut silent = Pair::new(config(), Behaviour { sig_algs: None, ..Behaviour::default() });
    silent.run().unwrap();
    assert!(silent.server.authenticated, "without EXT_INFO SHA-2 is tried");
}

#[test]
fn a_handshake_that_stands_still_ends_in_time() {
    let mut pair = Pair::new(config(), Behaviour::default());
    pair.advance(limits::HANDSHAKE_MS - 1).unwrap();
    assert_eq!(pair.advance(1), Err(Error::HandshakeTimeout));
}

#[test]
fn truncated_at_any_byte_the_handshake_waits_and_names_the_end() {
    let whole = {
        let mut pair = Pair::open();
        pair.client.output().len()
    };
    assert_eq!(whole, 0);
    for cut in (0..1_200).step_by(7) {
        let mut pair = Pair::new(config(), Behaviour::default());
        pair.chunk = 1;
        for _ in 0..cut {
            pair.step().1.unwrap();
        }
        if !pair.client.is_authenticated() {
            assert!(pair.client.handle_end().to_string().starts_with("the peer closed the connection"));
        }
    }
}
